"""Mistakes with branches and loops inside programs, each with what it should have been."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lib.lessons.control_flow.routine import BOOL, INTEGER
from lib.routines.mistakes import Mistake


def python_while_under_jit():
    @jax.jit
    def double_up(x):
        while x < 100:
            x = 2 * x
        return x

    return double_up(3.0)


def while_loop_under_jit():
    @jax.jit
    def double_up(x):
        return lax.while_loop(lambda x: x < 100, lambda x: 2 * x, x)

    return double_up(3.0)


def range_of_a_tracer():
    @jax.jit
    def power(x, n):
        result = 1.0
        for _ in range(n):
            result = result * x
        return result

    return power(2.0, 5)


def fori_loop_to_a_tracer():
    @jax.jit
    def power(x, n):
        return lax.fori_loop(0, n, lambda i, result: result * x, 1.0)

    return power(2.0, 5)


def branches_of_two_dtypes():
    return lax.cond(True, lambda x: x, lambda x: 0, 1.5)


def branches_of_one_dtype():
    return lax.cond(True, lambda x: x, lambda x: 0.0, 1.5)


def carry_that_grows():
    def body(seen, x):
        return jnp.append(seen, x), None

    return lax.scan(body, jnp.zeros(0), jnp.arange(3.0))[0]


def result_of_each_turn():
    def body(count, x):
        return count + 1, x

    return lax.scan(body, 0, jnp.arange(3.0))[1]


def body_without_a_pair():
    def body(total, x):
        return total + x

    return lax.scan(body, 0.0, jnp.arange(4.0))


def body_with_a_pair():
    def body(total, x):
        return total + x, None

    return lax.scan(body, 0.0, jnp.arange(4.0))[0]


def grad_through_while():
    def power(x):
        return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, 1.0))[1]

    return jax.grad(power)(2.0)


def grad_through_scan():
    def power(x):
        return lax.scan(lambda c, _: (c * x, None), 1.0, length=3)[0]

    return jax.grad(power)(2.0)


def append_in_the_body():
    seen = []

    def body(total, x):
        seen.append(1)
        return total + x, None

    lax.scan(body, 0.0, jnp.arange(4.0))
    return len(seen)


def count_in_the_carry():
    def body(carry, x):
        total, seen = carry
        return (total + x, seen + 1), None

    return lax.scan(body, (0.0, 0), jnp.arange(4.0))[0][1]


MISTAKES: dict[str, Mistake] = {
    "Python while on a tracer": Mistake(
        python_while_under_jit, while_loop_under_jit, BOOL,
        "`while` needs True or False while JAX traces, and a tracer has no value. `while_loop` tests when the program runs.",
    ),
    "range of a tracer": Mistake(
        range_of_a_tracer, fori_loop_to_a_tracer, INTEGER,
        "`range` needs a number while JAX traces. Make `n` static (a program for each `n`, unrolled) or use `fori_loop`.",
    ),
    "branches of different types": Mistake(
        branches_of_two_dtypes, branches_of_one_dtype, TypeError,
        "Which branch is taken is known only when the program runs, so both must return the same structure, shapes and "
        "dtypes.",
    ),
    "a carry that changes its shape": Mistake(
        carry_that_grows, result_of_each_turn, TypeError,
        "The carry has one shape in all turns. To collect results, return them as the second result of the body: `scan` "
        "stacks them.",
    ),
    "a scan body that gives no pair": Mistake(
        body_without_a_pair, body_with_a_pair, TypeError,
        "The body of a `scan` returns a pair: the new carry, and the result of this turn, `None` if there is none.",
    ),
    "grad through while_loop": Mistake(
        grad_through_while, grad_through_scan, ValueError,
        "The backward pass needs the values of each turn. JAX would have to reserve memory for them, and the number of turns "
        "is unknown. Use `scan`, or `fori_loop` with bounds known while JAX traces.",
    ),
    "a side effect in the body": Mistake(
        append_in_the_body, count_in_the_carry, None,
        "No error, but a wrong number: Python runs the body while JAX traces it, not once a turn. Count in the carry.",
    ),
}  # fmt: skip
