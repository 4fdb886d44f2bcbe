"""The gradient of a batch: a linear model on five features, squared error.

The loss of one example is `(w @ x - y)**2`, without a half, so the gradient of the mean over a batch is
`2 X.T @ (X @ w - y) / len(y)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.routines.problem import Made, Metrics, Observed, TrainState, new_state

FEATURES = 5
EXAMPLES = 1024
NOISE = 0.3
TRUE_WEIGHTS = np.array([1.5, -2.0, 0.5, 3.0, -1.0], np.float32)

Reduction = Literal["mean", "sum"]


def loss(w: Float[Array, " features"], x: Float[Array, " features"], y: Float[Array, ""]):
    """Squared error of one example."""
    return (w @ x - y) ** 2


def mean_loss(w, X: Float[Array, "batch features"], y: Float[Array, " batch"]):
    """One number for the batch: `grad` needs a scalar."""
    return jnp.mean(jax.vmap(loss, in_axes=(None, 0, 0))(w, X, y))


def sum_loss(w, X: Float[Array, "batch features"], y: Float[Array, " batch"]):
    """One number for the batch: `grad` needs a scalar."""
    return jnp.sum(jax.vmap(loss, in_axes=(None, 0, 0))(w, X, y))


LOSSES: dict[Reduction, Callable] = {"mean": mean_loss, "sum": sum_loss}
"""The two ways from a loss for each example to one number."""


def grad_of_mean(w, X, y):
    """(1) One backward pass through the reduced loss."""
    return jax.grad(mean_loss)(w, X, y)


def mean_of_grads(w, X, y):
    """(2) A gradient for each example; then their mean."""
    return jnp.mean(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(w, X, y), axis=0)


_example_grad = jax.jit(jax.grad(loss))


def python_loop(w, X, y):
    """(3) A Python loop over the jitted gradient of one example."""
    grads = jnp.zeros_like(w)
    for one_x, one_y in zip(X, y, strict=True):
        grads = grads + _example_grad(w, one_x, one_y)
    return grads / len(y)


def closed_form(w, X, y):
    """(4) `2 X.T @ (X @ w - y) / len(y)`."""
    return 2 * X.T @ (X @ w - y) / len(y)


WAYS: dict[str, tuple[Callable, bool]] = {
    "grad(mean(vmap(loss)))": (grad_of_mean, True),
    "mean(vmap(grad(loss)))": (mean_of_grads, True),
    "Python loop": (python_loop, False),
    "closed form": (closed_form, True),
}
"""Each way to the gradient of the mean loss, and whether the whole of it can be jitted."""


def example_gradient_norms(w, X, y) -> Float[Array, " batch"]:
    """The length of each example's own gradient."""
    grads = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(w, X, y)
    return jnp.linalg.norm(grads, axis=1)


def gradient_report(batch_size: int, seed: int) -> dict[str, Any]:
    """The gradient at `w = 0` of the mean loss of the first examples in each of the `WAYS`, and `norms`."""
    inputs, targets = (jnp.array(a[:batch_size]) for a in regression_data(seed))
    w = jnp.zeros(FEATURES)
    report: dict[str, Any] = {}
    for name, (way, whole) in WAYS.items():
        report[name] = (jax.jit(way) if whole else way)(w, inputs, targets)
    return report | {"norms": jax.jit(example_gradient_norms)(w, inputs, targets)}


def suitable_rates(batch_size: int, reduction: Reduction) -> tuple[float, float]:
    """The lowest and the highest learning rate that suit the data: a sum's gradient is larger by the batch size."""
    scale = batch_size if reduction == "sum" else 1
    return 0.01 / scale, 0.1 / scale


def four_steps(batch_size: int, reduction: Reduction) -> tuple[tuple[str, str], ...]:
    """The composition step by step: code, and what goes in and comes out of it."""
    args = f"(5,), ({batch_size}, 5), ({batch_size},)"
    return (
        ("losses = vmap(loss, in_axes=(None, 0, 0))", f"{args} → ({batch_size},)"),
        (f"{reduction}_loss = lambda w, X, y: {reduction}(losses(w, X, y))", f"{args} → ()"),
        (f"gradient = grad({reduction}_loss)", f"{args} → (5,)"),
        ("compiled = jit(gradient)", f"{args} → (5,)"),
    )


@lru_cache(maxsize=16)
def regression_data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float32[1024, 5] inputs and float32[1024] targets: `X @ TRUE_WEIGHTS` plus normal noise of 0.3."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    targets = inputs @ TRUE_WEIGHTS + NOISE * rng.normal(size=EXAMPLES).astype(np.float32)
    return inputs, targets.astype(np.float32)


@lru_cache(maxsize=16)
def least_squares(seed: int) -> tuple[np.ndarray, float]:
    """The weights that no others beat on all examples, and their mean squared error; float64 inside."""
    inputs, targets = (a.astype(np.float64) for a in regression_data(seed))
    weights, *_ = np.linalg.lstsq(inputs, targets, rcond=None)
    return weights, float(np.mean((inputs @ weights - targets) ** 2))


@dataclass(frozen=True)
class LinearRegression:
    """SGD on the linear model. The gradient is of the sum or of the mean of the batch's losses.

    The loss reported is the mean over all examples, so that runs of different reduction and batch size
    can be compared with each other and with the least-squares optimum.
    """

    batch_size: int
    reduction: Reduction = "mean"

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0, reduction="mean")  # the weights are the whole state

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return regression_data(seed)

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        return new_state({"w": jnp.zeros(FEATURES)}, key)

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        inputs, targets = data
        # The examples are in random order already; batches walk over them, around and around.
        rows = (state.step * self.batch_size + jnp.arange(self.batch_size)) % inputs.shape[0]
        w = state.params["w"]
        grads = jax.grad(LOSSES[self.reduction])(w, inputs[rows], targets[rows])
        metrics = {"loss": mean_loss(w, inputs, targets)}
        # The update is written out, not `sgd`: it is what the lesson shows.
        return state._replace(params={"w": w - learning_rate * grads}, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        return Observed(metrics={}, picture={"w": state.params["w"]})


def batch_gradient(batch_size: int, reduction: Reduction = "mean") -> Made:
    """The gradient of the reduced loss of a batch, of the linear model."""
    inputs, targets = regression_data(0)
    rows = np.arange(batch_size) % EXAMPLES
    w = np.zeros(FEATURES, np.float32)
    return jax.grad(LOSSES[reduction]), (w, inputs[rows], targets[rows])
