"""Flax Linen: modules describe, variables are a dict of their own, `apply` brings them together."""

import jax
import optax
from flax import linen as nn

from lib.lessons.state_libraries.common import DROPPED, MOMENTUM, unchanged
from lib.routines.sgd import sgd

# The start, as one would write it.


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(16)(x))
        x = nn.tanh(nn.Dense(16)(x))
        return nn.Dense(1)(x)


model = MLP()


def loss_fn(params, x, y):
    logits = model.apply({"params": params}, x)[:, 0]
    return optax.sigmoid_binary_cross_entropy(logits, y).mean()


@jax.jit
def train_step(state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(state.params, x, y)
    return state.apply_gradients(grads=grads), loss


# Layers that have state.


def dropout(x, key):
    layer = nn.Dropout(DROPPED)
    k1, k2 = jax.random.split(key)
    first = layer.apply({}, x, deterministic=False, rngs={"dropout": k1})
    second = layer.apply({}, x, deterministic=False, rngs={"dropout": k2})
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


# What the run of the page needs: the same start, the same update, arrays in and arrays out.

jit = jax.jit
split = merge = unchanged


def make(params):
    return {f"Dense_{i}": {"kernel": plain["w"], "bias": plain["b"]} for i, plain in enumerate(params)}


def weights(params):
    return [{"w": params[f"Dense_{i}"]["kernel"], "b": params[f"Dense_{i}"]["bias"]} for i in range(len(params))]


def sgd_step(params, batch, learning_rate):
    loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
    return sgd(params, grads, learning_rate), loss
