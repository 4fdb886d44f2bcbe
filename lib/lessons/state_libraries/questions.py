"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax

from lib.lessons.state_libraries.measure import arguments, calls, step_times
from lib.lessons.state_libraries.routine import PLAIN, Libraries
from lib.measure.questions import Number, Order, Question, losses
from lib.measure.timing import Rows, timed

WAYS = (PLAIN, "Equinox", "Flax NNX")


def distances(batch_size: int, learning_rate: float, seed: int):
    """How far the loss of Equinox is from that of the plain pytree, at each of 100 steps."""
    return losses(Libraries((PLAIN, "Equinox"), batch_size), seed, learning_rate, 100, "spread")


def own_steps(device: jax.Device, batch_size: int, seed: int) -> Rows:
    """A step of each library in its own way, in turns."""
    made = calls(WAYS, device, *arguments(device, batch_size, seed))
    timings = yield from step_times({name: made[f"{name} own"] for name in WAYS}, budget_s=1.0)
    for name, timing in timings.items():
        yield timed(name, "steady", timing)


def _why_apart(truth: float) -> str:
    if truth < 1e-4:
        return (
            "Both end in the same arithmetic. Equinox keeps its weights transposed, so sums may differ in the last bit."
        )
    return "Sums differ in the last bit, and at a rate as high as this each step makes the difference larger."


QUESTIONS = (
    Question(
        "how far apart",
        "A plain pytree and Equinox start alike. How far apart are their losses after 100 steps at learning rate "
        "{learning_rate:g}?",
        Number(1e-9, 1e3, "difference of the losses"),
        distances,
        _why_apart,
    ),
    Question(
        "which is fastest",
        "A step at batch size {batch_size}, jitted in the library's own way: which is fastest?",
        Order(WAYS),
        own_steps,
        "The programs are alike. `nnx.jit` and `eqx.filter_jit` take objects apart in Python at each call, which costs the "
        "same for a large network as for a small one.",
    ),
)
