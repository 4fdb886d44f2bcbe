"""Equinox: a model is a frozen dataclass, and a pytree; layers take one example."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from lib.lessons.state_libraries.common import DROPPED, LEARNING_RATE, MOMENTUM, unchanged
from lib.routines.sgd import sgd

# The start, as one would write it.


class MLP(eqx.Module):
    layers: list

    def __init__(self, key):
        k1, k2, k3 = jax.random.split(key, 3)
        self.layers = [
            eqx.nn.Linear(2, 16, key=k1),
            eqx.nn.Linear(16, 16, key=k2),
            eqx.nn.Linear(16, 1, key=k3),
        ]

    def __call__(self, x):  # one example
        for layer in self.layers[:-1]:
            x = jnp.tanh(layer(x))
        return self.layers[-1](x)


def loss_fn(model, x, y):
    logits = jax.vmap(model)(x)[:, 0]
    return optax.sigmoid_binary_cross_entropy(logits, y).mean()


optimizer = optax.adam(LEARNING_RATE)


@eqx.filter_jit
def train_step(model, opt_state, x, y):
    loss, grads = eqx.filter_value_and_grad(loss_fn)(model, x, y)
    params = eqx.filter(model, eqx.is_array)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    model = eqx.apply_updates(model, updates)
    return model, opt_state, loss


# Layers that have state.


def dropout(x, key):
    layer = eqx.nn.Dropout(DROPPED)
    first_key, second_key = jax.random.split(key)
    first, second = layer(x, key=first_key), layer(x, key=second_key)
    layer = eqx.nn.inference_mode(layer)  # another one: it cannot change
    return first, second, layer(x)


def batch_norm(batches, mode="ema"):  # its default
    make = eqx.nn.make_with_state(eqx.nn.BatchNorm)
    size, axes = batches.shape[-1], (0, None)  # of the batch, and of the state
    layer, state = make(size, "batch", momentum=MOMENTUM, mode=mode)
    over_examples = jax.vmap(layer, axes, axes, axis_name="batch")
    means = []
    for x in batches:
        _, state = over_examples(x, state)
        if mode == "ema":  # begins at the mean of the first batch
            mean, _ = state.get(layer.ema_state_index)
        else:  # divides by 1 - momentum**n to predict
            n = state.get(layer.batch_counter)
            mean = state.get(layer.batch_state_index)[0] / (1 - MOMENTUM**n)
        means.append(mean)
    return means


# What the run of the page needs: the same start, the same update, arrays in and arrays out.

jit = eqx.filter_jit
split = merge = unchanged


def make(params):
    model = MLP(jax.random.key(0))
    plain = [array for layer in params for array in (layer["w"].T, layer["b"])]  # (fan-out, fan-in) here
    return eqx.tree_at(lambda model: [a for layer in model.layers for a in (layer.weight, layer.bias)], model, plain)


def weights(model):
    return [{"w": layer.weight.T, "b": layer.bias} for layer in model.layers]


def sgd_step(model, batch, learning_rate):
    loss, grads = eqx.filter_value_and_grad(loss_fn)(model, *batch)
    return sgd(model, grads, learning_rate), loss
