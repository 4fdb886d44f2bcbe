"""Typical mistakes, each with what it should have been. The errors are JAX's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Outcome(NamedTuple):
    """What a call gave: a value, or the name and text of an exception."""

    error: str | None
    text: str


class Mistake(NamedTuple):
    """A pair of functions without arguments.

    Attributes:
        raises: the exception of `wrong`, told by its type; None if it gives a wrong number instead.
        explanation: why, and what to do.
    """

    wrong: Callable[[], Any]
    right: Callable[[], Any]
    raises: type[Exception] | None
    explanation: str


def provoke(mistake: Mistake) -> tuple[Outcome, Outcome]:
    """Calls both functions. An exception of another type than `raises` is a defect, and passes."""
    return _outcome(mistake.wrong, mistake.raises), _outcome(mistake.right, None)


def _outcome(call: Callable[[], Any], expected: type[Exception] | None) -> Outcome:
    if expected is None:
        return Outcome(None, _text(call()))
    try:
        value = call()
    except expected as error:
        return Outcome(type(error).__name__, str(error))
    return Outcome(None, _text(value))


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "\n".join(_text(part) for part in value)
    return np.array2string(np.asarray(value), precision=4, threshold=12)


# jit(grad(f))


def grad_of_a_vector():
    return jax.grad(lambda x: x**2)(jnp.array([1.0, 2.0, 3.0]))


def vmap_of_grad():
    return jax.vmap(jax.grad(lambda x: x**2))(jnp.array([1.0, 2.0, 3.0]))


def grad_at_an_integer():
    return jax.grad(lambda x: x**2)(3)


def grad_at_a_float():
    return jax.grad(lambda x: x**2)(3.0)


def python_if_under_jit():
    def relu(x):
        return x if x > 0 else 0.0

    return jax.jit(jax.grad(relu))(2.0)


def where_under_jit():
    def relu(x):
        return jnp.where(x > 0, x, 0.0)

    return jax.jit(jax.grad(relu))(2.0)


def numpy_under_grad():
    return jax.grad(lambda x: np.sin(x))(1.0)


def jnp_under_grad():
    return jax.grad(lambda x: jnp.sin(x))(1.0)


def nan_through_where():
    def safe_sqrt(x):
        return jnp.where(x > 0, jnp.sqrt(x), 0.0)

    return jax.grad(safe_sqrt)(0.0)


def where_twice():
    def safe_sqrt(x):
        inside = jnp.where(x > 0, x, 1.0)
        return jnp.where(x > 0, jnp.sqrt(inside), 0.0)

    return jax.grad(safe_sqrt)(0.0)


JIT_GRAD: dict[str, Mistake] = {
    "grad of a function that returns a vector": Mistake(
        grad_of_a_vector, vmap_of_grad, TypeError,
        "`grad` is for functions that return one number. For the derivative at each of several points, "
        "`vmap` the gradient of one point; for all derivatives of all outputs, take `jacrev` or `jacfwd`.",
    ),
    "grad at an integer": Mistake(
        grad_at_an_integer, grad_at_a_float, TypeError,
        "An integer cannot move by a little, so it has no derivative. Write `3.0`, not `3`.",
    ),
    "Python if on a traced value": Mistake(
        python_if_under_jit, where_under_jit, jax.errors.TracerBoolConversionError,
        "`jit` runs the function once with a tracer, which stands for every possible number, and Python's "
        "`if` needs to know which one. `jnp.where` (or `lax.cond`) puts both branches into the program.",
    ),
    "NumPy inside a function to differentiate": Mistake(
        numpy_under_grad, jnp_under_grad, jax.errors.TracerArrayConversionError,
        "`np.sin` wants real numbers, and a tracer is none. `jnp.sin` knows what to do with it.",
    ),
    "NaN through where": Mistake(
        nan_through_where, where_twice, None,
        "No error, but a wrong number: the derivative of the square root at 0 is infinite, and backwards "
        "`where` multiplies it by 0, which is NaN. Make the branch that is not taken harmless first.",
    ),
}  # fmt: skip


# jit(vmap(f))


def different_lengths():
    return jax.vmap(jnp.multiply)(jnp.arange(3.0), jnp.arange(4.0))


def same_lengths():
    return jax.vmap(jnp.multiply)(jnp.arange(4.0), jnp.arange(4.0))


def axis_that_is_not_there():
    return jax.vmap(jnp.sin, in_axes=1)(jnp.arange(3.0))


def axis_that_is_there():
    return jax.vmap(jnp.sin, in_axes=0)(jnp.arange(3.0))


def nothing_mapped():
    return jax.vmap(jnp.add, in_axes=(None, None))(1.0, 2.0)


def one_argument_mapped():
    return jax.vmap(jnp.add, in_axes=(None, 0))(1.0, jnp.array([2.0, 3.0]))


def in_axes_of_wrong_length():
    return jax.vmap(jnp.add, in_axes=(0,))(jnp.arange(3.0), 1.0)


def in_axes_for_each_argument():
    return jax.vmap(jnp.add, in_axes=(0, None))(jnp.arange(3.0), 1.0)


JIT_VMAP: dict[str, Mistake] = {
    "batch axes of different lengths": Mistake(
        different_lengths, same_lengths, ValueError,
        "All mapped arguments are walked over together, so their batch axes must be equally long. "
        "An argument that is the same for the whole batch gets `None` in `in_axes`.",
    ),
    "an axis that the array does not have": Mistake(
        axis_that_is_not_there, axis_that_is_there, ValueError,
        "Axes count from 0: a vector has axis 0 and no axis 1.",
    ),
    "nothing to map over": Mistake(
        nothing_mapped, one_argument_mapped, ValueError,
        "With `None` for every argument there is no batch. At least one argument needs an axis.",
    ),
    "in_axes for some arguments only": Mistake(
        in_axes_of_wrong_length, in_axes_for_each_argument, ValueError,
        "A tuple `in_axes` has one entry for each positional argument, `None` where it is shared.",
    ),
}  # fmt: skip


# jit(grad(vmap(loss)))


def _example_loss(w, x, y):
    return (w @ x - y) ** 2


_W = np.zeros(5, np.float32)
_X = np.ones((3, 5), np.float32)
_Y = np.arange(3, dtype=np.float32)


def no_reduction():
    losses = jax.vmap(_example_loss, in_axes=(None, 0, 0))
    return jax.grad(losses)(_W, _X, _Y)


def reduced_to_a_scalar():
    losses = jax.vmap(_example_loss, in_axes=(None, 0, 0))
    return jax.grad(lambda w, x, y: losses(w, x, y).mean())(_W, _X, _Y)


def weights_mapped_too():
    losses = jax.vmap(_example_loss, in_axes=(0, 0, 0))
    return jax.grad(lambda w, x, y: losses(w, x, y).mean())(_W, _X, _Y)


def weights_shared():
    losses = jax.vmap(_example_loss, in_axes=(None, 0, 0))
    return jax.grad(lambda w, x, y: losses(w, x, y).mean())(_W, _X, _Y)


def gradient_of_the_targets():
    def loss(w, x, y):
        return jax.vmap(_example_loss, in_axes=(None, 0, 0))(w, x, y).mean()

    return jax.grad(loss, argnums=2)(_W, _X, _Y)


def gradient_of_the_weights():
    def loss(w, x, y):
        return jax.vmap(_example_loss, in_axes=(None, 0, 0))(w, x, y).mean()

    return jax.grad(loss, argnums=0)(_W, _X, _Y)


JIT_GRAD_VMAP: dict[str, Mistake] = {
    "no reduction before grad": Mistake(
        no_reduction, reduced_to_a_scalar, TypeError,
        "`vmap` gives one loss for each example, and `grad` wants one number. Take the mean or the sum "
        "of the losses inside the function that is differentiated.",
    ),
    "in_axes maps the weights too": Mistake(
        weights_mapped_too, weights_shared, ValueError,
        "With 0 for `w`, `vmap` cuts the five weights into five scalars, one for each example, and there are "
        "three examples. Every example shares the weights: `in_axes=(None, 0, 0)`.",
    ),
    "grad with respect to the wrong argument": Mistake(
        gradient_of_the_targets, gradient_of_the_weights, None,
        "No error, but the wrong thing: `argnums` counts the arguments from 0, and 2 is the targets. The shape "
        "gives it away: three numbers, one a target, not five, one a weight.",
    ),
}  # fmt: skip


# jit: the cache, and compiling ahead of time


def list_as_static_argument():
    def polynomial(x, powers):
        return sum(x**power for power in powers)

    return jax.jit(polynomial, static_argnames="powers")(2.0, powers=[1, 2])


def tuple_as_static_argument():
    def polynomial(x, powers):
        return sum(x**power for power in powers)

    return jax.jit(polynomial, static_argnames="powers")(2.0, powers=(1, 2))


def new_lambda_at_each_call():
    traces = []

    def square(x):
        traces.append(x)
        return x**2

    for x in (1.0, 2.0, 3.0, 4.0):
        jax.jit(lambda x: square(x))(x)
    return len(traces)


def one_function_for_all_calls():
    traces = []

    def square(x):
        traces.append(x)
        return x**2

    jitted = jax.jit(square)
    for x in (1.0, 2.0, 3.0, 4.0):
        jitted(x)
    return len(traces)


def side_effect_under_jit():
    seen = []

    @jax.jit
    def square(x):
        seen.append(1)
        return x**2

    for x in (1.0, 2.0, 3.0):
        square(x)
    return sum(seen)


def count_as_argument_and_result():
    @jax.jit
    def square(x, count):
        return x**2, count + 1

    count = 0
    for x in (1.0, 2.0, 3.0):
        _, count = square(x, count)
    return count


def read_after_donation():
    params = jnp.array([1.0, 2.0])
    jax.jit(lambda params: params - 0.5, donate_argnums=0)(params)
    return np.asarray(params) - 0.5


def read_the_result():
    params = jnp.array([1.0, 2.0])
    params = jax.jit(lambda params: params - 0.5, donate_argnums=0)(params)
    return np.asarray(params)


COMPILATION: dict[str, Mistake] = {
    "a list as static argument": Mistake(
        list_as_static_argument, tuple_as_static_argument, ValueError,
        "A static argument is part of the key under which JAX keeps the program, so it must have a hash. A list has "
        "none, because it can change; a tuple has one.",
    ),
    "a new lambda at each call": Mistake(
        new_lambda_at_each_call, one_function_for_all_calls, None,
        "No error, but four traces and four compilations where one will do: each `lambda` is another function to JAX, "
        "and its cache goes with it. Jit once, outside the loop, and call that.",
    ),
    "a Python side effect under jit": Mistake(
        side_effect_under_jit, count_as_argument_and_result, None,
        "No error, but a wrong number: Python runs while JAX traces, once, and not when the program does. What is to "
        "happen at each call must be an argument and a result (or go through `jax.debug.callback`).",
    ),
    "reading a donated array": Mistake(
        read_after_donation, read_the_result, RuntimeError,
        "`donate_argnums` gives the argument's memory away: the result is there now, and the argument is gone. Take the "
        "result from then on, under the same name.",
    ),
}  # fmt: skip
