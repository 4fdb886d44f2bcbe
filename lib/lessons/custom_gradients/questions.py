"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lib.lessons.custom_gradients.pair_training import PairTraining
from lib.lessons.custom_gradients.routine import PAIRS
from lib.measure.questions import Choice, Question
from lib.routines.problem import train_steps

NUMBER, ZERO, INFINITE, NAN = "a number other than 0", "0", "infinity", "NaN"
NOT, AT_ONCE, LATER = "not within 100 steps", "at the first step", "later"


def derivative_as_written(pair: str, x: float) -> str:
    """Which kind of number `grad` gives for the naive function of a pair."""
    slope = float(jax.grad(PAIRS[pair].naive)(x))
    return NAN if np.isnan(slope) else INFINITE if np.isinf(slope) else NUMBER if slope else ZERO


def when_it_breaks(pair: str, batch_size: int, learning_rate: float, seed: int) -> str:
    """When the naive training has to end, because a parameter or the loss is infinite or no number."""
    problem = PairTraining(pair, batch_size)
    data = jax.device_put(problem.data(seed))
    start = problem.init(jax.random.key(seed), data)
    steps = jax.jit(train_steps, static_argnames="problem")
    state, _, _ = steps(problem, start, data, jnp.float32(learning_rate), jnp.int32(100))
    broken_at = int(state.opt_state["broken_at"])
    return NOT if not broken_at else AT_ONCE if broken_at == 1 else LATER


def _why_this_slope(pair: str) -> str:
    return PAIRS[pair].why


def _why_then(pair: str, truth: str) -> str:
    if truth == NOT:
        return "No example of these batches has come to where the derivative fails."
    return PAIRS[pair].fails


QUESTIONS = (
    Question(
        "the derivative",
        "What does `grad` give for the function as it is written (naive) at x = {x:g}?",
        Choice((NUMBER, ZERO, INFINITE, NAN)),
        derivative_as_written,
        _why_this_slope,
    ),
    Question(
        "when it breaks",
        "Batches of {batch_size}, learning rate {learning_rate:g}: when is the naive training over, because something is "
        "infinite or NaN?",
        Choice((NOT, AT_ONCE, LATER)),
        when_it_breaks,
        _why_then,
    ),
)
