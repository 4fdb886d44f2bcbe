"""Functions to differentiate, each with its gradient in closed form.

References:
    Rosenbrock, H. H. (1960), An automatic method for finding the greatest or least value of a function.
    Himmelblau, D. M. (1972), Applied Nonlinear Programming.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from lib.routines import symbolic
from lib.routines.snippets import written
from lib.routines.typed import TextError, TypedFunction, check, parse


def squared_difference(x, y):
    return (x - y) ** 2


def double_well(x):
    return 0.25 * x**4 - x**2 + 0.25 * x


def wavy_bowl(x):
    return 0.25 * x**2 + jnp.sin(3.0 * x)


def log_cosh(x):
    # log(cosh(x)) overflows in float32 from x = 89 on; this is the same function, and does not.
    return jnp.logaddexp(x, -x) - jnp.log(2.0)


def gaussian_well(x):
    return 1.0 - jnp.exp(-(x**2))


def elliptic_bowl(x, y):
    return 0.5 * (x**2 + 10.0 * y**2)


def rosenbrock(x, y):
    return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


def himmelblau(x, y):
    return (x**2 + y - 11.0) ** 2 + (x + y**2 - 7.0) ** 2


def saddle(x, y):
    return 0.5 * (x**2 - y**2)


@dataclass(frozen=True)
class ScalarFunction:
    """A function of one or two variables that returns one number.

    Attributes:
        fun: scalars to a scalar, in JAX.
        formula: LaTeX.
        gradient: the closed form in NumPy, of all arguments; as many values as there are variables.
        variables: the names of the arguments that are differentiated, the first ones of `fun`.
        point: where the page starts, one number a variable.
        domain: (low, high), the same for every variable.
        constants: further arguments of `fun`, which are held fixed, and their usual values.
        learning_rate: one with which descent gets somewhere, for the hint on the page.
    """

    fun: Callable[..., Array]
    formula: str
    gradient: Callable[..., tuple]
    variables: tuple[str, ...]
    point: tuple[float, ...]
    domain: tuple[float, float]
    learning_rate: float
    constants: dict[str, float] = field(default_factory=dict)

    @property
    def values(self) -> tuple[float, ...]:
        """Of all arguments, where its page starts."""
        return (*self.point, *self.constants.values())

    @property
    def argnums(self) -> int | tuple[int, ...]:
        """By which arguments `grad` differentiates: a number gives one derivative, a tuple a tuple of them."""
        return 0 if len(self.variables) == 1 else tuple(range(len(self.variables)))

    def at(self, point: Float[ArrayLike, " variables"], constants: tuple = ()) -> Any:
        """The value at a point given as one vector."""
        return self.fun(*point, *constants)  # type: ignore[misc]


FUNCTIONS: dict[str, ScalarFunction] = {
    "squared difference": ScalarFunction(
        squared_difference,
        r"f(x, y) = (x - y)^2",
        lambda x, y: (2 * (x - y),),
        ("x",), (5.0,), (-6.0, 12.0), 0.1, {"y": 3.0},
    ),
    "double well": ScalarFunction(
        double_well,
        r"f(x) = \tfrac14 x^4 - x^2 + \tfrac14 x",
        lambda x: (x**3 - 2 * x + 0.25,),
        ("x",), (2.0,), (-2.5, 2.5), 0.1,
    ),
    "wavy bowl": ScalarFunction(
        wavy_bowl,
        r"f(x) = \tfrac14 x^2 + \sin 3x",
        lambda x: (0.5 * x + 3 * np.cos(3 * x),),
        ("x",), (4.0,), (-6.0, 6.0), 0.03,
    ),
    "log cosh": ScalarFunction(
        log_cosh,
        r"f(x) = \log\cosh x",
        lambda x: (np.tanh(x),),
        ("x",), (4.0,), (-6.0, 6.0), 0.3,
    ),
    "Gaussian well": ScalarFunction(
        gaussian_well,
        r"f(x) = 1 - e^{-x^2}",
        lambda x: (2 * x * np.exp(-(x**2)),),
        ("x",), (1.0,), (-4.0, 4.0), 0.1,
    ),
    "elliptic bowl": ScalarFunction(
        elliptic_bowl,
        r"f(x, y) = \tfrac12 (x^2 + 10 y^2)",
        lambda x, y: (x, 10 * y),
        ("x", "y"), (4.0, 2.0), (-5.0, 5.0), 0.1,
    ),
    "Rosenbrock": ScalarFunction(
        rosenbrock,
        r"f(x, y) = (1 - x)^2 + 100\,(y - x^2)^2",
        lambda x, y: (-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)),
        ("x", "y"), (-1.0, 1.5), (-2.0, 2.0), 0.0003,
    ),
    "Himmelblau": ScalarFunction(
        himmelblau,
        r"f(x, y) = (x^2 + y - 11)^2 + (x + y^2 - 7)^2",
        lambda x, y: (
            4 * x * (x**2 + y - 11) + 2 * (x + y**2 - 7),
            2 * (x**2 + y - 11) + 4 * y * (x + y**2 - 7),
        ),
        ("x", "y"), (0.0, 0.0), (-5.0, 5.0), 0.003,
    ),
    "saddle": ScalarFunction(
        saddle,
        r"f(x, y) = \tfrac12 (x^2 - y^2)",
        lambda x, y: (x, -y),
        ("x", "y"), (2.0, 0.1), (-3.0, 3.0), 0.03,
    ),
}  # fmt: skip


class TypedScalarFunction(NamedTuple):
    """The name of a function that a visitor has typed.

    Attributes:
        text: a text that `parse_number` takes.
        variables: the arguments that are differentiated, one or two; the others are constants.
        domain: (low, high), the same for every variable.
    """

    text: str
    variables: tuple[str, ...]
    domain: tuple[float, float]

    def written(self) -> list[tuple[Any, str, str]]:
        """The function as code: variables first, then constants."""
        function = function_of(self)
        return [(function.fun, "f", written(parse(self.text), (*function.variables, *function.constants)))]


Name = str | TypedScalarFunction
"""Of a function: a key of `FUNCTIONS`, or what was typed."""


def parse_number(text: str) -> TypedFunction:
    """Reads a function of numbers that returns one number.

    Raises:
        TextError: it does not, or the text cannot be read.
    """
    function = parse(text)
    shape = check(function, [()] * len(function.arguments))
    if function.boolean:
        raise TextError("This is true or false; write where(condition, 1, 0) for a number.", function.text)
    if shape:
        raise TextError(f"This gives an array of shape {shape}; write sum(…) around it for one number.", function.text)
    return function


@lru_cache(maxsize=32)
def function_of(name: Name) -> ScalarFunction:
    """The function of that name. The gradient of a typed one is NaN where SymPy has no formula for it."""
    if isinstance(name, str):
        return FUNCTIONS[name]
    typed, variables = parse_number(name.text), name.variables
    constants = tuple(argument for argument in typed.arguments if argument not in variables)

    def fun(*values):
        given = dict(zip(variables + constants, values, strict=True))
        return typed(*(given[argument] for argument in typed.arguments))

    def gradient(*values):
        given = dict(zip(variables + constants, values, strict=True))
        formulas = [symbolic.derivative(typed.text, variable) for variable in variables]
        return tuple(np.nan if formula is None else formula.value(given) for formula in formulas)

    low, high = name.domain
    start = min(max(1.0, low), high)
    return ScalarFunction(
        fun, f"f({', '.join(variables)})", gradient, variables, (start,) * len(variables), name.domain, 0.03,
        dict.fromkeys(constants, 1.0),
    )  # fmt: skip


def called(name: Name) -> str:
    """The function as code: its name, or what was typed."""
    return FUNCTIONS[name].fun.__name__ if isinstance(name, str) else name.text


def formulas(text: str, variables: tuple[str, ...]) -> tuple[str | None, ...]:
    """LaTeX of a typed function and of its derivatives, None where there is no formula that fits on a page."""
    found = [symbolic.derivative(text, variable) for variable in variables]
    return symbolic.latex_of(text), *(None if formula is None else formula.latex for formula in found)


class Sides(NamedTuple):
    """The slopes of a function to both sides of a point, along one variable: with one of them missing or with two
    different ones there is no derivative."""

    left: float
    right: float


def kinks(name: TypedScalarFunction, point: tuple[float, ...], constants: tuple[float, ...]) -> dict[str, Sides]:
    """The variables by which a typed function has no derivative at a point, as far as differences can tell.

    Both one-sided differences are taken in double precision with two steps. Where there is a derivative they come
    together as the steps get shorter; at a kink they stay apart, and at a jump or at a tangent that is upright they grow
    without bound.
    """
    function = parse_number(name.text)
    values = dict(zip((*name.variables, *function_of(name).constants), (*point, *constants), strict=True))

    def f(**moved: float) -> float:
        return float(function.numpy(*(np.float64((values | moved)[a]) for a in function.arguments)))

    found = {}
    here = f()
    for variable, at in zip(name.variables, point, strict=True):
        sides = []
        for step in (1e-5 * max(1.0, abs(at)), 1e-7 * max(1.0, abs(at))):
            right, left = f(**{variable: at + step}) - here, here - f(**{variable: at - step})
            sides.append(Sides(left / step, right / step))
        gaps = [abs(side.right - side.left) for side in sides]
        sizes = [max(1.0, abs(side.left), abs(side.right)) for side in sides]
        # The last bound is that of rounding, over a short step.
        together = gaps[1] < max(0.5 * gaps[0], 1e-4 * sizes[0], 1e-8 * abs(here))
        if not together or sizes[1] > 10 * sizes[0]:
            found[variable] = sides[1]
    return found


def central_difference(function: ScalarFunction, point: tuple[float, ...], constants: tuple[float, ...]) -> np.ndarray:
    """The gradient by central differences in float32, the precision that the page computes in.

    The step is `cbrt(eps) * max(1, |x|)`, which balances the error of the formula, of order step squared,
    against that of rounding, of order eps / step.
    """
    at = np.asarray(point, np.float32)
    steps = np.cbrt(np.finfo(np.float32).eps) * np.maximum(1.0, np.abs(at))
    moves = np.diag(steps).astype(np.float32)
    ahead = [float(function.at(at + move, constants)) for move in moves]
    behind = [float(function.at(at - move, constants)) for move in moves]
    return (np.array(ahead) - np.array(behind)) / (2 * steps)
