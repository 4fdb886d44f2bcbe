"""`jit(grad(f))` for the functions of `functions.py`: at a point, and descending from many at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.lessons.jit_grad.contours import contour, levels_of, thinned
from lib.lessons.jit_grad.functions import Name, central_difference, function_of, kinks
from lib.routines.problem import Made, Metrics, Observed, TrainState, new_state

CURVES = 16
"""Points whose losses are reported one by one, and whose way is kept; of more the range is reported."""
DRAWN = 64
"""Points in the picture, at the most: a frame has to stay below 10 kB."""
WAY = 24
"""Places of a point's way that are kept."""
SPACING = 0.02
"""How far they are apart at least, as a part of the domain: else the way of a slow point would be one spot."""
ROWS = 40
"""Of the grid from which contour lines are made."""
WIDER = 1.5
"""How much wider than its domain a function of two variables is shown, for charts that are wider than high."""
LEVELS, MAX_CONTOUR_POINTS = 10, 500


@lru_cache(maxsize=32)
def compiled_gradient(name: Name):
    """The composition itself: the function of the derivatives, compiled at its first call."""
    function = function_of(name)
    return jax.jit(jax.grad(function.fun, argnums=function.argnums))


def gradient_report(name: Name, point: tuple[float, ...], constants: tuple[float, ...]) -> dict[str, Any]:
    """The gradient at a point in three ways: automatic, in closed form, by central differences.

    `kinks` tells of a typed function by which variables it has no derivative there; the closed form is NaN then.
    """
    function = function_of(name)
    values = tuple(jnp.float32(x) for x in (*point, *constants))
    without = {} if isinstance(name, str) else kinks(name, point, constants)
    closed = np.array(function.gradient(*point, *constants), float)
    return {
        "f": function.fun(*values),
        "automatic": np.array(jax.tree.leaves(compiled_gradient(name)(*values))),
        "closed form": np.where([variable in without for variable in function.variables], np.nan, closed),
        "central difference": central_difference(function, point, constants),
        "kinks": without,
    }


def descent_step(f, points: Float[Array, "batch variables"], constants, learning_rate):
    """One step from every point against its own gradient; `f` takes one point, coordinate by coordinate."""
    argnums = tuple(range(points.shape[1]))
    in_axes = (0,) * len(argnums) + (None,) * len(constants)
    values_and_grads = jax.vmap(jax.value_and_grad(f, argnums), in_axes)
    values, grads = values_and_grads(*points.T, *constants)
    return points - learning_rate * jnp.stack(grads, axis=1), values


def start_of_way(points: Float[Array, "points variables"]) -> Float[Array, "way points variables"]:
    """The way of points that have not moved yet: places that they have come through, the last one last; the others are
    NaN."""
    return jnp.full((WAY, *points.shape), jnp.nan).at[-1].set(points)


