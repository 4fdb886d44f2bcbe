"""What will this do? Answers are found by running it."""

from __future__ import annotations

import jax

from lib.lessons.training.routine import OPTIMIZERS, Training
from lib.measure.questions import Choice, Number, Question, losses
from lib.routines.datasets import Dataset
from lib.routines.networks import Network, init_params


def losses_at_ten_times_the_rate(
    data: Dataset, network: Network, optimizer: str, batch_size: int, learning_rate: float, seed: int
):
    """The loss of the batch before each of 100 steps, and of the one that would be next."""
    task = Training(network, data.classes, data.picture, optimizer, batch_size, data)
    return losses(task, seed, 10 * learning_rate)


def memory_of_the_optimizer(network: Network, optimizer: str) -> str:
    """How often the optimizer keeps something as large as the parameters."""
    params = jax.eval_shape(lambda key: init_params(network, key), jax.random.key(0))
    kept = jax.eval_shape(OPTIMIZERS[optimizer].init, params)
    numbers, kept_numbers = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (params, kept))
    return ("none", "as many", "twice as many", "three times as many")[kept_numbers // numbers]


def _why_this_loss(truth: float, optimizer: str) -> str:
    if truth < 0.2:
        return "The higher rate still converges here, only faster. Far above it the steps would leave the valley."
    if optimizer == "Adam":
        return "Adam divides by the size of past gradients: its steps are long, but do not grow as those of SGD do."
    return "Too long a step lands where the gradient is larger still, or where the units are saturated and it is 0."


QUESTIONS = (
    Question(
        "ten times the rate",
        "What is the loss of a batch after 100 steps from the start at ten times the learning rate, with {optimizer}?",
        Number(1e-4, 1e6, "loss"),
        losses_at_ten_times_the_rate,
        _why_this_loss,
    ),
    Question(
        "what is kept",
        "The network {network} has some number of parameters. How many numbers does {optimizer} keep beside them, from step "
        "to step?",
        Choice(("none", "as many", "twice as many", "three times as many")),
        memory_of_the_optimizer,
        "SGD needs the gradient alone. Momentum keeps a running sum of gradients, Adam a mean of them and of their squares.",
    ),
)
