"""Stacks of transformations, such as `jit(vmap(grad(f)))`: read, written, applied, and computed without JAX.

A stack is a tuple of levels, the innermost first. Each level is told in three ways: `apply` is JAX's own
transformation, `plain` does the same in NumPy with loops and differences, and `after` says what becomes of
the arguments and results.
"""

from __future__ import annotations

import ast
import itertools
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_LEVELS = 6
MAX_TEXT = 400
STEP = 0.02
"""Of the differences. Their error is of order STEP**4, and rounding, of order 1e-16 / STEP for each level of
derivatives, stays small for four levels."""

PLAIN, BATCH, DERIVATIVE = "", "batch", "derivative"
"""What an axis is there for."""


class StackError(ValueError):
    """A text that is not a stack; one sentence that says what to write instead."""


@dataclass(frozen=True)
class Level:
    """One transformation with its arguments as they are written; what is left out has JAX's default."""

    name: str
    keywords: tuple[tuple[str, Any], ...] = ()

    def get(self, keyword: str) -> Any:
        return dict(self.keywords).get(keyword, 0)

    def __str__(self) -> str:
        return ", ".join([self.name, *(f"{keyword}={value!r}" for keyword, value in self.keywords)])


Stack = tuple[Level, ...]


class Leaf(NamedTuple):
    """An array: what each of its axes is there for goes with the shape."""

    shape: tuple[int, ...]
    roles: tuple[str, ...]
    dtype: str = "float32"


def is_leaf(value: Any) -> bool:
    """For `jax.tree`, to which a `Leaf` would be a tuple."""
    return isinstance(value, Leaf)


class Signature(NamedTuple):
    """What a function takes and returns: trees of `Leaf`."""

    names: tuple[str, ...]
    inputs: tuple[Any, ...]
    output: Any


# JAX.


def _jvp(fun: Callable) -> Callable:
    def jvp_of_f(*args: Any) -> Any:
        half = len(args) // 2
        return jax.jvp(fun, args[:half], args[half:])

    return jvp_of_f


def _vjp(fun: Callable) -> Callable:
    def vjp_of_f(*args: Any) -> Any:
        return jax.vjp(fun, *args[:-1])[1](args[-1])

    return vjp_of_f


def _reduced(reduce: Callable) -> Callable:
    def reduction(fun: Callable) -> Callable:
        def reduced_f(*args: Any) -> Any:
            return reduce(fun(*args))

        return reduced_f

    return reduction


# NumPy: no JAX but for `jax.tree`, which walks over tuples.


def _difference(fun: Callable, move: Callable[[float], tuple], step: float = STEP) -> Any:
    """The derivative along a line at 0, by central differences of fourth order.

    Source: Fornberg, B. (1988), Generation of finite difference formulas on arbitrarily spaced grids.
    """
    values = [fun(*move(times * step)) for times in (-2, -1, 1, 2)]
    return jax.tree.map(lambda a, b, c, d: (a - 8 * b + 8 * c - d) / (12 * step), *values)


