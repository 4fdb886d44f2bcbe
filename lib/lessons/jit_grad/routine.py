"""`jit(grad(f))` for the functions of `functions.py`: at a point, and descending from many at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.lessons.jit_grad.functions import Name, central_difference, function_of
from lib.routines.problem import Made, Metrics, Observed, TrainState, new_state

CURVES = 16
"""Losses reported one by one; of more points the range is."""
DRAWN = 256
"""Points in the picture, at the most: a frame has to stay below 10 kB."""
GRID = 56
"""Cells a side of the picture of a function of two variables."""


@lru_cache(maxsize=64)
def compiled_gradient(name: Name):
    """The composition itself: the function of the derivative, compiled at its first call."""
    return jax.jit(jax.grad(function_of(name).at))


def gradient_report(name: Name, point: tuple[float, ...], constants: tuple[float, ...]) -> dict[str, Any]:
    """The gradient at a point in three ways: automatic, in closed form, by central differences."""
    function = function_of(name)
    at, given = jnp.array(point, jnp.float32), tuple(jnp.float32(c) for c in constants)
    return {
        "f": function.at(at, given),
        "automatic": compiled_gradient(name)(at, given),
        "closed form": np.array(function.gradient(*point, *constants), float),
        "central difference": central_difference(function, point, constants),
    }


def descent_step(f, points: Float[Array, "batch variables"], learning_rate):
    """One step from every point: `vmap` over points of `value_and_grad` of a function of one point."""
    values, grads = jax.vmap(jax.value_and_grad(f))(points)
    return points - learning_rate * grads, values  # written out, not `sgd`: it is what the lesson shows


@dataclass(frozen=True)
class Descent:
    """Minimises a function from `batch_size` points, uniform in its domain.

    The data are the function's constants, so that another constant compiles nothing.

    Attributes:
        constants: None for those of the function.
    """

    function: Name
    batch_size: int
    constants: tuple[float, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def lineage(self) -> Any:
        return self  # the points are the state: another number of them is another run

    def data(self, seed: int) -> tuple[np.ndarray, ...]:
        """The constants, float32[] each; no seed draws them."""
        constants = function_of(self.function).constants.values() if self.constants is None else self.constants
        return tuple(np.array(c, np.float32) for c in constants)

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        f = function_of(self.function)
        low, high = f.domain
        points = jax.random.uniform(key, (self.batch_size, len(f.variables)), minval=low, maxval=high)
        return new_state({"points": points}, key)

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        f = partial(function_of(self.function).at, constants=data)
        points, values = descent_step(f, state.params["points"], learning_rate)
        metrics = {
            "loss": values.mean(),
            "lowest": values.min(),
            "highest": values.max(),
            "each": values[:CURVES],
        }
        return state._replace(params={"points": points}, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        points = state.params["points"][:DRAWN]
        values = jax.vmap(partial(function_of(self.function).at, constants=data))(points)
        return Observed(metrics={}, picture={"points": points, "values": values})


def curve(name: Name, constants: tuple, samples: int = 160) -> dict[str, Array]:
    """f and its first and second derivative over the domain of a function of one variable, float32[samples] each."""
    return _compiled_curve(name, samples)(constants)


@lru_cache(maxsize=64)
def _compiled_curve(name: Name, samples: int):
    function = function_of(name)
    low, high = function.domain

    def compute(constants: tuple) -> dict[str, Array]:
        xs = jnp.linspace(low, high, samples)

        def f(x):
            return function.at(x[None], constants)

        return {
            "x": xs,
            "f": jax.vmap(f)(xs),
            "df": jax.vmap(jax.grad(f))(xs),
            "d2f": jax.vmap(jax.grad(jax.grad(f)))(xs),
        }

    return jax.jit(compute)


def surface(name: Name, constants: tuple, cells: int = GRID) -> Float[Array, "cells cells"]:
    """The values at the centres of a grid over the domain; rows go with the second variable."""
    return _compiled_surface(name, cells)(constants)


@lru_cache(maxsize=64)
def _compiled_surface(name: Name, cells: int):
    function = function_of(name)
    low, high = function.domain

    def compute(constants: tuple) -> Float[Array, "cells cells"]:
        centres = low + (jnp.arange(cells) + 0.5) * (high - low) / cells
        xs, ys = jnp.meshgrid(centres, centres)
        return jax.vmap(jax.vmap(lambda x, y: function.at(jnp.stack([x, y]), constants)))(xs, ys)

    return jax.jit(compute)


def gradient(name: Name) -> Made:
    """`grad(f)` of a function of `functions.FUNCTIONS`, at the point where its page starts."""
    function = function_of(name)
    constants = tuple(np.float32(c) for c in function.constants.values())
    return jax.grad(function.at), (np.array(function.point, np.float32), constants)
