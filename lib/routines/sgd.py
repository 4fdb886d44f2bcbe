"""Stochastic gradient descent, without momentum."""

from __future__ import annotations

from typing import TypeVar

import jax
from jaxtyping import ArrayLike, Float

Params = TypeVar("Params")


def sgd(params: Params, grads: Params, learning_rate: Float[ArrayLike, ""]) -> Params:
    """One step for any pytree of parameters; `grads` has the same structure and shapes."""
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