def _flat(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree, and what puts them back."""
    return jax.tree.flatten(tree, is_leaf=is_leaf)


def _replaced(args: tuple, position: int, value: Any) -> tuple:
    return (*args[:position], value, *args[position + 1 :])


def _partial(fun: Callable, args: tuple, position: int) -> Any:
    """The derivative of each output by each number of one argument: the output's tree of the argument's trees."""
    leaves, structure = _flat(args[position])
    by_leaf = []
    for place, leaf in enumerate(leaves):
        columns = []
        for index in np.ndindex(leaf.shape):

            def move(step: float, place: int = place, index: tuple = index) -> tuple:
                moved = np.array(leaves[place])
                moved[index] += step
                return _replaced(args, position, structure.unflatten(_replaced(tuple(leaves), place, moved)))

            columns.append(_difference(fun, move))
        shape = leaf.shape
        by_leaf.append(jax.tree.map(lambda *c, shape=shape: np.stack(c, -1).reshape(np.shape(c[0]) + shape), *columns))
    return jax.tree.map(lambda *parts: structure.unflatten(parts), *by_leaf)


def _plain_jacobian(fun: Callable, argnums: Any = 0) -> Callable:
    def jacobian(*args: Any) -> Any:
        if isinstance(argnums, int):
            return _partial(fun, args, argnums % len(args))
        parts = [_partial(fun, args, position % len(args)) for position in argnums]
        _, structure = _flat(fun(*args))
        by_output = [structure.flatten_up_to(part) for part in parts]
        return structure.unflatten([tuple(part) for part in zip(*by_output, strict=True)])

    return jacobian


def _plain_value_and_grad(fun: Callable, argnums: Any = 0) -> Callable:
    return lambda *args: (fun(*args), _plain_jacobian(fun, argnums)(*args))


def _plain_hessian(fun: Callable, argnums: Any = 0) -> Callable:
    return _plain_jacobian(_plain_jacobian(fun, argnums), argnums)


def _plain_vmap(fun: Callable, in_axes: Any = 0, out_axes: Any = 0) -> Callable:
    def loop(*args: Any) -> Any:
        axes = axes_of(in_axes, len(args))
        sizes = [
            leaf.shape[axis]
            for axis, arg in zip(axes, args, strict=True)
            if axis is not None
            for leaf in jax.tree.leaves(arg)
        ]
        results = [
            fun(*(
                arg if axis is None else jax.tree.map(lambda leaf, axis=axis, i=i: np.take(leaf, i, axis), arg)
                for axis, arg in zip(axes, args, strict=True)
            ))
            for i in range(sizes[0])
        ]  # fmt: skip
        if out_axes is None:
            return results[0]
        return jax.tree.map(lambda *parts: np.stack(parts, out_axes), *results)

    return loop


def _plain_jvp(fun: Callable) -> Callable:
    def pushed(*args: Any) -> Any:
        primals, tangents = args[: len(args) // 2], args[len(args) // 2 :]

        def move(step: float) -> tuple:
            return jax.tree.map(lambda primal, tangent: primal + step * tangent, primals, tangents)

        length = np.sqrt(sum(np.sum(tangent**2) for tangent in jax.tree.leaves(tangents)))
        return fun(*primals), _difference(fun, move, STEP / max(1.0, length))

    return pushed


def _plain_vjp(fun: Callable) -> Callable:
    def pulled(*args: Any) -> Any:
        *primals, cotangent = args
        weights, structure = _flat(cotangent)

        def contracted(*primals: Any) -> Any:
            return sum(np.sum(w * out) for w, out in zip(weights, structure.flatten_up_to(fun(*primals)), strict=True))

        return tuple(_partial(contracted, tuple(primals), position) for position in range(len(primals)))

    return pulled


def _same(fun: Callable) -> Callable:
    return fun


class Transform(NamedTuple):
    """One of the transformations.

    Attributes:
        apply: takes the function and the keywords; JAX.
        plain: the same for a function of NumPy arrays, float64.
        keywords: what can be given besides the function.
        code: the line that builds it: `{f}` the function below, `{k}` the keywords, `{n}` its number of arguments.
        about: what it makes of a function.
    """

    apply: Callable[..., Callable]
    plain: Callable[..., Callable]
    keywords: tuple[str, ...]
    code: str
    about: str


TRANSFORMS: dict[str, Transform] = {
    "grad": Transform(
        jax.grad, _plain_jacobian, ("argnums",), "jax.grad({f}{k})", "the gradient of a function that returns one number"
    ),
    "value_and_grad": Transform(
        jax.value_and_grad, _plain_value_and_grad, ("argnums",), "jax.value_and_grad({f}{k})",
        "the value and the gradient, for the price of the gradient",
    ),
    "vmap": Transform(
        jax.vmap, _plain_vmap, ("in_axes", "out_axes"), "jax.vmap({f}{k})", "the same function for each entry of a batch"
    ),
    "jit": Transform(jax.jit, _same, (), "jax.jit({f}{k})", "the same function, compiled for the shapes it is called with"),
    "jvp": Transform(
        _jvp, _plain_jvp, (), "lambda *args: jax.jvp({f}, args[:{n}], args[{n}:])",
        "the value and its change along a tangent: forward mode; takes a tangent for each argument",
    ),
    "vjp": Transform(
        _vjp, _plain_vjp, (), "lambda *args: jax.vjp({f}, *args[:{n}])[1](args[{n}])",
        "what a cotangent of the result says of each argument: reverse mode; takes one more argument, the cotangent",
    ),
    "jacfwd": Transform(
        jax.jacfwd, _plain_jacobian, ("argnums",), "jax.jacfwd({f}{k})",
        "all derivatives of all outputs, one column at a time: for few inputs",
    ),
    "jacrev": Transform(
        jax.jacrev, _plain_jacobian, ("argnums",), "jax.jacrev({f}{k})",
        "all derivatives of all outputs, one row at a time: for few outputs",
    ),
    "hessian": Transform(
        jax.hessian, _plain_hessian, ("argnums",), "jax.hessian({f}{k})", "all second derivatives: jacfwd(jacrev(f))"
    ),
    "checkpoint": Transform(
        jax.checkpoint, _same, (), "jax.checkpoint({f}{k})",
        "the same function, which computes its insides again on the way back instead of keeping them",
    ),
    "sum": Transform(
        _reduced(jnp.sum), _reduced(np.sum), (), "lambda *args: jnp.sum({f}(*args))",
        "no transformation, but what makes one number of many, as grad needs it",
    ),
    "mean": Transform(
        _reduced(jnp.mean), _reduced(np.mean), (), "lambda *args: jnp.mean({f}(*args))",
        "no transformation, but what makes one number of many, as grad needs it",
    ),
}  # fmt: skip


def apply(fun: Callable, stack: Stack) -> Callable:
    """The function transformed by JAX."""
    for level in stack:
        fun = TRANSFORMS[level.name].apply(fun, **dict(level.keywords))
    return fun


def plain(fun: Callable, stack: Stack) -> Callable:
    """The same for a function of NumPy arrays: loops for `vmap`, differences for derivatives."""
    for level in stack:
        fun = TRANSFORMS[level.name].plain(fun, **dict(level.keywords))
    return fun


# Reading and writing.


def expression(stack: Stack, name: str = "f") -> str:
    """The stack as Python: `jit(vmap(grad(f), in_axes=(None, 0)))`."""
    for level in stack:
        keywords = "".join(f", {keyword}={value!r}" for keyword, value in level.keywords)
        name = f"{level.name}({name}{keywords})"
    return name


def short(stack: Stack) -> str:
    """A stack without its keywords."""
    return expression(tuple(Level(level.name) for level in stack))


def code(stack: Stack, arguments: int) -> str:
    """The lines that build it, one a level, `f` being a function of so many arguments."""
    lines, below = [], "f"
    for number, level in enumerate(stack, 1):
        keywords = "".join(f", {keyword}={value!r}" for keyword, value in level.keywords)
        built = TRANSFORMS[level.name].code.format(f=below, k=keywords, n=arguments)
        below = f"f{number}"
        lines.append(f"{below} = {built}")
        arguments += {"jvp": arguments, "vjp": 1}.get(level.name, 0)
    return "\n".join(lines)


def parse(text: str) -> Stack:
    """Reads a stack from what `expression` writes; `f` stands for the function.

    Raises:
        StackError: if it is anything else.
    """
    example = "write for example jit(vmap(grad(f)))"
    if len(text) > MAX_TEXT:
        raise StackError(f"The stack has {len(text)} characters, at most {MAX_TEXT} are read: {example}.")
    text = text.replace("jax.", "").strip()
    try:
        # Python's parser warns, on the server's terminal, of what has no place in a stack anyway.
        if not re.fullmatch(r"[\w(),= -]*", text, re.ASCII) or re.search(r"\d[A-Za-z_]", text):
            raise SyntaxError
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise StackError(f"This is not an expression with balanced brackets: {example}.") from None
    levels: list[Level] = []
    while not (isinstance(node, ast.Name) and node.id == "f"):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1):
            raise StackError(f"Each level is one transformation of one function, and the innermost is f: {example}.")
        if node.func.id not in TRANSFORMS:
            raise StackError(f"{node.func.id!r} is not among {', '.join(TRANSFORMS)}.")
        levels.append(Level(node.func.id, tuple(_keyword(node.func.id, keyword) for keyword in node.keywords)))
        node = node.args[0]
        if len(levels) > MAX_LEVELS:
            raise StackError(f"A stack has at most {MAX_LEVELS} levels; take one away.")
    return tuple(reversed(levels))


def _keyword(name: str, keyword: ast.keyword) -> tuple[str, Any]:
    allowed = TRANSFORMS[name].keywords
    if keyword.arg not in allowed:
        takes = f"takes {' and '.join(allowed)}" if allowed else "takes no arguments here"
        raise StackError(f"{name} {takes}, not {keyword.arg!r}.")
    return keyword.arg, parse_numbers(keyword.arg, ast.unparse(keyword.value))


def parse_numbers(keyword: str, text: str) -> Any:
    """A small whole number or a tuple of them, as in `argnums=(0, 1)` and `in_axes=(None, 0)`.

    Raises:
        StackError: if it is anything else.
    """
    may_be_none = keyword != "argnums"
    kinds: tuple[type, ...] = (int, type(None)) if may_be_none else (int,)
    try:
        value = ast.literal_eval(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        value = text
    parts = value if isinstance(value, tuple) and keyword != "out_axes" and value else (value,)
    if any(type(part) not in kinds or (part is not None and abs(part) > 9) for part in parts):
        form = {"in_axes": "0, None, or one of these for each argument: (None, 0)", "out_axes": "0, 1, ... or None"}
        raise StackError(f"{keyword} is {form.get(keyword, '0, 1, ... or several: (0, 1)')}; got {text[:40]!r}.")
    return value


# Types.


def axes_of(in_axes: Any, arguments: int) -> tuple[int | None, ...]:
    """`in_axes` for each argument."""
    return tuple(in_axes) if isinstance(in_axes, tuple) else (in_axes,) * arguments


def _with_batch(leaf: Leaf, axis: int, batch_size: int) -> Leaf:
    """A leaf with its batch axis put in, or as it is where the axis is out of reach: JAX shall refuse it."""
    place = axis + len(leaf.shape) + 1 if axis < 0 else axis
    if not 0 <= place <= len(leaf.shape):
        return leaf
    return leaf._replace(
        shape=(*leaf.shape[:place], batch_size, *leaf.shape[place:]),
        roles=(*leaf.roles[:place], BATCH, *leaf.roles[place:]),
    )


def _leaves(fun: Callable[..., Any], *trees: Any) -> Any:
    return jax.tree.map(fun, *trees, is_leaf=is_leaf)


def _picked(values: tuple, argnums: Any) -> Any:
    return values[argnums] if isinstance(argnums, int) else tuple(values[i] for i in argnums)


def _jacobian_of(output: Any, inputs: Any) -> Any:
    """Each array of the output turns into one for each array of the inputs, with the axes of both."""

    def both(out: Leaf, arg: Leaf) -> Leaf:
        return Leaf(out.shape + arg.shape, out.roles + (DERIVATIVE,) * len(arg.shape), out.dtype)

    return _leaves(lambda out: _leaves(lambda arg: both(out, arg), inputs), output)


def _gradient_of(inputs: Any) -> Any:
    """A gradient has the axes of its argument; along a batch it still lies along the batch."""
    return _leaves(lambda a: a._replace(roles=tuple(BATCH if r == BATCH else DERIVATIVE for r in a.roles)), inputs)


def _new_name(name: str, taken: tuple[str, ...]) -> str:
    """A name that no argument has yet: dx, dx_2, dx_3."""
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(candidate for candidate in numbered if candidate not in taken)


def inputs_after(level: Level, below: Signature, batch_size: int) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Names and types of the arguments, whether or not JAX will take the level."""
    names, inputs = below.names, below.inputs
    if level.name == "vmap":
        axes = axes_of(level.get("in_axes"), len(inputs))
        axes = (*axes, *(None,) * len(inputs))[: len(inputs)]
        return names, tuple(
            arg if axis is None else _leaves(lambda leaf, axis=axis: _with_batch(leaf, axis, batch_size), arg)
            for axis, arg in zip(axes, inputs, strict=True)
        )
    if level.name == "jvp":
        for name in below.names:
            names = (*names, _new_name(f"d{name.split('_')[0]}", names))
        return names, inputs * 2
    if level.name == "vjp":
        return (*names, _new_name("ct", names)), (*inputs, below.output)
    return names, inputs


def after(level: Level, below: Signature, batch_size: int) -> Signature:
    """What a level makes of a function's type. Holds for levels that JAX takes."""
    names, inputs = inputs_after(level, below, batch_size)
    output, argnums = below.output, level.get("argnums")
    if level.name in ("sum", "mean"):
        output = Leaf((), (), "float32" if level.name == "mean" else output.dtype.replace("bool", "int32"))
    elif level.name in ("grad", "value_and_grad"):
        gradient = _gradient_of(_picked(inputs, argnums))
        output = gradient if level.name == "grad" else (output, gradient)
    elif level.name in ("jacfwd", "jacrev", "hessian"):
        picked = _picked(inputs, argnums)
        output = _jacobian_of(output, picked)
        if level.name == "hessian":
            output = _jacobian_of(output, picked)
    elif level.name == "jvp":
        output = (output, output)
    elif level.name == "vjp":
        output = _gradient_of(below.inputs)
    elif level.name == "vmap" and level.get("out_axes") is not None:
        output = _leaves(lambda leaf: _with_batch(leaf, level.get("out_axes"), batch_size), output)
    return Signature(names, inputs, output)


def numbers_in(tree: Any) -> int:
    """How many numbers a tree of leaves holds."""
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(tree, is_leaf=is_leaf))


