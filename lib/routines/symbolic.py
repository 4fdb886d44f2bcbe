"""Formulas and derivatives by SymPy, of functions of numbers that a visitor has typed.

SymPy's objects are built from the tree, never from text. Some of what SymPy offers takes for ever on a hostile input,
so nothing is simplified, expanded or evaluated by it: constants are computed by NumPy, powers stay small, values are
taken in double precision, and whatever takes too many steps all the same is ended: SymPy solves the inequalities of a
choice by itself. SymPy is imported at the first formula, since most visitors never need it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from lib.routines.expressions import NUMPY, Apply, Argument, Node, Number, TypedFunction
from lib.routines.typed import parse

MAX_POWER, MAX_NODES, MAX_OPS, MAX_LATEX = 256, 60, 200, 900
MAX_CALLS = 400_000
"""Calls of Python functions that a formula may take, some half a second: counted, not timed, so that a formula is there on
every machine or on none."""


class _Unshown(Exception):
    """There is no formula for this, or none that fits on a page."""


class _TooLong(BaseException):
    """SymPy takes too long. Not an `Exception`: SymPy lets go of those in places."""


@contextmanager
def _bounded() -> Iterator[None]:
    """Ends what takes more than `MAX_CALLS` calls in this thread."""
    left = iter(range(MAX_CALLS))

    def end(frame: Any) -> None:
        if not _imports(frame):
            raise _TooLong

    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: end(frame) if event == "call" and next(left, None) is None else None)
    try:
        yield
    finally:
        sys.setprofile(before)


def _imports(frame: Any) -> bool:
    """Whether a module is being imported, which would be left half done."""
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load":
            return True
        frame = frame.f_back
    return False


@dataclass(frozen=True)
class Formula:
    """A formula as LaTeX, and its value in double precision where all names have one; NaN where it is undefined."""

    latex: str
    expression: Any = field(repr=False)

    def value(self, point: Mapping[str, float]) -> float:
        """The value at a point, given by names."""
        with np.errstate(all="ignore"):
            return float(_value(self.expression, point))


def latex_of(text: str) -> str | None:
    """The typed function itself as LaTeX; None if it has no formula."""
    found = _formula(parse(text), None)
    return None if found is None else found.latex


def derivative(text: str, variable: str) -> Formula | None:
    """The partial derivative of a typed function of numbers; None where there is no formula that fits on a page."""
    return _formula(parse(text), variable)


@lru_cache(maxsize=256)
def _formula(function: TypedFunction, variable: str | None) -> Formula | None:
    import sympy

    try:
        with _bounded():
            expression = _build(function)
            if variable is not None:
                expression = sympy.diff(expression, sympy.Symbol(variable, real=True))
            known = all(_is_known(part) for part in sympy.preorder_traversal(expression))
            if not known or expression.has(sympy.I, sympy.zoo, sympy.nan, sympy.oo) or expression.count_ops() > MAX_OPS:
                return None
            latex = sympy.latex(expression)
    except (_TooLong, _Unshown, ArithmeticError, TypeError, ValueError, RecursionError, NotImplementedError):
        return None
    return Formula(latex, expression) if len(latex) <= MAX_LATEX else None


def _build(function: TypedFunction) -> Any:
    import sympy

    count, table = 0, _functions()

    def build(node: Node, powers: int) -> Any:
        nonlocal count
        count += 1
        if powers > MAX_POWER or count > MAX_NODES:
            raise _Unshown
        if isinstance(node, Number):
            return _number(node.value)
        if isinstance(node, Argument):
            return sympy.Symbol(node.name, real=True)
        if not isinstance(node, Apply) or node.axis is not None or node.name not in table:
            raise _Unshown
        numbers = [arg.value for arg in node.args if isinstance(arg, Number)]
        if len(numbers) == len(node.args):
            with np.errstate(all="ignore"):
                return _number(float(NUMPY[node.name](*numbers)))
        if node.name == "**" and isinstance(node.args[1], Number):
            powers = int(powers * max(1, np.ceil(abs(node.args[1].value))))
        result = table[node.name](*(build(arg, 2 * powers if node.name == "square" else powers) for arg in node.args))
        if not result.free_symbols and not result.is_Number and result not in (sympy.true, sympy.false):
            raise _Unshown  # a constant that SymPy would compute to any number of digits
        return result

    return build(function.tree, 1)


def _number(value: float) -> Any:
    """A float as a short fraction, a short multiple of pi, or e, if it is one."""
    import sympy

    if not np.isfinite(value) or abs(value) > 1e12:
        raise _Unshown
    for unit, symbol in ((1.0, sympy.S.One), (np.pi, sympy.pi), (np.e, sympy.E)):
        fraction = sympy.Rational(float(value) / unit).limit_denominator(1000)
        if float(fraction) * unit == value:
            return fraction * symbol
    return sympy.Float(value)


@lru_cache(maxsize=1)
def _functions() -> dict[str, Callable]:
    """Each name of the language that has a formula."""
    import sympy as sp

    def choice(condition: Any, one: Any, other: Any) -> Any:
        return sp.Piecewise((one, condition), (other, True))

    def largest(a: Any, b: Any) -> Any:
        return choice(sp.Ge(a, b), a, b)

    def smallest(a: Any, b: Any) -> Any:
        return choice(sp.Le(a, b), a, b)

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + sp.exp(-x))

    names = {name: getattr(sp, name) for name in "sin cos tan sinh cosh tanh exp log sqrt erf sign floor".split()}  # noqa: SIM905
    return names | {
        "arcsin": sp.asin, "arccos": sp.acos, "arctan": sp.atan, "arctan2": sp.atan2, "arcsinh": sp.asinh,
        "expm1": lambda x: sp.exp(x) - 1, "exp2": lambda x: sp.Integer(2) ** x, "log1p": lambda x: sp.log(1 + x),
        "log2": lambda x: sp.log(x) / sp.log(2), "log10": lambda x: sp.log(x) / sp.log(10), "abs": sp.Abs,
        "ceil": sp.ceiling, "square": lambda x: x**2, "reciprocal": lambda x: 1 / x, "maximum": largest,
        "minimum": smallest, "clip": lambda x, low, high: smallest(largest(x, low), high),
        "hypot": lambda a, b: sp.sqrt(a**2 + b**2), "logaddexp": lambda a, b: sp.log(sp.exp(a) + sp.exp(b)),
        "sigmoid": sigmoid, "relu": lambda x: choice(x > 0, x, 0), "softplus": lambda x: sp.log(1 + sp.exp(x)),
        "silu": lambda x: x * sigmoid(x), "where": choice, "neg": lambda x: -x, "+": lambda a, b: a + b,
        "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b, "**": lambda a, b: a**b,
        "<": sp.Lt, "<=": sp.Le, ">": sp.Gt, ">=": sp.Ge, "==": sp.Eq, "!=": sp.Ne, "&": sp.And, "|": sp.Or, "~": sp.Not,
    }  # fmt: skip


_NUMPY_NAMES = {
    "Abs": "abs", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
    "ceiling": "ceil", "StrictLessThan": "<", "LessThan": "<=", "StrictGreaterThan": ">", "GreaterThan": ">=",
    "Equality": "==", "Unequality": "!=", "Not": "~", "Pow": "**",
}  # fmt: skip
_FOLDS = {"Add": np.add, "Mul": np.multiply, "And": np.logical_and, "Or": np.logical_or}
_CHOICES = {"Piecewise", "ExprCondPair", "ITE"}


def _is_known(expression: Any) -> bool:
    """Whether `_value` can do this; derivatives of steps, say, it cannot."""
    name = type(expression).__name__
    return not expression.args or name in _FOLDS or name in _CHOICES or _NUMPY_NAMES.get(name, name) in NUMPY


def _value(expression: Any, point: Mapping[str, float]) -> Any:
    """The value of one of SymPy's expressions by NumPy: `evalf` would try to write down towers of powers."""
    name = type(expression).__name__
    if expression.is_Symbol:
        return np.float64(point[expression.name])
    if not expression.args:
        return np.float64(expression) if expression.is_number else np.bool_(bool(expression))
    if name == "Piecewise":
        return next((_value(e, point) for e, c in expression.args if _value(c, point)), np.float64(np.nan))
    if name == "ITE":
        condition, one, other = expression.args
        return _value(one if _value(condition, point) else other, point)
    args = [_value(arg, point) for arg in expression.args]
    return _FOLDS[name].reduce(args) if name in _FOLDS else NUMPY[_NUMPY_NAMES.get(name, name)](*args)
