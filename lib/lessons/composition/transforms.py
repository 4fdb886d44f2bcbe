"""Stacks of transformations, such as `jit(vmap(grad(f)))`: read, written, applied, and computed without JAX.

A stack is a tuple of levels, the innermost first. `TRANSFORMS` has a record for each transformation, which holds all
that is known about it: `apply` is JAX's own transformation, `plain` does the same in NumPy with loops and differences,
`names`, `inputs` and `roles` say what becomes of the arguments and results, and `rules` say what JAX refuses.
"""

from __future__ import annotations

import ast
import itertools
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lib.routines.typed import expression_tree

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
        return dict(self.keywords).get(keyword, TRANSFORMS[self.name].keywords[keyword].default)

    def written(self) -> str:
        """The keywords as they follow the function: `, in_axes=(None, 0)`."""
        return "".join(f", {keyword}={value!r}" for keyword, value in self.keywords)


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


def leaves_of(tree: Any) -> list[Leaf]:
    return jax.tree.leaves(tree, is_leaf=is_leaf)


def shapes_of(tree: Any) -> Any:
    """The same tree as JAX describes it, without the roles of the axes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree, is_leaf=is_leaf)


def numbers_in(tree: Any) -> int:
    """How many numbers a tree of leaves holds."""
    return sum(prod(leaf.shape) for leaf in leaves_of(tree))


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
        axes = _axes_of(in_axes, len(args))
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


# What becomes of the arguments and results. Each rule takes a level and the type of the function below.


def _axes_of(in_axes: Any, arguments: int) -> tuple[int | None, ...]:
    """`in_axes` for each argument."""
    return tuple(in_axes) if isinstance(in_axes, tuple) else (in_axes,) * arguments


def _inserted(values: tuple, axis: int, value: Any) -> tuple:
    """A tuple with one more entry, at an axis of the longer tuple; as it is where there is no such axis."""
    place = axis + len(values) + 1 if axis < 0 else axis
    return (*values[:place], value, *values[place:]) if 0 <= place <= len(values) else values


def _mapped_inputs(level: Level, below: Signature, batch_size: int) -> tuple[Any, ...]:
    def batched(leaf: Leaf, axis: int) -> Leaf:
        return leaf._replace(shape=_inserted(leaf.shape, axis, batch_size), roles=_inserted(leaf.roles, axis, BATCH))

    axes = (*_axes_of(level.get("in_axes"), len(below.inputs)), *(None,) * len(below.inputs))
    return tuple(
        arg if axis is None else jax.tree.map(lambda leaf, axis=axis: batched(leaf, axis), arg, is_leaf=is_leaf)
        for axis, arg in zip(axes, below.inputs, strict=False)
    )


def _mapped_by_default(names: tuple[str, ...], in_axes: tuple[int | None, ...]) -> tuple[tuple[str, Any], ...]:
    """One axis for what each example has of its own; tangents go with their primals, cotangents with the batch."""
    axes = list(in_axes)
    for argument in names[len(in_axes) :]:
        base = argument.split("_")[0]
        axes.append(0 if base == "ct" else axes[names.index(base[1:])])
    return (("in_axes", tuple(axes)),) if len(set(axes)) > 1 else ()


def _new_name(name: str, taken: tuple[str, ...]) -> str:
    """A name that no argument has yet: dx, dx_2, dx_3."""
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(candidate for candidate in numbered if candidate not in taken)


def _with_tangents(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        names = (*names, _new_name(f"d{name.split('_')[0]}", names))
    return names


Roles = list[tuple[str, ...]]
"""Of the axes of each array in a tree, in order."""


def _roles_of(tree: Any) -> Roles:
    return [leaf.roles for leaf in leaves_of(tree)]


def _same_roles(level: Level, below: Signature) -> Roles:
    return _roles_of(below.output)


def _mapped_roles(level: Level, below: Signature) -> Roles:
    axis = level.get("out_axes")
    return [roles if axis is None else _inserted(roles, axis, BATCH) for roles in _roles_of(below.output)]


def _as_derivative(inputs: Any) -> Roles:
    """A gradient has the axes of its argument; along a batch it still lies along the batch."""
    return [tuple(role if role == BATCH else DERIVATIVE for role in roles) for roles in _roles_of(inputs)]


def _picked(level: Level, below: Signature) -> tuple[Any, ...]:
    """The arguments by which a level differentiates."""
    argnums = level.get("argnums")
    return tuple(below.inputs[i] for i in (argnums if isinstance(argnums, tuple) else (argnums,)))


def _gradient_roles(level: Level, below: Signature) -> Roles:
    return _as_derivative(_picked(level, below))


def _jacobian_roles(level: Level, below: Signature, order: int = 1) -> Roles:
    """Each array of the output turns into one for each array of the inputs, with the axes of both."""
    brought = [(DERIVATIVE,) * len(leaf.shape) for leaf in leaves_of(_picked(level, below))]
    return [sum(more, roles) for roles in _roles_of(below.output) for more in itertools.product(brought, repeat=order)]


def _jacobian_evaluations(level: Level, below: Signature, batch_size: int) -> int:
    return 4 * numbers_in(_picked(level, below)) + 1


# What JAX refuses. Each rule gives a sentence that says what to do, or nothing.


def _counts_arguments(level: Level, below: Signature) -> str:
    count, argnums = len(below.inputs), level.get("argnums")
    several = argnums if isinstance(argnums, tuple) else (argnums,)
    if any(not -count <= i < count for i in several):
        return (
            f"`argnums` counts the arguments from 0, and the function below has {count}: take a number below {count}."
        )
    if len({i % count for i in several}) < len(several):
        return f"`argnums={argnums}` names an argument twice, counted from the end if negative: name each once."
    return ""


def _real_numbers(level: Level, below: Signature) -> str:
    outputs = leaves_of(below.output)
    if all("float" in leaf.dtype for leaf in outputs):
        return ""
    return (
        f"The function below returns {outputs[0].dtype} values, which cannot move by a little, so they have no "
        "derivative: make real numbers of them first, for example with `where`."
    )


def _one_number(level: Level, below: Signature) -> str:
    if not isinstance(below.output, Leaf):
        return (
            f"`{level.name}` is for functions that return one number, and the function below returns "
            f"{len(leaves_of(below.output))} arrays in a tuple: differentiate before that level, or take `jacrev`, which "
            "takes any."
        )
    if not below.output.shape:
        return ""
    remedy = (
        f"put `vmap` above `{level.name}`, or `sum` or `mean` between"
        if BATCH in below.output.roles
        else "put `sum` below it, or take `jacrev` or `jacfwd` for all the derivatives of all its entries"
    )
    return (
        f"`{level.name}` is for functions that return one number, and the function below returns "
        f"{prod(below.output.shape)} in the shape {below.output.shape}: {remedy}."
    )


def _one_array(level: Level, below: Signature) -> str:
    if isinstance(below.output, Leaf):
        return ""
    return (
        f"`{level.name}` takes one array, and the function below returns several: take `grad` in place of "
        "`value_and_grad` below, or reduce before the level that returns several."
    )


def _has_the_mapped_axes(level: Level, below: Signature) -> str:
    in_axes, count = level.get("in_axes"), len(below.inputs)
    if isinstance(in_axes, tuple) and len(in_axes) != count:
        return (
            f"A tuple `in_axes` has one entry for each argument, and the function below takes {count}, not {len(in_axes)}: "
            f"{', '.join(below.names)}. Give shared arguments `None`."
        )
    axes = _axes_of(in_axes, count)
    if all(axis is None for axis in axes):
        return "`None` for every argument leaves nothing to map over: give at least one argument an axis."
    for name, axis, tree in zip(below.names, axes, below.inputs, strict=True):
        for leaf in leaves_of(tree):
            ndim = len(leaf.shape) + 1
            if axis is not None and not -ndim <= axis < ndim:
                return (
                    f"With its batch axis, `{name}` has {ndim} {'axis' if ndim == 1 else 'axes'}, counted from 0, and "
                    f"axis {axis} cannot be among them: take a lower one, or `None` to share it."
                )
    return ""


def _has_room_for_the_batch(level: Level, below: Signature) -> str:
    out_axes = level.get("out_axes")
    if out_axes is None:
        return (
            "`out_axes=None` promises that the result is the same for every example. Here it depends on the mapped "
            "arguments, so it needs a batch axis: take 0."
        )
    for leaf in leaves_of(below.output):
        if not -len(leaf.shape) - 1 <= out_axes <= len(leaf.shape):
            return (
                f"The result of one example has the shape {leaf.shape}: there is no axis {out_axes} to put the batch at. "
                "Take `out_axes=0`."
            )
    return ""


# The transformations.


class Keyword(NamedTuple):
    """What can be given to a transformation besides the function: a small whole number, or what else is allowed.

    Attributes:
        form: what can be written, for the page.
        may_be_none: whether None can.
        may_be_tuple: whether several can.
        default: JAX's.
    """

    form: str
    may_be_none: bool = False
    may_be_tuple: bool = True
    default: Any = 0


class Transform(NamedTuple):
    """One of the transformations, all that is known about it. The defaults are those of one that changes no type.

    Attributes:
        apply: takes the function and the keywords; JAX.
        plain: the same for a function of NumPy arrays, float64.
        about: what it makes of a function.
        keywords: what can be given besides the function, by name.
        code: the line that builds it: `{name}` its own, `{f}` the function below, `{k}` the keywords, `{n}` its number of
            arguments.
        names: the names of the arguments, of those of the function below.
        inputs: the types of the arguments, whether or not JAX will take the level.
        roles: what the axes of each array of the result are there for. Shapes are asked of JAX.
        evaluations: how often `plain` calls the function below.
        by_default: the keywords of a level as one would add it, of the names of the arguments and the function's
            `in_axes`.
        rules: what JAX refuses; the first that gives a sentence applies.
    """

    apply: Callable[..., Callable]
    plain: Callable[..., Callable]
    about: str
    keywords: Mapping[str, Keyword] = MappingProxyType({})
    code: str = "jax.{name}({f}{k})"
    names: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda names: names
    inputs: Callable[[Level, Signature, int], tuple[Any, ...]] = lambda level, below, batch_size: below.inputs
    roles: Callable[[Level, Signature], Roles] = _same_roles
    evaluations: Callable[[Level, Signature, int], int] = lambda level, below, batch_size: 1
    by_default: Callable[[tuple[str, ...], tuple[int | None, ...]], tuple] = lambda names, in_axes: ()
    rules: tuple[Callable[[Level, Signature], str], ...] = ()


ARGNUMS = {"argnums": Keyword("0, 1, ... or several: (0, 1)")}

TRANSFORMS: dict[str, Transform] = {
    "grad": Transform(
        jax.grad, _plain_jacobian, "the gradient of a function that returns one number", ARGNUMS,
        roles=_gradient_roles, evaluations=_jacobian_evaluations, rules=(_counts_arguments, _real_numbers, _one_number),
    ),
    "value_and_grad": Transform(
        jax.value_and_grad, _plain_value_and_grad, "the value and the gradient, for the price of the gradient", ARGNUMS,
        roles=lambda level, below: _same_roles(level, below) + _gradient_roles(level, below),
        evaluations=_jacobian_evaluations, rules=(_counts_arguments, _real_numbers, _one_number),
    ),
    "vmap": Transform(
        jax.vmap, _plain_vmap, "the same function for each entry of a batch",
        {
            "in_axes": Keyword("0, None, or one of these for each argument: (None, 0)", may_be_none=True),
            "out_axes": Keyword("0, 1, ... or None", may_be_none=True, may_be_tuple=False),
        },
        inputs=_mapped_inputs, roles=_mapped_roles, evaluations=lambda level, below, batch_size: batch_size,
        by_default=_mapped_by_default, rules=(_has_the_mapped_axes, _has_room_for_the_batch),
    ),
    "jit": Transform(jax.jit, _same, "the same function, compiled for the shapes it is called with"),
    "jvp": Transform(
        _jvp, _plain_jvp, "the value and its change along a tangent: forward mode; takes a tangent for each argument",
        code="lambda *args: jax.jvp({f}, args[:{n}], args[{n}:])", names=_with_tangents,
        inputs=lambda level, below, batch_size: below.inputs * 2,
        roles=lambda level, below: _same_roles(level, below) * 2,
        evaluations=lambda level, below, batch_size: 5, rules=(_real_numbers,),
    ),
    "vjp": Transform(
        _vjp, _plain_vjp,
        "what a cotangent of the result says of each argument: reverse mode; takes one more argument, the cotangent",
        code="lambda *args: jax.vjp({f}, *args[:{n}])[1](args[{n}])",
        names=lambda names: (*names, _new_name("ct", names)),
        inputs=lambda level, below, batch_size: (*below.inputs, below.output),
        roles=lambda level, below: _as_derivative(below.inputs),
        evaluations=lambda level, below, batch_size: 4 * numbers_in(below.inputs), rules=(_real_numbers,),
    ),
    "jacfwd": Transform(
        jax.jacfwd, _plain_jacobian, "all derivatives of all outputs, one column at a time: for few inputs", ARGNUMS,
        roles=_jacobian_roles, evaluations=_jacobian_evaluations, rules=(_counts_arguments, _real_numbers),
    ),
    "jacrev": Transform(
        jax.jacrev, _plain_jacobian, "all derivatives of all outputs, one row at a time: for few outputs", ARGNUMS,
        roles=_jacobian_roles, evaluations=_jacobian_evaluations, rules=(_counts_arguments, _real_numbers),
    ),
    "hessian": Transform(
        jax.hessian, _plain_hessian, "all second derivatives: jacfwd(jacrev(f))", ARGNUMS,
        roles=partial(_jacobian_roles, order=2), evaluations=lambda *args: _jacobian_evaluations(*args) ** 2,
        rules=(_counts_arguments, _real_numbers),
    ),
    "checkpoint": Transform(
        jax.checkpoint, _same, "the same function, which computes its insides again on the way back instead of keeping them"
    ),
    **{
        name: Transform(
            _reduced(getattr(jnp, name)), _reduced(getattr(np, name)),
            "no transformation, but what makes one number of many, as grad needs it",
            code="lambda *args: jnp.{name}({f}(*args))", roles=lambda level, below: [()], rules=(_one_array,),
        )
        for name in ("sum", "mean")
    },
}  # fmt: skip


# Stacks of them.


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


def names_after(names: tuple[str, ...], stack: Stack) -> tuple[str, ...]:
    """The names of the arguments, of those of the function, whether or not JAX will take the stack."""
    for level in stack:
        names = TRANSFORMS[level.name].names(names)
    return names


def inputs_after(level: Level, below: Signature, batch_size: int) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Names and types of the arguments, whether or not JAX will take the level."""
    return names_after(below.names, (level,)), TRANSFORMS[level.name].inputs(level, below, batch_size)


