"""Flax Linen: modules describe, variables are a dict of their own, `apply` brings them together."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from lib.lessons.state_libraries.common import DROPPED, MOMENTUM, SIZES, mean_loss, unchanged
from lib.routines.sgd import sgd

jit = jax.jit
split = merge = unchanged


class MLP(nn.Module):
    sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, inputs):
        for size in self.sizes[:-1]:
            inputs = jnp.tanh(nn.Dense(size)(inputs))
        return nn.Dense(self.sizes[-1])(inputs)


MODEL = MLP(SIZES[1:])


def make(params):
    layers = {f"Dense_{i}": {"kernel": plain["w"], "bias": plain["b"]} for i, plain in enumerate(params)}
    return {"params": layers}


def loss_fn(variables, batch):
    inputs, targets = batch
    return mean_loss(MODEL.apply(variables, inputs), targets)


def train_step(variables, batch, learning_rate):
    loss, grads = jax.value_and_grad(loss_fn)(variables, batch)
    return sgd(variables, grads, learning_rate), loss


def weights(variables):
    layers = variables["params"]
    return [{"w": layers[f"Dense_{i}"]["kernel"], "b": layers[f"Dense_{i}"]["bias"]} for i in range(len(layers))]


def dropout(x, key):
    layer = nn.Dropout(DROPPED)
    first_key, second_key = jax.random.split(key)
    first = layer.apply({}, x, deterministic=False, rngs={"dropout": first_key})
    second = layer.apply({}, x, deterministic=False, rngs={"dropout": second_key})
    return first, second, layer.apply({}, x, deterministic=True)


def batch_norm(batches):
    layer = nn.BatchNorm(use_running_average=False, momentum=MOMENTUM)
    variables = layer.init(jax.random.key(0), batches[0])
    means = []
    for x in batches:
        _, changed = layer.apply(variables, x, mutable=["batch_stats"])
        variables = {**variables, **changed}
        means.append(variables["batch_stats"]["mean"])
    return means
