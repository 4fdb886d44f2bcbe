"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lib.lessons.compilation.routine import routine, sgd_update, sine_power_that_tells
from lib.measure.questions import Choice, Number, Question, error_or_not
from lib.measure.stages import compile_in_stages, cost_of, fresh


def traces_of_four_calls(batch_size: int) -> str:
    """Counted by Python itself, which runs while JAX traces and at no other time."""
    traces = []
    jitted = jax.jit(sine_power_that_tells(lambda: traces.append(1)), static_argnames="power")
    for x in (jnp.zeros(batch_size), jnp.zeros(32), jnp.ones(32), jnp.ones(32, jnp.int32)):
        jitted(x, power=2)
    return str(len(traces))


def flops_of_a_step(batch_size: int, depth: int) -> float:
    """Of one training step, by the compiler's count."""
    fun, args = routine("train_step", batch_size, depth)
    compiled, _ = compile_in_stages(fresh(fun), *args)
    flops = cost_of(compiled).flops
    if flops is None:
        raise ValueError("The compiler for this device counts no flops; choose the CPU.")
    return flops


def donated_and_read(batch_size: int) -> str:
    """Reads an argument after it was donated."""
    step = jax.jit(sgd_update, donate_argnums=0)
    params, grads = jnp.ones(1024 * batch_size), jnp.ones(1024 * batch_size)
    step(params, grads)
    return error_or_not(lambda: params + 0)


QUESTIONS = (
    Question(
        "how many traces",
        "`jit(f)` is called with float32[{batch_size}], then with float32[32], then with other numbers in a float32[32], then "
        "with an int32[32]. How often does JAX trace `f`?",
        Choice(("1", "2", "3", "4")),
        traces_of_four_calls,
        "Programs are kept by shapes and dtypes. Other numbers in an array find the program that is there.",
    ),
    Question(
        "how much work",
        "How many floating-point operations has one training step: {batch_size} examples, {depth} hidden layers of 32 units?",
        Number(1e3, 1e10, "flops"),
        flops_of_a_step,
        "Each weight takes about six for each example: a product and a sum in the forward pass, twice that in the backward pass.",
    ),
    Question(
        "donated, then read",
        "`step = jit(sgd_update, donate_argnums=0)`; `new = step(params, grads)`. What does `params + 0` do then?",
        Choice(("no error", "RuntimeError", "ValueError", "DonationError")),
        donated_and_read,
        "The result was written into the memory of `params`, so the old array is deleted. Use `new`.",
    ),
)