@lru_cache(maxsize=512)
def after(level: Level, below: Signature, batch_size: int) -> Signature:
    """What a level makes of a function's type. Holds for levels that JAX takes."""
    names, inputs = inputs_after(level, below, batch_size)

    def function_below(*args: Any) -> Any:
        """What is below has this type, whatever it computes."""
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes_of(below.output))

    roles = iter(TRANSFORMS[level.name].roles(level, below))
    shapes = jax.eval_shape(apply(function_below, (level,)), *shapes_of(inputs))
    return Signature(names, inputs, jax.tree.map(lambda leaf: Leaf(leaf.shape, next(roles), str(leaf.dtype)), shapes))


def default_level(name: str, names: tuple[str, ...], in_axes: tuple[int | None, ...]) -> Level:
    """A level as one would add it: `vmap` maps what was given one axis an example, and shares the rest.

    Args:
        names: of the arguments of the function below.
        in_axes: for the arguments of the function itself, which are the first of them.
    """
    return Level(name, TRANSFORMS[name].by_default(names, in_axes))


def explain(level: Level, below: Signature) -> str:
    """Which rule of a transformation a level breaks, and what to do; empty if none of those known here."""
    return next(filter(None, (rule(level, below) for rule in TRANSFORMS[level.name].rules)), "")