def further(
    way: Float[Array, "way points variables"], points: Float[Array, "points variables"], spacing: float
) -> Float[Array, "way points variables"]:
    """The way of points that have moved on. A place is kept if it is so far from the one before."""
    moved = jnp.linalg.norm(points - way[-1], axis=1) >= spacing
    return jnp.where(moved[:, None], jnp.concatenate([way[1:], points[None]]), way)


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

    def written(self) -> list[tuple[Any, str, str]]:
        """A typed function as code."""
        return [] if isinstance(self.function, str) else self.function.written()

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        f = function_of(self.function)
        low, high = f.domain
        points = jax.random.uniform(key, (self.batch_size, len(f.variables)), minval=low, maxval=high)
        # The way is no parameter: it takes no part in the steps.
        return new_state({"points": points}, key)._replace(opt_state=start_of_way(points[:CURVES]))

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        function = function_of(self.function)
        points, values = descent_step(function.fun, state.params["points"], data, learning_rate)
        metrics = {
            "loss": values.mean(),
            "lowest": values.min(),
            "highest": values.max(),
            "each": values[:CURVES],
        }
        low, high = function.domain
        way = further(state.opt_state, points[:CURVES], SPACING * (high - low))
        return state._replace(params={"points": points}, opt_state=way, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        """The points, their values and gradients, and the way of some of them, which ends where they are."""
        points = state.params["points"][:DRAWN]
        at = partial(function_of(self.function).at, constants=data)
        f, grads = jax.vmap(at), jax.vmap(jax.grad(at))(points)
        way = jnp.concatenate([state.opt_state, points[None, :CURVES]])
        picture = {"points": points, "values": f(points), "grads": grads, "way": way, "heights": jax.vmap(f)(way)}
        return Observed(metrics={}, picture=picture)


def curve(name: Name, constants: tuple, samples: int = 160) -> dict[str, Array]:
    """f and its first and second derivative over the domain of a function of one variable, float32[samples] each."""
    return _compiled_curve(name, samples)(constants)


@lru_cache(maxsize=32)
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


def surface(name: Name, constants: tuple, rows: int = ROWS) -> dict[str, Array]:
    """The values of a function of two variables on a grid, float32[rows, columns], and the median size of its gradient.

    Rows go with the second variable, over its domain; columns with the first, over a range that is `WIDER`.
    """
    return _compiled_surface(name, rows)(constants)


def wide_range(domain: tuple[float, float]) -> tuple[float, float]:
    """The range of the first variable in the picture of a function of two."""
    middle, half = sum(domain) / 2, (domain[1] - domain[0]) / 2
    return middle - WIDER * half, middle + WIDER * half


@lru_cache(maxsize=32)
def _compiled_surface(name: Name, rows: int):
    function = function_of(name)

    def compute(constants: tuple) -> dict[str, Array]:
        xs = jnp.linspace(*wide_range(function.domain), round(WIDER * rows))
        ys = jnp.linspace(*function.domain, rows)
        both = jax.value_and_grad(lambda x, y: function.fun(x, y, *constants), argnums=(0, 1))
        values, grads = jax.vmap(jax.vmap(both, in_axes=(0, None)), in_axes=(None, 0))(xs, ys)
        return {"values": values, "slope": jnp.nanmedian(jnp.hypot(*grads))}

    return jax.jit(compute)


def landscape(name: Name, constants: tuple) -> dict[str, Any]:
    """The contour lines of a function of two variables, for a picture of it.

    Returns:
        `x`, `y` and `level` of the points of all lines one after the other, NaN between them; levels count up from 0; the median size of the gradient, `slope`; and whether `values` are `finite` throughout.
    """
    made = jax.device_get(surface(name, constants))
    values, domain = made["values"].astype(float), function_of(name).domain
    lines = [(k, line) for k, level in enumerate(levels_of(values, LEVELS)) for line in contour(values, level)]
    kept = thinned([line for _, line in lines], MAX_CONTOUR_POINTS)
    rows = [np.empty((0, 3))]
    for (level, _), line in zip(lines, kept, strict=True):
        if len(line):
            rows += [np.insert(line, 2, level, axis=1), np.array([[np.nan, np.nan, level]])]
    column, row, levels = np.concatenate(rows).T
    (left, right), (low, high) = wide_range(domain), domain
    return {
        "x": (left + column * (right - left) / (values.shape[1] - 1)).astype(np.float32),
        "y": (low + row * (high - low) / (values.shape[0] - 1)).astype(np.float32),
        "level": levels.astype(np.int8),
        "slope": made["slope"],
        "finite": np.isfinite(values).all(),
    }


def value_report(name: Name, point: tuple[float, ...], constants: tuple[float, ...]) -> dict[str, Any]:
    """`gradient_report`, and with it the `shape` of the function: its curve or its landscape."""
    shape = curve if len(point) == 1 else landscape
    return gradient_report(name, point, constants) | {"shape": shape(name, constants)}


def gradient(name: Name) -> Made:
    """`grad(f)` of a function by its name, at the point where its page starts."""
    function = function_of(name)
    return jax.grad(function.fun, argnums=function.argnums), tuple(np.float32(x) for x in function.values)


def gradient_as_shown(name: Name) -> Made:
    """`gradient` at Python's numbers, as in the code that the page shows."""
    fun, values = gradient(name)
    return fun, tuple(map(float, values))
