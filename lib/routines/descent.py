"""Gradient descent from many starting points at once, on the functions of `functions.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lib.routines.functions import FUNCTIONS
from lib.routines.problem import Metrics, TrainState, new_state

CURVES = 16
"""Losses reported one by one; of more points the range is."""
DRAWN = 512
"""Points in the picture, at the most: a frame has to stay below 10 kB."""
GRID = 56
"""Cells a side of the picture of a function of two variables."""


def descent_step(f, points: Float[Array, "batch variables"], learning_rate):
    """One step from every point: `vmap` over points of `value_and_grad` of a function of one point."""
    values, grads = jax.vmap(jax.value_and_grad(f))(points)
    return points - learning_rate * grads, values


@dataclass(frozen=True)
class Descent:
    """Minimises a function of `FUNCTIONS` from `batch_size` points, uniform in its domain."""

    function: str
    batch_size: int

    @property
    def lineage(self) -> Any:
        return self  # the points are the state: another number of them is another run

    def init(self, key: Key[Array, ""], data: tuple = ()) -> TrainState:
        f = FUNCTIONS[self.function]
        low, high = f.domain
        points = jax.random.uniform(key, (self.batch_size, len(f.variables)), minval=low, maxval=high)
        return new_state({"points": points}, key)

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        points, values = descent_step(FUNCTIONS[self.function].at, state.params["points"], learning_rate)
        metrics = {
            "loss": values.mean(),
            "lowest": values.min(),
            "highest": values.max(),
            "each": values[:CURVES],
        }
        return state._replace(params={"points": points}, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple = ()) -> dict[str, Array]:
        points = state.params["points"][:DRAWN]
        return {"points": points, "values": jax.vmap(FUNCTIONS[self.function].at)(points)}


def curve(name: str, samples: int = 240) -> dict[str, Array]:
    """f, f' and f'' of a function of one variable over its domain, float32[samples] each."""
    f = FUNCTIONS[name]
    xs = jnp.linspace(*f.domain, samples)
    at = lambda x: f.at(x[None])  # noqa: E731
    return {
        "x": xs,
        "f": jax.vmap(at)(xs),
        "f'": jax.vmap(jax.grad(at))(xs),
        "f''": jax.vmap(jax.grad(jax.grad(at)))(xs),
    }


def surface(name: str, cells: int = GRID) -> Float[Array, "cells cells"]:
    """The values at the centres of a grid over the domain; rows go with the second variable."""
    f = FUNCTIONS[name]
    low, high = f.domain
    centres = low + (jnp.arange(cells) + 0.5) * (high - low) / cells
    xs, ys = jnp.meshgrid(centres, centres)
    return jax.vmap(jax.vmap(lambda x, y: f.at(jnp.stack([x, y]))))(xs, ys)