def without_derivative(level: Level, below: Signature) -> str:
    """What to do where a level asks for a derivative of values that are no real numbers; else empty.

    JAX refuses that, but for `jvp`, `vjp` and `jacfwd`, which give numbers of the type float0 that lead nowhere.
    """
    return _real_numbers(level, below) if _real_numbers in TRANSFORMS[level.name].rules else ""


# Reading and writing.


def expression(stack: Stack, name: str = "f") -> str:
    """The stack as Python: `jit(vmap(grad(f), in_axes=(None, 0)))`."""
    for level in stack:
        name = f"{level.name}({name}{level.written()})"
    return name


def nested(stack: Stack, names: tuple[str, ...]) -> str:
    """The stack as one expression, `f` being a function of arguments of these names."""
    below = "f"
    for level in stack:
        built = TRANSFORMS[level.name].code.format(name=level.name, f=below, k=level.written(), n=len(names))
        below, names = f"({built})" if built.startswith("lambda") else built, names_after(names, (level,))
    return below


def short(stack: Stack) -> str:
    """A stack without its keywords."""
    return expression(tuple(Level(level.name) for level in stack))


def code(stack: Stack, names: tuple[str, ...]) -> str:
    """The lines that build it, one a level, `f` being a function of arguments of these names."""
    lines, below = [], "f"
    for number, level in enumerate(stack, 1):
        built = TRANSFORMS[level.name].code.format(name=level.name, f=below, k=level.written(), n=len(names))
        below, names = f"f{number}", names_after(names, (level,))
        takes_all = "lambda *args: "
        if built.startswith(takes_all):
            lines.append(f"def {below}(*args):\n    return {built.removeprefix(takes_all)}\n")
        else:
            lines.append(f"{below} = {built}")
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
        node: ast.expr = expression_tree(text)
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
    if keyword.arg is None or keyword.arg not in allowed:
        takes = f"takes {' and '.join(allowed)}" if allowed else "takes no arguments here"
        raise StackError(f"{name} {takes}, not {keyword.arg!r}.")
    return keyword.arg, parse_numbers(name, keyword.arg, ast.unparse(keyword.value))


