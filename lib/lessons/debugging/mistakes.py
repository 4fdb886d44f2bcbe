"""The classic mistakes of newcomers, each with what it should have been."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np

from lib.lessons.compilation.mistakes import MISTAKES as COMPILATION
from lib.lessons.jit_grad.mistakes import MISTAKES as JIT_GRAD
from lib.lessons.jit_grad_vmap.mistakes import MISTAKES as JIT_GRAD_VMAP
from lib.routines.mistakes import Mistake


def clock_without_waiting():
    matmul = jax.jit(jnp.matmul)
    a = jnp.ones((1024, 1024))
    jax.block_until_ready(matmul(a, a))  # compiled, warm
    start = time.perf_counter()
    matmul(a, a)
    return 1e3 * (time.perf_counter() - start)  # ms


def clock_that_waits():
    matmul = jax.jit(jnp.matmul)
    a = jnp.ones((1024, 1024))
    jax.block_until_ready(matmul(a, a))
    start = time.perf_counter()
    jax.block_until_ready(matmul(a, a))
    return 1e3 * (time.perf_counter() - start)


def every_length_compiles():
    traces = []

    @jax.jit
    def total(x):
        traces.append(x.shape)
        return x.sum()

    for length in range(1, 9):
        total(jnp.ones(length))
    return len(traces)


def padded_to_one_length():
    traces = []

    @jax.jit
    def total(x, length):
        traces.append(x.shape)
        return jnp.where(jnp.arange(8) < length, x, 0.0).sum()

    for length in range(1, 9):
        total(jnp.ones(8), length)
    return len(traces)


def leaked_tracer():
    kept = []

    @jax.jit
    def square(x):
        kept.append(x**2)
        return x

    square(3.0)
    return kept[0] + 1.0


def returned_instead():
    @jax.jit
    def square(x):
        return x, x**2

    _, kept = square(3.0)
    return kept + 1.0


def one_key_for_both():
    key = jax.random.key(0)
    a = jax.random.normal(key, (10_000,))
    b = jax.random.normal(key, (10_000,))
    return jnp.corrcoef(a, b)[0, 1]


def a_key_for_each():
    key, subkey = jax.random.split(jax.random.key(0))
    a = jax.random.normal(key, (10_000,))
    b = jax.random.normal(subkey, (10_000,))
    return jnp.corrcoef(a, b)[0, 1]


def unrolled_loop():
    def power(x):
        for _ in range(500):
            x = 1.001 * x
        return x

    return len(jax.make_jaxpr(power)(1.0).eqns)


def rolled_loop():
    def power(x):
        return jax.lax.fori_loop(0, 500, lambda i, x: 1.001 * x, x)

    return len(jax.make_jaxpr(power)(1.0).eqns)


def arrays_on_two_devices():
    first, last = jax.devices("cpu")[0], jax.devices("cpu")[-1]
    a = jax.device_put(jnp.arange(3.0), first)
    b = jax.device_put(jnp.arange(3.0), last)
    return a + b


def arrays_on_one_device():
    first, last = jax.devices("cpu")[0], jax.devices("cpu")[-1]
    a = jax.device_put(jnp.arange(3.0), first)
    b = jax.device_put(jnp.arange(3.0), last)
    return a + jax.device_put(b, first)


def index_out_of_bounds():
    x = jnp.array([1.0, 2.0, 3.0])
    return x[10], x.at[10].set(7.0).sum()


def index_that_tells():
    x = jnp.array([1.0, 2.0, 3.0])
    return x.at[10].get(mode="fill", fill_value=jnp.nan), x.at[2].set(7.0).sum()


def assignment_in_place():
    x = jnp.zeros(3)
    x[1] = 5.0
    return x


def assignment_to_a_new_array():
    x = jnp.zeros(3)
    x = x.at[1].set(5.0)
    return x


def float64_that_is_float32():
    x = jnp.asarray(np.float64(1e8))
    return x + 1.0 - x


def float64_switched_on():
    with jax.enable_x64(True):  # for this thread; for a program: jax.config.update("jax_enable_x64", True)
        x = jnp.asarray(np.float64(1e8))
        return x + 1.0 - x


MISTAKES: dict[str, Mistake] = {
    "timing the dispatch": Mistake(
        clock_without_waiting, clock_that_waits, None,
        "Milliseconds for the product of two matrices of 1024 × 1024, as they were at the first press. A call returns when "
        "its work is in the queue: without `block_until_ready` the clock has timed the queue.",
    ),
    "a shape that recompiles": Mistake(
        every_length_compiles, padded_to_one_length, None,
        "How often JAX traced, and then compiled. The shape is part of the key of a program, so eight lengths are eight "
        "programs. Pad to one length (or to few) and mask what was padded.",
    ),
    "a fresh lambda": COMPILATION["a new lambda at each call"],
    "an unhashable static argument": COMPILATION["a list as static argument"],
    "Python if on a tracer": JIT_GRAD["Python if on a traced value"],
    "wrong in_axes": JIT_GRAD_VMAP["in_axes maps the weights too"],
    "a leaked tracer": Mistake(
        leaked_tracer, returned_instead, jax.errors.UnexpectedTracerError,
        "What a traced function computes exists in its program only. Kept in a list, an attribute or a global it is a "
        "tracer of a trace that is over. Return it. `jax.checking_leaks` finds the place.",
    ),
    "a side effect under jit": COMPILATION["a Python side effect under jit"],
    "a key used twice": Mistake(
        one_key_for_both, a_key_for_each, None,
        "The correlation of two draws that should know nothing of each other. A key is a value, not a generator: the same "
        "key gives the same numbers. `split` makes new ones; `jax.debug_key_reuse` finds those used twice.",
    ),
    "grad of a non-scalar": JIT_GRAD["grad of a function that returns a vector"],
    "NaN through where": JIT_GRAD["NaN through where"],
    "an unrolled loop": Mistake(
        unrolled_loop, rolled_loop, None,
        "Equations in the program. A Python loop runs while JAX traces and leaves every turn behind, to be compiled one by "
        "one. `fori_loop`, `scan` and `while_loop` keep one copy of their body.",
    ),
    "arrays on two devices": Mistake(
        arrays_on_two_devices, arrays_on_one_device, ValueError,
        "JAX moves no array that was put on a device on purpose. Put both on the same one, or give them a sharding over "
        "a mesh. (Where there is one device only, nothing is wrong.)",
    ),
    "an index out of bounds": Mistake(
        index_out_of_bounds, index_that_tells, None,
        "A program cannot raise in the middle: reading beyond the end gives the last element, and writing there does "
        "nothing. `mode='fill'` says what to read instead; `checkify.index_checks` makes an error of it.",
    ),
    "assignment in place": Mistake(
        assignment_in_place, assignment_to_a_new_array, TypeError,
        "Arrays of JAX do not change. `x.at[1].set(5.0)` gives a new one; under `jit` the compiler writes in place where "
        "nobody needs the old one.",
    ),
    "float64 that is float32": Mistake(
        float64_that_is_float32, float64_switched_on, None,
        "1e8 + 1 - 1e8. JAX makes float32 of float64 unless it is told otherwise, and 1e8 + 1 is 1e8 in seven "
        "digits. `jax.enable_x64`, or the setting at the start of a program, and only where it is needed.",
    ),
}  # fmt: skip
