"""No library: parameters are a plain pytree, and every function takes and returns what changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lib.lessons.state_libraries.common import DROPPED, LEARNING_RATE, MOMENTUM, unchanged
from lib.routines.sgd import sgd

# The start, as one would write it.


def init_params(sizes, key):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (m, n)) / jnp.sqrt(m), "b": jnp.zeros(n)}
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def predict(params, x):  # one example
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss_fn(params, x, y):
    logits = jax.vmap(predict, in_axes=(None, 0))(params, x)[:, 0]
    return optax.sigmoid_binary_cross_entropy(logits, y).mean()


optimizer = optax.adam(LEARNING_RATE)


@jax.jit
def train_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = optimizer.update(grads, opt_state)
    params = optax.apply_updates(params, updates)
    return params, opt_state, loss


# Layers that have state.


def dropout(x, key):
    def layer(x, key, rate):
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), 0)

    first_key, second_key = jax.random.split(key)
    first = layer(x, first_key, DROPPED)
    second = layer(x, second_key, DROPPED)
    return first, second, x  # as it is, to predict


def batch_norm(batches):
    def layer(x, running):
        running = MOMENTUM * running + (1 - MOMENTUM) * x.mean(0)
        return (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5), running

    running, means = jnp.zeros(batches.shape[-1]), []
    for x in batches:
        _, running = layer(x, running)  # an argument and a result
        means.append(running)
    return means


# What the run of the page needs: the same start, the same update, arrays in and arrays out.

jit = jax.jit
split = merge = unchanged


def make(params):
    return params


def weights(params):
    return params


def sgd_step(params, batch, learning_rate):
    loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
    return sgd(params, grads, learning_rate), loss
