"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lib.lessons.jit_vmap.routine import Ensemble, affine, arguments, rivals, train_step
from lib.measure.questions import Choice, Order, Question, error_or_not
from lib.measure.timing import Rows, compare

AFFINE = "affine(w, b, x)"
WAYS = ("NumPy vectorised", "jit(vmap(f))", "Python loop of jit(f)")


def shape_with_out_axes(batch_size: int) -> str:
    """Traced, not computed."""
    in_axes = (None, None, 0)
    mapped = jax.vmap(affine, in_axes=in_axes, out_axes=1)
    return str(jax.eval_shape(mapped, *arguments(AFFINE, in_axes, batch_size)).shape)


def targets_that_are_mapped(batch_size: int) -> str:
    """Models get the 64 targets that they share, with the axis 0 in `in_axes`, as if each had its own."""
    problem = Ensemble(batch_size)
    inputs, targets = problem.data(0)
    params = problem.init(jax.random.key(0), (inputs, targets)).params
    step = jax.vmap(train_step, in_axes=(0, None, 0, None))
    return error_or_not(lambda: jax.eval_shape(step, params, inputs, targets, jnp.float32(0.03)))


def ways_of_a_batch(device: jax.Device, batch_size: int) -> Rows:
    """Three ways to the same batch of `affine`, in turns."""
    made = rivals(AFFINE, batch_size, device)
    yield from compare({way: made[way] for way in WAYS}, budget_s=0.6)


def _why_refused(truth: str, batch_size: int) -> str:
    if truth == "no error":
        return "64 models and 64 targets: the axes fit. Each model gets one number as the target of all inputs, and learns it."
    return f"`vmap` walks over mapped axes together, and {batch_size} models and 64 targets are not equally many."


QUESTIONS = (
    Question(
        "a shape",
        "`w` is (3, 5), `b` is (3,) and `X` is ({batch_size}, 5). "
        "Which shape has `vmap(affine, in_axes=(None, None, 0), out_axes=1)(w, b, X)`?",
        Choice(("(3,)", "({batch_size}, 3)", "(3, {batch_size})", "({batch_size}, 3, 5)")),
        shape_with_out_axes,
        "One example gives the shape (3,). `out_axes=1` puts the batch behind that axis.",
    ),
    Question(
        "error or not",
        "{batch_size} models share 64 targets, shape (64,), but `in_axes` says 0 for them. "
        "What does `vmap(train_step, in_axes=(0, None, 0, None))` do?",
        Choice(("no error", "ValueError", "TypeError", "TracerBoolConversionError")),
        targets_that_are_mapped,
        _why_refused,
    ),
    Question(
        "which is fastest",
        "`w @ x + b` for {batch_size} examples, with `w` of shape (3, 5): which way is fastest?",
        Order(WAYS),
        ways_of_a_batch,
        "The loop dispatches a program for each example. Where the work is little, NumPy's shorter dispatch may win.",
    ),
)
