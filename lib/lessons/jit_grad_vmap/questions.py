"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lib.lessons.jit_grad_vmap.measure import gradient_ways
from lib.lessons.jit_grad_vmap.routine import LinearRegression, Reduction, loss, regression_data
from lib.measure.questions import Choice, Number, Order, Question, losses


def losses_at_ten_times_the_rate(batch_size: int, reduction: Reduction, learning_rate: float, seed: int):
    """The mean loss over all examples, before each of 100 steps and after them."""
    return losses(LinearRegression(batch_size, reduction), seed, 10 * learning_rate)


def shape_of_vmap_of_grad(batch_size: int) -> str:
    """Traced, not computed."""
    inputs, targets = regression_data(0)
    grads = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))
    return str(jax.eval_shape(grads, jnp.zeros(inputs.shape[1]), inputs[:batch_size], targets[:batch_size]).shape)


def _why_this_loss(truth: float, reduction: Reduction) -> str:
    if truth < 1:
        return "The rate is still below the limit of stability: each step shortens the way to the optimum."
    size = "the sum of a batch, and grows with it" if reduction == "sum" else "a mean, whatever the batch size"
    return (
        f"Above a certain rate each step goes further beyond the optimum than the one before. The gradient is {size}."
    )


QUESTIONS = (
    Question(
        "ten times the rate",
        "What is the loss after 100 steps from the start at ten times the learning rate, with the {reduction} of a batch?",
        Number(0.01, 1e6, "mean squared error"),
        losses_at_ten_times_the_rate,
        _why_this_loss,
    ),
    Question(
        "a shape",
        "Which shape has `vmap(grad(loss), in_axes=(None, 0, 0))(w, X, y)` for {batch_size} examples and five weights?",
        Choice(("()", "(5,)", "({batch_size},)", "({batch_size}, 5)")),
        shape_of_vmap_of_grad,
        "`grad(loss)` has the shape of `w`, and `vmap` puts the batch axis before it: a gradient for each example.",
    ),
    Question(
        "which is fastest",
        "Which way to the gradient of {batch_size} examples is fastest, once it is compiled?",
        Order(("grad(mean(vmap(loss))), eager", "jit(grad(mean(vmap(loss))))", "loop over jit(grad(loss))")),
        gradient_ways,
        "The loop dispatches programs for each example, the eager way one for each operation, `jit` one for all.",
    ),
)
