"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lib.lessons.jit_grad.functions import Name, function_of
from lib.lessons.jit_grad.routine import Descent, descent_step
from lib.measure.questions import Choice, Number, Question

STEPS = 100


def ways_of_points(function: Name, constants: tuple[float, ...], batch_size: int, learning_rate: float, seed: int):
    """Where the points of a run from its start are before each step, float32[STEPS + 1, batch, variables]."""
    problem = Descent(function, batch_size, constants)
    data = problem.data(seed)
    f = function_of(function).fun

    def body(points, _):
        return descent_step(f, points, data, learning_rate)[0], points

    start = problem.init(jax.random.key(seed), data).params["points"]
    return jax.jit(lambda start: jax.lax.scan(body, start, length=STEPS + 1)[1])(start)


def lengths_of_gradients(
    function: Name, constants: tuple[float, ...], batch_size: int, learning_rate: float, seed: int
):
    """The mean length of the gradient at the points, before each step and after the last."""
    ways = ways_of_points(function, constants, batch_size, learning_rate, seed)
    gradient = jax.vmap(jax.vmap(jax.grad(lambda point: function_of(function).at(point, constants))))
    return jax.jit(lambda ways: jnp.linalg.norm(gradient(ways), axis=-1).mean(1))(ways)


def how_many_leave(
    function: Name, constants: tuple[float, ...], batch_size: int, learning_rate: float, seed: int
) -> str:
    """How many points are outside of the domain, or no numbers, at the end of a run at ten times the rate."""
    low, high = function_of(function).domain
    points = ways_of_points(function, constants, batch_size, 10 * learning_rate, seed)[-1]
    inside = int(((points >= low) & (points <= high)).all(1).sum())
    return "none" if inside == batch_size else "all" if inside == 0 else "some"


def _why_so_long(truth: float) -> str:
    if truth < 1e-3:
        return "Near a minimum the gradient is small, so that the steps get smaller by themselves."
    if truth < 1e3:
        return "A point at a minimum has no gradient. Some are still on the way, or jump to and fro across a valley."
    return "The steps are too long: each lands higher up the other side, where the gradient is larger still."


def _why_they_leave(truth: str) -> str:
    if truth == "none":
        return "Each step is shorter than twice the way to the bottom of its valley, so no point gets higher."
    return "Where the function is steep a step goes further than to the other side, and each lands farther out than before."


QUESTIONS = (
    Question(
        "how steep",
        "How long is the gradient, as a mean over {batch_size} points, after 100 steps at learning rate {learning_rate:g}?",
        Number(1e-6, 1e6, "length of the gradient"),
        lengths_of_gradients,
        _why_so_long,
    ),
    Question(
        "ten times the rate",
        "{batch_size} points take 100 steps at ten times the learning rate. How many are outside of the domain then?",
        Choice(("none", "some", "all")),
        how_many_leave,
        _why_they_leave,
    ),
)