def evaluations(level: Level, below: Signature, batch_size: int) -> int:
    """How often `plain` of a level calls the function below."""
    argnums = level.get("argnums")
    if level.name == "vmap":
        return batch_size
    if level.name == "jvp":
        return 5
    if level.name == "vjp":
        return 4 * numbers_in(below.inputs)
    if level.name in ("grad", "value_and_grad", "jacfwd", "jacrev", "hessian"):
        once = 4 * numbers_in(_picked(below.inputs, argnums)) + 1
        return once**2 if level.name == "hessian" else once
    return 1


def default_level(name: str, signature: Signature, in_axes: tuple[int | None, ...]) -> Level:
    """A level as one would add it: `vmap` maps what was given one axis an example, and shares the rest.

    Args:
        in_axes: for the arguments of the function itself; tangents go with their primals, cotangents with
            the batch.
    """
    if name != "vmap":
        return Level(name)
    axes = list(in_axes)
    for argument in signature.names[len(in_axes) :]:
        base = argument.split("_")[0]
        axes.append(0 if base == "ct" else axes[signature.names.index(base[1:])])
    if all(axis == 0 for axis in axes) or all(axis is None for axis in axes):
        return Level(name)
    return Level(name, (("in_axes", tuple(axes)),))


def draw(names: tuple[str, ...], inputs: tuple[Any, ...], seed: int, positive: bool = False) -> tuple[Any, ...]:
    """Values for arguments, float32, between 0.2 and 1.5 in size: away from kinks at 0.

    A name has the same numbers at each level, so that the first example of a batch is the one without a batch.
    """

    def values(name: str, leaf: Leaf, number: int) -> np.ndarray:
        rng = np.random.default_rng((seed, number, zlib.crc32(name.encode())))
        numbers = rng.uniform(-1, 1, leaf.shape)
        sizes = 0.2 + 1.3 * np.abs(numbers)
        return np.asarray(sizes if positive else np.sign(numbers) * sizes, np.float32)

    drawn = []
    for name, tree in zip(names, inputs, strict=True):
        leaves, structure = _flat(tree)
        drawn.append(structure.unflatten([values(name, leaf, i) for i, leaf in enumerate(leaves)]))
    return tuple(drawn)


