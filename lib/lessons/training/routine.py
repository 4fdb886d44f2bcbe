"""The training loop that combines them all: `vmap` over the batch, `grad` of the loss, `jit` of the step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from lib.lessons.training.seen import units_seen, weights_seen
from lib.routines.datasets import PASSES, Dataset, File, digest_of, draw, read_csv, shuffled, split_table
from lib.routines.networks import (
    Network,
    batched_forward,
    example_loss,
    init_params,
    predicted_class,
)
from lib.routines.problem import Made, Metrics, Observed, TrainState, new_state
from lib.routines.specialise import written_as

OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "SGD": optax.identity(),
    "momentum": optax.trace(decay=0.9),
    "Adam": optax.scale_by_adam(),
}
"""Directions only: the learning rate is multiplied in the step, where it is an argument that is traced."""

DIGITS_SHOWN = 24
SCATTERED = 200
"""Test examples in the picture of predictions against targets."""


def loss_fn(params, batch, activation: str, classes: int) -> Float[Array, ""]:
    """Mean loss of a batch `(inputs, targets)`."""
    inputs, targets = batch
    preds = batched_forward(params, inputs, activation)
    return jax.vmap(example_loss, in_axes=(0, 0, None))(preds, targets, classes).mean()


def train_step(params, opt_state, batch, learning_rate, optimizer, activation: str, classes: int):
    """Steps by the optimizer's direction for the gradients times the learning rate."""
    loss, grads = jax.value_and_grad(loss_fn)(params, batch, activation, classes)
    directions, opt_state = optimizer.update(grads, opt_state, params)
    updates = jax.tree.map(lambda d: -learning_rate * d, directions)
    return optax.apply_updates(params, updates), opt_state, loss


@dataclass(frozen=True)
class Training:
    """Trains a network on a dataset.

    Attributes:
        classes: 0 for regression.
        picture: what `observe` computes: `surface`, `curve`, `digits`, `scatter` or `classes`.
        dataset: None for a training that is compiled and not run.
    """

    network: Network
    classes: int
    picture: str
    optimizer: str
    batch_size: int
    dataset: Dataset | None = field(default=None, compare=False, repr=False)

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0, dataset=None)

    def examples(self, seed: int) -> dict[str, Any]:
        """What to train on, from where it comes, and in which order."""
        origin = self.dataset.origin if self.dataset is not None else None
        if isinstance(origin, File):
            train, _, about = split_table(read_csv(Path(origin.name).read_bytes()), origin.target, seed)
            return {"train": train, "order": shuffled(len(train[0]), about["digest"])}
        if origin is None:
            raise ValueError("This dataset comes from nowhere else, and cannot be made anew; load it by its name.")
        train, _ = draw(origin.name, seed, origin.examples)
        return {"train": train, "order": shuffled(len(train[0]), digest_of(origin.name, seed, origin.examples))}

    @written_as(examples)
    def data(self, seed: int) -> dict[str, Any]:
        """The arrays of the dataset. The seed has drawn its noise and its split already."""
        if self.dataset is None:
            raise ValueError("A training needs data to run on, and `dataset` is None; give a `Dataset`.")
        return self.dataset.arrays

    def init(self, key: Key[Array, ""], data: dict[str, Any]) -> TrainState:
        params_key, key = jax.random.split(key)
        params = init_params(self.network, params_key)
        return new_state(params, key, OPTIMIZERS[self.optimizer].init(params))

    def step(
        self, state: TrainState, data: dict[str, Any], learning_rate: Float[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        inputs, targets = data["train"]
        # The order comes shuffled: shuffling inside the loop halves the speed.
        passes = PASSES * inputs.shape[0]
        start = (state.step * self.batch_size) % passes
        rows = jax.lax.dynamic_slice_in_dim(data["order"], start, self.batch_size)
        params, opt_state, loss = train_step(
            state.params, state.opt_state, (inputs[rows], targets[rows]), learning_rate,
            OPTIMIZERS[self.optimizer], self.network.activation, self.classes,
        )  # fmt: skip
        return TrainState(params, opt_state, state.key, state.step + 1), {"loss": loss}

    def observe(self, state: TrainState, data: dict[str, Any]) -> Observed:
        activation, classes = self.network.activation, self.classes

        def preds(inputs):
            return batched_forward(state.params, inputs, activation)

        def labels(inputs):
            return jax.vmap(predicted_class, in_axes=(0, None))(preds(inputs), classes)

        metrics = {"test_loss": loss_fn(state.params, data["test"], activation, classes)}
        test_inputs, test_targets = data["test"]
        if classes:
            metrics["test_accuracy"] = (labels(test_inputs) == test_targets).mean()
            metrics["train_accuracy"] = (labels(data["train"][0]) == data["train"][1]).mean()
        if self.picture == "surface":
            grid = preds(data["grid"])
            shown = {
                "grid": jax.nn.sigmoid(grid[:, 0]) if classes == 2 else jnp.argmax(grid, axis=1),
                "units": units_seen(state.params, data["grid"], activation),
                "weights": weights_seen(state.params),
            }
        elif self.picture == "curve":
            shown = {"curve": preds(data["grid"])[:, 0]}
        elif self.picture == "digits":
            shown = {"labels": labels(test_inputs[:DIGITS_SHOWN])}
        elif self.picture == "scatter":
            shown = {"preds": preds(test_inputs[:SCATTERED])[:, 0]}
        else:
            counts = jnp.zeros((classes, classes), jnp.int32)
            shown = {"counts": counts.at[test_targets.astype(jnp.int32), labels(test_inputs)].add(1)}
        return Observed(metrics, shown)


def training_step(task: Training) -> Made:
    """One step of training a network, on normal inputs whose targets are 0."""
    params_key, inputs_key = jax.random.split(jax.random.key(0))
    params = init_params(task.network, params_key)
    opt_state = OPTIMIZERS[task.optimizer].init(params)
    inputs = jax.random.normal(inputs_key, (task.batch_size, task.network.features))
    step = partial(
        train_step,
        optimizer=OPTIMIZERS[task.optimizer],
        activation=task.network.activation,
        classes=task.classes,
    )
    return step, (params, opt_state, (inputs, jnp.zeros(task.batch_size)), jnp.float32(0.01))
