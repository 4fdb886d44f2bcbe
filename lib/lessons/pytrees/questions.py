"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax
import numpy as np

from lib.lessons.pytrees.measure import updates
from lib.lessons.pytrees.random_keys import Dropout
from lib.lessons.pytrees.routine import curve_loss, start_params
from lib.measure.questions import Choice, Number, Order, Question, losses
from lib.measure.timing import Rows, compare

WAYS = ("tree.map, eager", "tree.map, jit", "gradient of the batch, jit")


def losses_with_one_key(batch_size: int, learning_rate: float, seed: int):
    """The loss of all units after each step of dropout with the same key."""
    return losses(Dropout(batch_size), seed, learning_rate, 300, "the same key")


def leaves_of_the_gradient(depth: int) -> str:
    """Traced, not computed."""
    inputs = np.zeros((1, 1), np.float32)
    grads = jax.eval_shape(jax.grad(curve_loss), start_params(0, depth), inputs, inputs[:, 0])
    return str(len(jax.tree.leaves(grads)))


def costs_of_an_update(device: jax.Device, batch_size: int, depth: int) -> Rows:
    """The update of the parameters in two ways, and the gradient that it needs, in turns."""
    made = updates(device, batch_size, depth + 1)
    yield from compare({way: made[way] for way in WAYS}, budget_s=0.6)


QUESTIONS = (
    Question(
        "one key for all steps",
        "Dropout of half of the units, with the *same* key at each of 300 steps: what is the loss, all units on, at the end?",
        Number(1e-4, 1e4, "mean squared error"),
        losses_with_one_key,
        "The same key gives the same mask, so half of the units never learn, and then they are switched on: see **One key**.",
    ),
    Question(
        "how many leaves",
        "The network has {depth} hidden layers. How many leaves has its gradient?",
        Choice(("1", "2", "4", "6", "8", "10")),
        leaves_of_the_gradient,
        "Each layer, the last one too, has the leaves `w` and `b`, and `grad` returns a tree of the same structure.",
    ),
    Question(
        "which is fastest",
        "The update of all parameters by `jax.tree.map`, eager or under `jit`, and the gradient of {batch_size} examples: "
        "which is fastest?",
        Order(WAYS),
        costs_of_an_update,
        "Eager, each leaf takes two dispatches. Under `jit` the tree is gone, and one program does it all.",
    ),
)