def parse_numbers(name: str, keyword: str, text: str) -> Any:
    """The keyword of a transformation: a whole number or a tuple of them, as in `argnums=(0, 1)` and `in_axes=(None, 0)`.

    Raises:
        StackError: if it is anything else.
    """
    form, may_be_none, may_be_tuple, _ = TRANSFORMS[name].keywords[keyword]
    try:
        value = ast.literal_eval(expression_tree(text.strip()))
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        value = text
    parts = value if isinstance(value, tuple) and may_be_tuple and value else (value,)
    if not all((part is None and may_be_none) or (type(part) is int and abs(part) <= 9) for part in parts):
        raise StackError(f"{keyword} is {form}; got {text[:40]!r}.")
    return value


def draw(names: tuple[str, ...], inputs: tuple[Any, ...], seed: int, positive: bool = False) -> tuple[Any, ...]:
    """Values for arguments, float32, between 0.2 and 1.5 in size: away from kinks at 0.

    A name has the same numbers at each level, so that the first example of a batch is the one without a batch.
    """

    drawn = []
    for name, tree in zip(names, inputs, strict=True):
        leaves, structure = _flat(tree)
        numbers = [numbers_of(name, leaf.shape, seed, positive, i) for i, leaf in enumerate(leaves)]
        drawn.append(structure.unflatten(numbers))
    return tuple(drawn)


def numbers_of(name: str, shape: tuple[int, ...], seed: int, positive: bool = False, place: int = 0) -> np.ndarray:
    """Numbers for an argument of that name, float32."""
    rng = np.random.default_rng((seed, place, zlib.crc32(name.encode())))
    numbers = rng.uniform(-1, 1, shape)
    sizes = 0.2 + 1.3 * np.abs(numbers)
    return np.asarray(sizes if positive else np.sign(numbers) * sizes, np.float32)