# What is wrong with a level, in words.


def without_derivative(level: Level, below: Signature) -> bool:
    """Whether a level asks for a derivative of values that are no real numbers.

    JAX refuses that, but for `jvp`, `vjp` and `jacfwd`, which give numbers of the type float0 that lead nowhere.
    """
    derives = level.name in ("jvp", "vjp") or "argnums" in TRANSFORMS[level.name].keywords
    return derives and any("float" not in leaf.dtype for leaf in jax.tree.leaves(below.output, is_leaf=is_leaf))


def explain(level: Level, below: Signature, batch_size: int) -> str:
    """Which rule of a transformation a level breaks, and what to do; empty if none of those known here."""
    if level.name == "vmap":
        return _explain_vmap(level, below)
    if level.name in ("sum", "mean"):
        if isinstance(below.output, Leaf):
            return ""
        return (
            f"`{level.name}` takes one array, and the function below returns several: take `grad` in place of "
            "`value_and_grad` below, or reduce before the level that returns several."
        )
    if level.name in ("jit", "checkpoint"):
        return ""
    if "argnums" in TRANSFORMS[level.name].keywords:
        count = len(below.inputs)
        argnums = level.get("argnums")
        wrong = [i for i in (argnums if isinstance(argnums, tuple) else (argnums,)) if not -count <= i < count]
        if wrong:
            return f"`argnums` counts the arguments from 0, and the function below has {count}: take a number below {count}."
        if isinstance(argnums, tuple) and len({i % count for i in argnums}) < len(argnums):
            return f"`argnums={argnums}` names an argument twice, counted from the end if negative: name each once."
    outputs = jax.tree.leaves(below.output, is_leaf=is_leaf)
    if without_derivative(level, below):
        return (
            f"The function below returns {outputs[0].dtype} values, which cannot move by a little, so they have no "
            "derivative: make real numbers of them first, for example with `where`."
        )
    if level.name in ("grad", "value_and_grad"):
        if not isinstance(below.output, Leaf):
            return (
                f"`{level.name}` is for functions that return one number, and the function below returns "
                f"{len(outputs)} arrays in a tuple: differentiate before that level, or take `jacrev`, which takes any."
            )
        if below.output.shape:
            remedy = (
                f"put `vmap` above `{level.name}`, or `sum` or `mean` between"
                if BATCH in below.output.roles
                else "put `sum` below it, or take `jacrev` or `jacfwd` for all the derivatives of all its entries"
            )
            return (
                f"`{level.name}` is for functions that return one number, and the function below returns "
                f"{prod(below.output.shape)} in the shape {below.output.shape}: {remedy}."
            )
    return ""


