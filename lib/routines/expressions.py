"""Expressions as trees of four types of nodes, and functions that compute them with JAX or with NumPy.

A tree is made by `typed.py` from a text. The names in the table of functions are all there is to call.
"""

from __future__ import annotations

import math
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_ELEMENTS, MAX_MULTIPLY_ADDS = 4_000_000, 50_000_000
MAX_ARGUMENTS = 6


class TextError(ValueError):
    """What is wrong with a text and what to do, in a sentence.

    Attributes:
        text: what `start` and `end` count the characters of.
        start, end: the place, inside the text; they are equal only in an empty text.
    """

    def __init__(self, sentence: str, text: str, start: int = 0, end: int | None = None):
        super().__init__(sentence)
        self.text = text
        self.start = max(0, min(start, len(text) - 1))
        self.end = min(len(text), max(self.start + 1, len(text) if end is None else end))

    def pointer(self, width: int = 60) -> str:
        """Two lines: the text, or the part of it around the place, and carets under the place."""
        begin = 0 if len(self.text) <= width else max(0, min(self.start - width // 3, len(self.text) - width))
        shown = "".join(c if is_plain(c) else "?" for c in self.text[begin : begin + width])
        before, after = "… " * (begin > 0), " …" * (begin + width < len(self.text))
        carets = max(0, min(self.end - begin, len(shown)) - (self.start - begin))
        return f"{before}{shown}{after}\n{' ' * (len(before) + self.start - begin)}{'^' * carets}".rstrip(" ")


def is_plain(char: str) -> bool:
    """Whether a character is one column wide and leaves the order of the others alone."""
    left_to_right = unicodedata.bidirectional(char) not in ("R", "AL", "AN")
    narrow = unicodedata.east_asian_width(char) not in "WF" and not unicodedata.category(char).startswith("M")
    return char.isprintable() and left_to_right and narrow


class Function(NamedTuple):
    """A function of the language: in JAX, in NumPy, and how many arguments it takes."""

    jax: Callable[..., Any]
    numpy: Callable[..., Any]
    least: int = 1
    most: int = 1
    takes_axis: bool = False


def _np_sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(x))


def _np_logsumexp(x, axis=None):
    top = np.max(x, axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.sum(np.exp(x - top), axis=axis))


def _np_softmax(x, axis=-1):
    powers = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return powers / np.sum(powers, axis=axis, keepdims=True)


_SAME = [
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "exp",
    "expm1",
    "exp2",
    "log",
    "log1p",
    "log2",
    "log10",
    "sqrt",
    "cbrt",
    "abs",
    "sign",
    "floor",
    "ceil",
    "square",
    "reciprocal",
]
FUNCTIONS: dict[str, Function] = {
    **{name: Function(getattr(jnp, name), getattr(np, name)) for name in _SAME},
    **{
        name: Function(getattr(jnp, name), getattr(np, name), 2, 2)
        for name in ["arctan2", "maximum", "minimum", "hypot", "logaddexp", "dot", "matmul", "outer"]
    },
    **{
        name: Function(getattr(jnp, name), getattr(np, name), takes_axis=True)
        for name in ["sum", "mean", "prod", "max", "min", "cumsum"]
    },
    "norm": Function(jnp.linalg.norm, np.linalg.norm, takes_axis=True),
    "softmax": Function(jax.nn.softmax, _np_softmax, takes_axis=True),
    "logsumexp": Function(jax.nn.logsumexp, _np_logsumexp, takes_axis=True),
    "sigmoid": Function(jax.nn.sigmoid, _np_sigmoid),
    "relu": Function(jax.nn.relu, lambda x: np.maximum(x, 0.0)),
    "softplus": Function(jax.nn.softplus, lambda x: np.logaddexp(x, 0.0)),
    "silu": Function(jax.nn.silu, lambda x: x * _np_sigmoid(x)),
    "erf": Function(jax.scipy.special.erf, np.vectorize(math.erf, otypes=[float])),
    "clip": Function(jnp.clip, np.clip, 3, 3),
    "where": Function(jnp.where, np.where, 3, 3),
    "stack": Function(lambda *xs: jnp.stack(xs), lambda *xs: np.stack(xs), 2, MAX_ARGUMENTS),
}
OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "@": operator.matmul, "%": operator.mod, "neg": operator.neg, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_LOGIC = {"&": "logical_and", "|": "logical_or", "~": "logical_not"}
JAX = OPERATORS | {o: getattr(jnp, n) for o, n in _LOGIC.items()} | {n: f.jax for n, f in FUNCTIONS.items()}
NUMPY = OPERATORS | {o: getattr(np, n) for o, n in _LOGIC.items()} | {n: f.numpy for n, f in FUNCTIONS.items()}
_CONDITIONS = {"<", "<=", ">", ">=", "==", "!=", *_LOGIC}


@dataclass(frozen=True)
class Number:
    """A number; what is computed from numbers alone is one already."""

    value: float


@dataclass(frozen=True)
class Argument:
    """An argument of the function."""

    name: str


@dataclass(frozen=True)
class Apply:
    """An operator or a function at work; `start` and `end` are its place in the text."""

    name: str
    args: tuple[Node, ...]
    axis: int | None
    start: int
    end: int


@dataclass(frozen=True)
class Index:
    """`value[index]`: each part is an integer, None, or the three numbers of a slice."""

    value: Node
    index: tuple[int | tuple[int | None, int | None, int | None] | None, ...]
    start: int
    end: int


Node = Number | Argument | Apply | Index


def is_condition(node: Node) -> bool:
    """Whether a node is true or false, not a number."""
    return isinstance(node, Apply) and node.name in _CONDITIONS


@dataclass(frozen=True)
class TypedFunction:
    """A function of arrays; two are equal if their texts are.

    Attributes:
        text: the text, trimmed.
        arguments: the names in it, in order of appearance; the function is called with as many values.
        tree: what the text says.
    """

    text: str
    arguments: tuple[str, ...] = field(compare=False)
    tree: Node = field(compare=False, repr=False)
    __name__ = "f"

    @property
    def boolean(self) -> bool:
        """Whether the result is true or false, not a number."""
        return is_condition(self.tree)

    def __call__(self, *args: Any) -> Any:
        """Computes with JAX; the name of each equation says the piece of the text it comes from (`piece_of`).

        Raises:
            TextError: the shapes of the arguments do not fit.
        """
        return self._run(JAX, [_floats(jnp, arg) for arg in args], _scope)

    def numpy(self, *args: Any) -> Any:
        """Computes with NumPy alone, in the precision of the arguments. Only `check` bounds the work."""
        with np.errstate(all="ignore"):
            return self._run(NUMPY, [_floats(np, arg) for arg in args], lambda piece: nullcontext())

    def _run(self, table: Mapping, args: Sequence, scope: Callable, spend: Callable | None = None) -> Any:
        if len(args) != len(self.arguments):
            raise TypeError(f"{self.text} takes {', '.join(self.arguments)}; got {len(args)} values.")
        values = dict(zip(self.arguments, args, strict=True))

        def value_of(node: Node) -> Any:
            if isinstance(node, Number):
                return node.value
            if isinstance(node, Argument):
                return values[node.name]
            inputs = [value_of(arg) for arg in ((node.value,) if isinstance(node, Index) else node.args)]
            try:
                with scope(self.text[node.start : node.end]):
                    result = _indexed(inputs[0], node.index) if isinstance(node, Index) else apply(node, inputs)
            except (TypeError, ValueError, IndexError, OverflowError, ZeroDivisionError) as error:
                shapes = " and ".join(f"the shape {np.shape(x)}" for x in inputs)
                sentence = f"This does not work for {shapes}; change the shapes or the text."
                raise TextError(sentence, self.text, node.start, node.end) from error
            if spend is not None:
                spend(node, inputs, result)
            return result

        def apply(node: Apply, inputs: list) -> Any:
            if node.name == "**" and isinstance(node.args[1], Number) and node.args[1].value.is_integer():
                inputs = [inputs[0], int(node.args[1].value)]  # a product, which has derivatives at zero and below
            return table[node.name](*inputs, **({} if node.axis is None else {"axis": node.axis}))

        return value_of(self.tree)


def _floats(library: Any, value: Any) -> Any:
    array = library.asarray(value)
    return array if library.issubdtype(array.dtype, library.inexact) else array.astype(library.result_type(float))


def _indexed(array: Any, index: tuple) -> Any:
    """`array[index]`; JAX would move an index that is outside to the edge."""
    parts = [part for part in index if part is not None]
    if len(parts) > array.ndim:
        raise IndexError
    for part, size in zip(parts, array.shape, strict=False):
        if isinstance(part, int) and not -size <= part < size:
            raise IndexError
    return array[tuple(slice(*part) if isinstance(part, tuple) else part for part in index)]


def _scope(piece: str) -> Any:
    return jax.named_scope(f"`{piece if len(piece) <= 80 else piece[:77] + '...'}`")


def piece_of(name_stack: Any) -> str:
    """The piece of the text that an equation of the jaxpr comes from, given `eqn.source_info.name_stack`.

    Transformations wrap names, as in "transpose(jvp(`sin(x)`))"; the innermost piece counts. Empty if there is none.
    """
    return (re.findall("`([^`]*)`", str(name_stack)) or [""])[-1]


def check(
    function: TypedFunction, shapes: Mapping[str, tuple[int, ...]] | Sequence[tuple[int, ...]], batch_size: int = 1
) -> tuple[int, ...]:
    """The shape of the result for arguments of these shapes, by their names or in order; computes nothing.

    The arguments and all results on the way count as the work of one example.

    Raises:
        TextError: the shapes do not fit, or a batch would be too much work.
    """
    in_order = [shapes[name] for name in function.arguments] if isinstance(shapes, Mapping) else list(shapes)
    elements = batch_size * sum(math.prod(shape) for shape in in_order)
    multiply_adds = 0

    def refuse_too_much(start: int, end: int) -> None:
        if elements > MAX_ELEMENTS or multiply_adds > MAX_MULTIPLY_ADDS:
            sentence = "This is too much work; make the shapes or the batch smaller."
            raise TextError(sentence, function.text, start, end)

    def spend(node: Apply | Index, inputs: list, result: Any) -> None:
        nonlocal elements, multiply_adds
        if not np.size(result):
            raise TextError(
                "This takes nothing from the array; take at least one entry.", function.text, node.start, node.end
            )
        elements += batch_size * np.size(result)
        if isinstance(node, Apply) and node.name in ("@", "dot", "matmul"):
            multiply_adds += batch_size * np.size(result) * (np.shape(inputs[0]) or (1,))[-1]
        refuse_too_much(node.start, node.end)

    refuse_too_much(0, len(function.text))
    args = [jax.ShapeDtypeStruct(shape, np.float32) for shape in in_order]
    return jax.eval_shape(lambda *args: jnp.asarray(function._run(JAX, args, _scope, spend)), *args).shape
