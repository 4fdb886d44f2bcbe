"""What all libraries are given alike: the sizes of the network and the loss."""

from __future__ import annotations

from typing import Any, TypeVar

import optax
from jaxtyping import Array, Float

from lib.routines.networks import Network

NETWORK = Network(features=2, outputs=1, depth=2, width=16, activation="tanh")
SIZES = NETWORK.sizes
DROPPED = 0.5
"""The rate of the dropout layers."""
MOMENTUM = 0.9
"""How much of its running mean a batch norm keeps at each batch."""

Params = list[dict[str, Any]]
"""The plain pytree: a dict of `w`, shape (fan-in, fan-out), and `b` for each layer."""
Model = TypeVar("Model")


def mean_loss(logits: Float[Array, "batch 1"], targets: Float[Array, " batch"]) -> Float[Array, ""]:
    """Binary cross-entropy in nats, the mean of a batch."""
    return optax.sigmoid_binary_cross_entropy(logits[:, 0], targets).mean()


def unchanged(model: Model) -> Model:
    """The way from a model to a pytree of arrays, and back, where the model is one."""
    return model
