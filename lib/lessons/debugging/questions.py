"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax
import numpy as np

from lib.lessons.debugging.measure import tool_costs
from lib.lessons.debugging.routine import Watched, batch_at, init_params, noisy_sine, sgd_step
from lib.measure.questions import Choice, Order, Question, losses

NEVER = "not within 1,000 steps"


def prints_of_a_step(batch_size: int) -> str:
    """How often Python's `print` would be called: it is noted in its place."""
    printed = []

    @jax.jit
    def step(params, batch, learning_rate):
        params, loss = sgd_step(params, batch, learning_rate)
        printed.append(loss)
        return params, loss

    params, data = init_params(jax.random.key(0)), noisy_sine(0)
    for number in range(20):
        batch = batch_at(data, number, batch_size if number < 10 else 32)
        params, _ = step(params, batch, 0.01)
    return str(len(printed))


def first_nan(batch_size: int, learning_rate: float, seed: int) -> str:
    """When the loss is no finite number for the first time, in 1,000 steps from the start."""
    finite = np.isfinite(losses(Watched(batch_size, 0), seed, learning_rate, 1000))
    if finite.all():
        return NEVER
    first = int(np.argmin(finite))
    return "within 10 steps" if first <= 10 else "within 100 steps" if first <= 100 else "later"


def _why_then(truth: str) -> str:
    if truth == NEVER:
        return "The deviation stays above 0, though nothing keeps it there."
    return "A step was so long that a deviation got below 0. Its logarithm is NaN, and the next step gives that to all weights."


QUESTIONS = (
    Question(
        "print under jit",
        "A jitted step calls `print(loss)`. It takes 10 steps on batches of {batch_size}, then 10 on batches of 32. "
        "How often does it print?",
        Choice(("0", "1", "2", "10", "20")),
        prints_of_a_step,
        "Python runs while JAX traces, once for each shape, and prints a tracer then. `jax.debug.print` runs with the program.",
    ),
    Question(
        "when is it NaN",
        "Learning rate {learning_rate:g}, batches of {batch_size}: when is the loss NaN for the first time?",
        Choice((NEVER, "within 10 steps", "within 100 steps", "later")),
        first_nan,
        _why_then,
    ),
    Question(
        "which is fastest",
        "One step at batch size {batch_size}, as it is and with two tools: which is fastest?",
        Order(("jit(step)", "with debug.callback", "under disable_jit")),
        tool_costs,
        "A callback takes the way from the program to Python. Without `jit` each operation is dispatched by itself.",
    ),
)
