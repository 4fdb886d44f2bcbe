"""Functions to stack transformations on, each with its twin in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.lessons.composition import transforms
from lib.lessons.composition.transforms import BATCH, Leaf, Level, Signature, Stack, numbers_of
from lib.measure import jaxprs
from lib.routines.problem import Metrics, Observed, TrainState, new_state
from lib.routines.sgd import sgd
from lib.routines.snippets import source, written
from lib.routines.specialise import written_as
from lib.routines.typed import TypedFunction, check, parse


def squared_difference(x, y):
    return (x - y) ** 2


def growing_wave(x):
    return x * jnp.sin(x)


def leaky_relu(x):
    return jnp.where(x > 0, x, 0.1 * x)


def rosenbrock(p):
    x, y = p
    return (1.0 - x) ** 2 + 10.0 * (y - x**2) ** 2


def affine(w, b, x):
    return w @ x + b


def squared_loss(w, x, y):
    return (w @ x - y) ** 2


def network_loss(w, v, x, y):
    hidden = jnp.tanh(w @ x)
    return (v @ hidden - y) ** 2


@dataclass(frozen=True)
class ExampleFunction:
    """A function of one example.

    Attributes:
        fun: in JAX.
        numpy: the same in NumPy.
        arguments: name and shape of each for one example.
        in_axes: what `vmap` does to each as a rule: 0 where each example has its own, None where they share it.
        positive: whether it is to be tried at positive numbers only.
    """

    fun: Callable[..., Any]
    numpy: Callable[..., Any] = field(compare=False)  # a method of the typed function, equal only to itself
    arguments: tuple[tuple[str, tuple[int, ...]], ...]
    in_axes: tuple[int | None, ...]
    positive: bool = False

    @property
    def name(self) -> str:
        """What it is called in code; what was typed is f, and its text says what it is."""
        return f"f = {self.fun.text}" if isinstance(self.fun, TypedFunction) else self.fun.__name__

    @property
    def code(self) -> str:
        """Code that defines it as f."""
        fun = self.fun
        return written(fun) if isinstance(fun, TypedFunction) else f"{source(fun)}\n\n\nf = {fun.__name__}"

    def signature(self) -> Signature:
        """What it takes and returns, before any transformation."""
        return _signature(self)


@lru_cache(maxsize=32)
def _signature(function: ExampleFunction) -> Signature:
    names = tuple(name for name, _ in function.arguments)
    inputs = tuple(Leaf(shape, ("",) * len(shape)) for _, shape in function.arguments)
    out = jax.eval_shape(function.fun, *(jax.ShapeDtypeStruct(shape, jnp.float32) for _, shape in function.arguments))
    return Signature(names, inputs, Leaf(out.shape, ("",) * len(out.shape), str(out.dtype)))


FUNCTIONS: dict[str, ExampleFunction] = {
    "squared difference": ExampleFunction(squared_difference, squared_difference, (("x", ()), ("y", ())), (0, None)),
    "growing wave": ExampleFunction(growing_wave, lambda x: x * np.sin(x), (("x", ()),), (0,)),
    "leaky ReLU": ExampleFunction(leaky_relu, lambda x: np.where(x > 0, x, 0.1 * x), (("x", ()),), (0,)),
    "Rosenbrock": ExampleFunction(rosenbrock, rosenbrock, (("p", (2,)),), (0,)),
    "affine": ExampleFunction(affine, affine, (("w", (2, 3)), ("b", (2,)), ("x", (3,))), (None, None, 0)),
    "squared loss": ExampleFunction(squared_loss, squared_loss, (("w", (3,)), ("x", (3,)), ("y", ())), (None, 0, 0)),
    "network loss": ExampleFunction(
        network_loss, lambda w, v, x, y: (v @ np.tanh(w @ x) - y) ** 2,
        (("w", (4, 2)), ("v", (4,)), ("x", (2,)), ("y", ())), (None, None, 0, 0),
    ),
}  # fmt: skip


@lru_cache(maxsize=32)
def typed_function(
    text: str, shapes: tuple[tuple[int, ...], ...], shared: tuple[str, ...], positive: bool
) -> ExampleFunction:
    """A function that a visitor typed.

    Args:
        shapes: of its arguments for one example, in their order.
        shared: the names of the arguments that all examples of a batch share.

    Raises:
        TextError: the text is no function, or does not fit the shapes.
    """
    fun = parse(text)
    check(fun, shapes)
    axes = tuple(None if name in shared else 0 for name in fun.arguments)
    return ExampleFunction(fun, fun.numpy, tuple(zip(fun.arguments, shapes, strict=True)), axes, positive)


def with_default_axes(function: ExampleFunction, names: tuple[str, ...]) -> Stack:
    """A stack of levels by name, innermost first, with `in_axes` that suit the function."""
    stack: Stack = ()
    for name in names:
        stack = add_level(function, stack, name)
    return stack


def add_level(function: ExampleFunction, stack: Stack, name: str) -> Stack:
    """A stack with a level outside, with `in_axes` that suit the function."""
    names = transforms.names_after(tuple(name for name, _ in function.arguments), stack)
    return (*stack, transforms.default_level(name, names, function.in_axes))


class Comparison(NamedTuple):
    """Two stacks that differ in their order, and what there is to see."""

    function: str
    one: str
    other: str
    notice: str


COMPARISONS: dict[str, Comparison] = {
    "vmap of grad, or grad of sum of vmap": Comparison(
        "squared loss", "jit(vmap(grad(f), in_axes=(None, 0, 0)))", "jit(grad(sum(vmap(f, in_axes=(None, 0, 0)))))",
        "The first gives each example its own gradient, the second their sum: the batch axis is gone, and with it the "
        "memory for it. For one argument that has an axis of its own for each example, both would be the same.",
    ),
    "vmap of jit, or jit of vmap": Comparison(
        "network loss", "vmap(jit(f), in_axes=(None, None, 0, 0))", "jit(vmap(f, in_axes=(None, None, 0, 0)))",
        "The same equations and the same value. But only what stands inside `jit` is kept compiled: with `vmap` outside, "
        "Python goes through the batching rules at each call, which costs far more than the arithmetic.",
    ),
    "grad of jit, or jit of grad": Comparison(
        "network loss", "grad(jit(f))", "jit(grad(f))",
        "`grad(jit(f))` compiles the way forward and the way back as two programs and hands the intermediate values "
        "over; `jit(grad(f))` is one program, in which the compiler can fuse both.",
    ),
    "jacfwd, or jacrev": Comparison(
        "affine", "jit(jacfwd(f))", "jit(jacrev(f))",
        "The same derivatives: six columns for six inputs forwards, two rows for two outputs backwards. Few outputs and "
        "many inputs, as in every loss, speak for reverse mode.",
    ),
    "hessian, or jacrev of jacfwd": Comparison(
        "Rosenbrock", "jit(hessian(f))", "jit(jacrev(jacfwd(f)))",
        "`hessian` is `jacfwd(jacrev(f))`: forward over reverse. The other way round gives the same numbers by other "
        "equations, and as a rule more of them.",
    ),
    "with or without checkpoint": Comparison(
        "network loss", "jit(grad(f))", "jit(grad(checkpoint(f)))",
        "With `checkpoint` the way back computes `tanh` again instead of keeping it: more equations, the same value. It "
        "pays where memory is short, not here.",
    ),
}  # fmt: skip

BROKEN: dict[str, tuple[str, str]] = {
    "grad of a batch of losses": ("squared loss", "jit(grad(vmap(f, in_axes=(None, 0, 0))))"),
    "grad of a vector": ("affine", "grad(f)"),
    "in_axes for too few arguments": ("squared loss", "vmap(grad(f), in_axes=(None, 0))"),
    "nothing to map over": ("squared loss", "vmap(f, in_axes=None)"),
    "an axis that is not there": ("squared loss", "vmap(f, in_axes=(None, 0, 2))"),
    "out_axes beyond the result": ("squared loss", "vmap(f, in_axes=(None, 0, 0), out_axes=1)"),
    "argnums beyond the arguments": ("growing wave", "grad(f, argnums=1)"),
    "sum of a value and a gradient": ("Rosenbrock", "grad(sum(value_and_grad(f)))"),
}
"""Function and stack of typical mistakes."""


# The stack at work: descent along its gradient.

DERIVATIVES = ("grad", "value_and_grad")
CURVES = 16


class Gradient(NamedTuple):
    """How a stack gives the gradient of a number, or why it does not.

    Attributes:
        stack: what computes it.
        argnum: the argument that descends.
        per_example: whether the result has a gradient for each example, to be averaged.
        own: whether the argument itself has one for each example: as many descents as examples.
        note: a sentence, if the stack on the page does not give one and another takes its place.
    """

    stack: Stack
    argnum: int
    per_example: bool
    own: bool
    note: str = ""


def gradient_of(function: ExampleFunction, stack: Stack, batch_size: int) -> Gradient:
    """The gradient that a stack computes, or that of the mean over the batch if it computes none.

    It does so if one of its levels is `grad` or `value_and_grad`, there is no other derivative, neither above it nor
    below, and what is differentiated is one argument of the function, whose axes the gradient has in the same order.
    """
    names = [level.name for level in stack]
    derivatives = [level for level in stack if level.name in DERIVATIVES]
    above = names[names.index(derivatives[0].name) + 1 :] if derivatives else []
    plain = {*DERIVATIVES, "vmap", "jit", "checkpoint", "sum", "mean"}.issuperset(names)
    single = len(derivatives) == 1 and isinstance(derivatives[0].get("argnums"), int)
    if single and plain and not {"sum", "mean"} & set(above):
        signature = function.signature()
        for level in stack:
            signature = transforms.after(level, signature, batch_size)
        argnum = derivatives[0].get("argnums") % len(function.arguments)
        gradient = signature.output[1] if derivatives[0].name == "value_and_grad" else signature.output
        params = signature.inputs[argnum]
        axes, wanted = _axes(gradient), _axes(params)
        if axes == wanted:
            return Gradient(stack, argnum, False, BATCH in params.roles)
        if axes[1:] == wanted and gradient.roles[0] == BATCH:
            return Gradient(stack, argnum, True, False)
    levels, own, why = with_default_axes(function, ("vmap", "mean", "grad")), False, ""
    if _fits(function, levels, batch_size):
        own = function.in_axes[0] == 0 or not any(axis == 0 for axis in function.in_axes)
    else:
        levels, why = (
            with_default_axes(function, ("mean", "grad")),
            f", and a batch of {batch_size:,} is too large here",
        )
    return Gradient(
        levels, 0, False, own,
        f"This stack does not give the gradient of one number{why}, so the descent takes {transforms.expression(levels)}.",
    )  # fmt: skip


def bounded_trace(function: ExampleFunction, stack: Stack, inputs: tuple[Any, ...]) -> Any:
    """The jaxpr of a stack, if it is small enough for a machine that is shared.

    Raises:
        TooLarge: with a sentence for the page.
    """
    if transforms.numbers_in(inputs) > jaxprs.MAX_NUMBERS:
        raise jaxprs.TooLarge("The arguments alone are too large for a shared machine: lower Batch size.")
    closed = jaxprs.trace(transforms.apply(function.fun, stack), transforms.shapes_of(inputs))
    jaxprs.check_size(closed.jaxpr)
    return closed


@lru_cache(maxsize=32)
def _fits(function: ExampleFunction, stack: Stack, batch_size: int) -> bool:
    """Whether a stack is small enough."""
    signature = function.signature()
    for level in stack:
        signature = transforms.after(level, signature, batch_size)
    try:
        bounded_trace(function, stack, signature.inputs)
    except jaxprs.TooLarge:
        return False
    return True


def _axes(leaf: Leaf) -> list[tuple[int, bool]]:
    """The size of each axis, and whether it is the batch: a square gradient may lie the other way."""
    return [(size, role == BATCH) for size, role in zip(leaf.shape, leaf.roles, strict=True)]


@lru_cache(maxsize=32)
def _applied(fun: Callable[..., Any], stack: Stack) -> Callable[..., Any]:
    """One object for each stack, by which the code of it is found."""
    return transforms.apply(fun, stack)


@dataclass(frozen=True)
class StackDescent:
    """Gradient descent along what a stack computes.

    The arguments that stay are the data. They fit the stack: with a batch axis where it maps.
    """

    function: ExampleFunction
    gradient: Gradient
    batch_size: int

    @property
    def lineage(self) -> Any:
        return self

    def _signature(self) -> Signature:
        signature = self.function.signature()
        for level in self.gradient.stack:
            signature = transforms.after(level, signature, self.batch_size)
        return signature

    @property
    def arguments(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each argument."""
        signature = self._signature()
        return tuple((name, leaf.shape) for name, leaf in zip(signature.names, signature.inputs, strict=True))

    def examples(self, seed: int) -> tuple[np.ndarray, ...]:
        """The arguments, float32; the one that descends is there as its starting point."""
        return tuple(numbers_of(name, shape, seed, self.function.positive) for name, shape in self.arguments)

    @written_as(examples)
    def data(self, seed: int) -> tuple[np.ndarray, ...]:
        """The arguments, float32; the one that descends is there as its starting point."""
        signature = self._signature()
        return transforms.draw(signature.names, signature.inputs, seed, self.function.positive)

    def written(self) -> list[tuple[Any, str, str]]:
        """The function, the stack and the losses as code."""
        names = tuple(name for name, _ in self.function.arguments)
        code = f"{self.function.code}\n{transforms.code(self.gradient.stack, names)}"
        losses = f"losses_of = {transforms.nested(self._mapped, names)}"
        return [(self.stacked, f"f{len(self.gradient.stack)}", code), (self.losses_of, "losses_of", losses)]

    @property
    def stacked(self) -> Callable[..., Any]:
        """What the descent goes along."""
        return _applied(self.function.fun, self.gradient.stack)

    @property
    def _mapped(self) -> Stack:
        # Where the gradients are to have their batch axis, the losses may have none.
        return tuple(
            Level("vmap", tuple(pair for pair in level.keywords if pair[0] == "in_axes"))
            for level in self.gradient.stack
            if level.name == "vmap"
        )

    @property
    def losses_of(self) -> Callable[..., Any]:
        """f of each example, or of the only one."""
        return _applied(self.function.fun, self._mapped)

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        return new_state({"argument": data[self.gradient.argnum]}, key)

    def _replaced(self, params: Array, data: tuple) -> tuple:
        return (*data[: self.gradient.argnum], params, *data[self.gradient.argnum + 1 :])

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        params = state.params["argument"]
        args = self._replaced(params, data)
        result = self.stacked(*args)
        grads = result[1] if isinstance(result, tuple) else result
        grads = grads.mean(0) if self.gradient.per_example else grads
        losses = self.losses_of(*args).ravel()
        metrics = {"loss": losses.mean(), "lowest": losses.min(), "highest": losses.max(), "each": losses[:CURVES]}
        return state._replace(params={"argument": sgd(params, grads, learning_rate)}, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        return Observed(metrics={}, picture={"argument": state.params["argument"].ravel()[:64]})
