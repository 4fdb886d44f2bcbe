"""The gradient of a batched loss: a linear model on five features, squared error.

The loss of one example is `(w @ x - y)**2`, without a half, so the gradient of the sum over a batch is
`2 X.T @ (X @ w - y)`.
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


def example_loss(w: Float[Array, " features"], x: Float[Array, " features"], y: Float[Array, ""]):
    """Squared error of one example."""
    return (w @ x - y) ** 2


def batch_loss(w, inputs: Float[Array, "batch features"], targets: Float[Array, " batch"], reduction="sum"):
    """One number for the batch: `grad` needs a scalar."""
    losses = jax.vmap(example_loss, in_axes=(None, 0, 0))(w, inputs, targets)
    return losses.sum() if reduction == "sum" else losses.mean()


def grad_of_batch_loss(w, inputs, targets):
    """(1) One backward pass through the reduced loss."""
    return jax.grad(batch_loss)(w, inputs, targets)


def sum_of_example_grads(w, inputs, targets):
    """(2) A gradient for each example, added up afterwards."""
    grads = jax.vmap(jax.grad(example_loss), in_axes=(None, 0, 0))(w, inputs, targets)
    return grads.sum(axis=0)


_example_grad = jax.jit(jax.grad(example_loss))


def python_loop(w, inputs, targets):
    """(3) A Python loop over the jitted gradient of one example."""
    grads = jnp.zeros_like(w)
    for x, y in zip(inputs, targets, strict=True):
        grads = grads + _example_grad(w, x, y)
    return grads


def closed_form(w, inputs, targets):
    """(4) `2 X.T @ (X @ w - y)`."""
    return 2 * inputs.T @ (inputs @ w - targets)


WAYS: dict[str, tuple[Callable, bool]] = {
    "grad of the batch loss": (grad_of_batch_loss, True),
    "sum of vmap(grad)": (sum_of_example_grads, True),
    "Python loop": (python_loop, False),
    "closed form": (closed_form, True),
}
"""Each way to the gradient of the summed loss, and whether the whole of it can be jitted."""


def example_gradient_norms(w, inputs, targets) -> Float[Array, " batch"]:
    """The length of each example's own gradient."""
    grads = jax.vmap(jax.grad(example_loss), in_axes=(None, 0, 0))(w, inputs, targets)
    return jnp.linalg.norm(grads, axis=1)


def gradient_report(batch_size: int, seed: int) -> dict[str, Any]:
    """The gradient at `w = 0` of the summed loss of the first examples in each of the `WAYS`, and `norms`."""
    inputs, targets = (jnp.array(a[:batch_size]) for a in regression_data(seed))
    w = jnp.zeros(FEATURES)
    report: dict[str, Any] = {}
    for name, (way, whole) in WAYS.items():
        report[name] = (jax.jit(way) if whole else way)(w, inputs, targets)
    return report | {"norms": jax.jit(example_gradient_norms)(w, inputs, targets)}


def four_steps(batch_size: int) -> tuple[tuple[str, str], ...]:
    """The composition step by step: code, and what goes in and comes out of it."""
    args = f"(5,), ({batch_size}, 5), ({batch_size},)"
    return (
        ("losses = vmap(example_loss, in_axes=(None, 0, 0))", f"{args} → ({batch_size},)"),
        ("total = lambda w, X, y: losses(w, X, y).sum()", f"{args} → ()"),
        ("gradient = grad(total)", f"{args} → (5,)"),
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
        grads = jax.grad(batch_loss)(w, inputs[rows], targets[rows], self.reduction)
        metrics = {"loss": batch_loss(w, inputs, targets, "mean")}
        # The update is written out, not `sgd`: it is what the lesson shows.
        return state._replace(params={"w": w - learning_rate * grads}, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        return Observed(metrics={}, picture={"w": state.params["w"]})


def batch_gradient(batch_size: int) -> Made:
    """`grad(vmap(loss))` of the linear model."""
    inputs, targets = regression_data(0)
    rows = np.arange(batch_size) % EXAMPLES
    w = np.zeros(FEATURES, np.float32)
    return grad_of_batch_loss, (w, inputs[rows], targets[rows])