def _explain_vmap(level: Level, below: Signature) -> str:
    in_axes, out_axes, count = level.get("in_axes"), level.get("out_axes"), len(below.inputs)
    if isinstance(in_axes, tuple) and len(in_axes) != count:
        return (
            f"A tuple `in_axes` has one entry for each argument, and the function below takes {count}, not {len(in_axes)}: "
            f"{', '.join(below.names)}. Give shared arguments `None`."
        )
    axes = axes_of(in_axes, count)
    if all(axis is None for axis in axes):
        return "`None` for every argument leaves nothing to map over: give at least one argument an axis."
    for name, axis, tree in zip(below.names, axes, below.inputs, strict=True):
        for leaf in jax.tree.leaves(tree, is_leaf=is_leaf):
            ndim = len(leaf.shape) + 1
            if axis is not None and not -ndim <= axis < ndim:
                return (
                    f"With its batch axis, `{name}` has {ndim} {'axis' if ndim == 1 else 'axes'}, counted from 0, and "
                    f"axis {axis} cannot be among them: take a lower one, or `None` to share it."
                )
    if out_axes is None:
        return (
            "`out_axes=None` promises that the result is the same for every example. Here it depends on the mapped "
            "arguments, so it needs a batch axis: take 0."
        )
    for leaf in jax.tree.leaves(below.output, is_leaf=is_leaf):
        if not -len(leaf.shape) - 1 <= out_axes <= len(leaf.shape):
            return (
                f"The result of one example has the shape {leaf.shape}: there is no axis {out_axes} to put the batch at. "
                "Take `out_axes=0`."
            )
    return ""
