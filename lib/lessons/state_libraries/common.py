"""What all libraries are given alike: the sizes of the network, its dropout and its batch norm."""

from __future__ import annotations

from typing import Any, TypeVar

from lib.routines.networks import Network

NETWORK = Network(features=2, outputs=1, depth=2, width=16, activation="tanh")
LEARNING_RATE = 0.03
"""Of the optimizers that the modules make when they are imported. A snippet has the learning rate of the page."""
DROPPED = 0.5
"""The rate of the dropout layers."""
MOMENTUM = 0.9
"""How much of its running mean a batch norm keeps at each batch."""

Params = list[dict[str, Any]]
"""The plain pytree: a dict of `w`, shape (fan-in, fan-out), and `b` for each layer."""
Model = TypeVar("Model")


def unchanged(model: Model) -> Model:
    """The way from a model to a pytree of arrays, and back, where the model is one."""
    return model
