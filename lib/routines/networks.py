"""A fully connected network as a plain pytree. Layers take one example; `vmap` adds the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

AnyArray = Array | np.ndarray

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
}

INITIALISATIONS: dict[str, str] = {
    "scaled": "normal weights of variance 2 / fan-in for ReLU and 1 / fan-in otherwise, biases 0",
    "zeros": "every weight and bias 0: all units of a layer stay the same for ever",
    "negative biases": "scaled weights, hidden biases -5: a ReLU that is off for every example stays off",
    "large": "weights ten times as large: saturated units, gradients near 0",
}


@dataclass(frozen=True)
class Network:
    """The shape of a network: `features -> width -> ... -> width -> outputs`, `depth` hidden layers."""

    features: int
    outputs: int
    depth: int = 2
    width: int = 8
    activation: str = "tanh"
    initialisation: str = "scaled"

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.features, *[self.width] * self.depth, self.outputs)

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes)) + f" {self.activation}"


Params = list[dict[str, Any]]


def init_params(network: Network, key: Key[Array, ""]) -> Params:
    """One dict of weights `w`, shape (fan-in, fan-out), and biases `b` a layer."""
    params = []
    keys = jax.random.split(key, len(network.sizes) - 1)
    gain = 2.0 if network.activation in ("relu", "gelu") else 1.0
    scale = {"zeros": 0.0, "large": 10.0}.get(network.initialisation, 1.0)
    hidden_bias = -5.0 if network.initialisation == "negative biases" else 0.0
    for subkey, fan_in, fan_out in zip(keys, network.sizes[:-1], network.sizes[1:], strict=True):
        w = scale * jnp.sqrt(gain / fan_in) * jax.random.normal(subkey, (fan_in, fan_out))
        params.append({"w": w, "b": jnp.full(fan_out, hidden_bias, jnp.float32)})
    params[-1]["b"] = jnp.zeros(network.outputs)
    return params


def forward(params: Params, x: Float[AnyArray, " features"], activation: str) -> Float[Array, " outputs"]:
    """One example through the network. No activation after the last layer."""
    for layer in params[:-1]:
        x = ACTIVATIONS[activation](x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


batched_forward = jax.vmap(forward, in_axes=(None, 0, None))
"""float32[batch, features] -> float32[batch, outputs]"""


def example_loss(
    preds: Float[AnyArray, " outputs"], target: AnyArray | np.float32, classes: int
) -> AnyArray | np.float32:
    """The loss of one example, in nats for classes.

    0 classes: squared error. 2: binary cross-entropy of one logit. More: cross-entropy of the softmax.
    """
    if classes == 0:
        return (preds[0] - target) ** 2
    if classes == 2:
        return optax.sigmoid_binary_cross_entropy(preds[0], target)
    return optax.softmax_cross_entropy_with_integer_labels(preds, target.astype(jnp.int32))


def predicted_class(preds: Float[AnyArray, " outputs"], classes: int) -> Array:
    """The likeliest class."""
    return (preds[0] > 0).astype(jnp.int32) if classes == 2 else jnp.argmax(preds)
