"""A recurrent network through `scan`, and a small network trained by loops of three kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Key

from lib.lessons.jit_vmap.routine import model_loss
from lib.lessons.training.routine import OPTIMIZERS
from lib.routines.problem import Made, Metrics, Observed, TrainState, new_state
from lib.routines.sgd import sgd

LENGTH = 4096
UNITS = 16
WINDOW = 32
"""Numbers of the series that an example is made of."""
SEEN, AHEAD = 32, 64
"""Of the picture: what the network is shown, and how far it goes on by itself."""


def cell(params, hidden: Float[Array, " units"], x: Float[Array, ""]):
    """The new hidden state, and a prediction of the next number."""
    hidden = jnp.tanh(params["w"] @ hidden + params["u"] * x + params["b"])
    return hidden, params["v"] @ hidden + params["c"]


def predict_by_scan(params, xs: Float[Array, " time"]):
    """Reads a series by one copy of the cell."""
    hidden = jnp.zeros(params["b"].shape)
    return lax.scan(partial(cell, params), hidden, xs)


def predict_by_scan_unroll_8(params, xs: Float[Array, " time"]):
    """The same with eight copies of the cell: fewer turns, each longer."""
    hidden = jnp.zeros(params["b"].shape)
    return lax.scan(partial(cell, params), hidden, xs, unroll=8)


def predict_by_for(params, xs: Float[Array, " time"]):
    """The same with a copy of the cell for each number: unrolled."""
    hidden, preds = jnp.zeros(params["b"].shape), []
    for x in xs:
        hidden, pred = cell(params, hidden, x)
        preds.append(pred)
    return hidden, jnp.stack(preds)


PREDICTS: dict[str, Callable[..., Any]] = {
    "scan": predict_by_scan,
    "scan, unroll=8": predict_by_scan_unroll_8,
    "Python for": predict_by_for,
}


def loss_fn(predict, params, windows: Float[Array, "batch time"]):
    """Mean squared error of the next number, at each time."""
    preds = jax.vmap(lambda xs: predict(params, xs)[1])(windows[:, :-1])
    return ((preds - windows[:, 1:]) ** 2).mean()


def go_on(params, xs, num_steps: int):
    """Reads `xs`, then reads its own predictions."""
    hidden, preds = predict_by_scan(params, xs)

    def body(carry, _):
        hidden, x = carry
        hidden, pred = cell(params, hidden, x)
        return (hidden, pred), x

    return lax.scan(body, (hidden, preds[-1]), length=num_steps)[1]


def init_params(key, units: int):
    k1, k2, k3 = jax.random.split(key, 3)
    w = 0.9 * jax.random.orthogonal(k1, units)
    u = jax.random.normal(k2, (units,))
    v = jax.random.normal(k3, (units,)) / units
    return {"w": w, "u": u, "b": jnp.zeros(units), "v": v, "c": jnp.float32(0.0)}


@lru_cache(maxsize=8)
def series(seed: int) -> np.ndarray:
    """float32[4096]: two waves, their phases by the seed, and a little noise."""
    rng = np.random.default_rng(seed)
    t, phases = np.arange(LENGTH), rng.uniform(0, 2 * np.pi, 2)
    waves = 0.6 * np.sin(2 * np.pi * t / 20 + phases[0]) + 0.3 * np.sin(2 * np.pi * t / 7 + phases[1])
    return (waves + 0.02 * rng.normal(size=LENGTH)).astype(np.float32)


@dataclass(frozen=True)
class Recurrent:
    """The recurrent network, trained with Adam on windows of a series.

    Attributes:
        loop: one of `PREDICTS`. All compute the same, so a run goes on when another one is chosen.
    """

    batch_size: int
    units: int = UNITS
    loop: str = "scan"

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0, loop="scan")

    def data(self, seed: int) -> np.ndarray:
        return series(seed)

    def init(self, key: Key[Array, ""], data: Any) -> TrainState:
        params = init_params(key, self.units)
        return new_state(params, key, OPTIMIZERS["Adam"].init(params))

    def step(self, state: TrainState, data: Any, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        places = state.step * self.batch_size + jnp.arange(self.batch_size)
        starts = places * 37 % (LENGTH - WINDOW)  # all over the series, each once in a long while
        windows = data[starts[:, None] + jnp.arange(WINDOW + 1)]
        loss, grads = jax.value_and_grad(partial(loss_fn, PREDICTS[self.loop]))(state.params, windows)
        directions, opt_state = OPTIMIZERS["Adam"].update(grads, state.opt_state)
        params = optax.apply_updates(state.params, jax.tree.map(lambda d: -learning_rate * d, directions))
        return TrainState(params, opt_state, state.key, state.step + 1), {"loss": loss}

    def observe(self, state: TrainState, data: Any) -> Observed:
        return Observed(metrics={}, picture={"ahead": go_on(state.params, data[:SEEN], AHEAD)})


# Training by loops of three kinds.


def sgd_step(params, batch, learning_rate):
    """One step for a network of eight tanh units; the loss before it."""
    loss, grads = jax.value_and_grad(model_loss)(params, *batch)
    return sgd(params, grads, learning_rate), loss


jitted_step = jax.jit(sgd_step)


def by_python(params, batch, learning_rate, num_steps):
    loss = jnp.float32(0.0)
    for _ in range(num_steps):
        params, loss = jitted_step(params, batch, learning_rate)
    return params, loss


@partial(jax.jit, static_argnames="num_steps")
def by_scan(params, batch, learning_rate, num_steps):
    def body(params, _):
        return sgd_step(params, batch, learning_rate)

    params, losses = lax.scan(body, params, length=num_steps)
    return params, losses[-1]


@jax.jit
def by_fori_loop(params, batch, learning_rate, num_steps):
    def body(i, carry):
        return sgd_step(carry[0], batch, learning_rate)

    return lax.fori_loop(0, num_steps, body, (params, jnp.float32(0.0)))


LOOPS: dict[str, Callable[..., Any]] = {
    "Python loop of jitted steps": by_python, "scan": by_scan, "fori_loop": by_fori_loop,
}  # fmt: skip


def small_network(batch_size: int, seed: int) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Weights to begin with, and `batch_size` examples of a sine."""
    k1, k2, k3 = jax.random.split(jax.random.key(seed), 3)
    params = {
        "w1": 3.0 * jax.random.normal(k1, (8,)), "b1": jax.random.normal(k2, (8,)),
        "w2": jax.random.normal(k3, (8,)) / 8**0.5, "b2": jnp.float32(0.0),
    }  # fmt: skip
    inputs = np.linspace(-1, 1, batch_size, dtype=np.float32)
    return params, (inputs, np.sin(4 * inputs))


def network_and_windows(batch_size: int, loop: str) -> Made:
    """The loss of the recurrent network with its gradient, and arrays to call it with."""
    params = init_params(jax.random.key(0), UNITS)
    windows = np.zeros((batch_size, WINDOW + 1), np.float32)
    return jax.value_and_grad(partial(loss_fn, PREDICTS[loop])), (params, windows)
