"""Typical mistakes with `jit`: the cache, and compiling ahead of time, each beside what it should have been."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lib.routines.mistakes import Mistake


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


MISTAKES: dict[str, Mistake] = {
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
