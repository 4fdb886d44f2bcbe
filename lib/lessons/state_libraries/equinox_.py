"""Equinox: a model is a frozen dataclass, and a pytree; layers take one example."""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp

from lib.lessons.state_libraries.common import DROPPED, MOMENTUM, SIZES, mean_loss, unchanged
from lib.routines.sgd import sgd

jit = eqx.filter_jit
split = merge = unchanged


class MLP(eqx.Module):
    layers: list[eqx.nn.Linear]

    def __init__(self, sizes, key):
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = [eqx.nn.Linear(m, n, key=key) for (m, n), key in zip(pairwise(sizes), keys, strict=True)]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jnp.tanh(layer(x))
        return self.layers[-1](x)


def make(params):
    model = MLP(SIZES, jax.random.key(0))
    plain = [array for layer in params for array in (layer["w"].T, layer["b"])]  # (fan-out, fan-in) here
    return eqx.tree_at(lambda model: [a for layer in model.layers for a in (layer.weight, layer.bias)], model, plain)


def loss_fn(model, batch):
    inputs, targets = batch
    return mean_loss(jax.vmap(model)(inputs), targets)


def train_step(model, batch, learning_rate):
    loss, grads = eqx.filter_value_and_grad(loss_fn)(model, batch)
    return sgd(model, grads, learning_rate), loss


def weights(model):
    return [{"w": layer.weight.T, "b": layer.bias} for layer in model.layers]


def dropout(x, key):
    layer = eqx.nn.Dropout(DROPPED)
    first_key, second_key = jax.random.split(key)
    at_test = eqx.nn.inference_mode(layer)  # another layer: this one cannot change
    return layer(x, key=first_key), layer(x, key=second_key), at_test(x)


def batch_norm(batches):
    size = batches.shape[-1]
    layer, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(size, "batch", momentum=MOMENTUM, mode="batch")
    over_examples = jax.vmap(layer, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    means = []
    for x in batches:
        _, state = over_examples(x, state)
        count, (mean, _) = state.get(layer.batch_counter), state.get(layer.batch_state_index)
        means.append(mean / (1 - MOMENTUM**count))  # as the layer does when it is asked to predict
    return means
