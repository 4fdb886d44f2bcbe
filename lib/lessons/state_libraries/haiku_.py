"""Haiku: a function that makes its modules as it goes, transformed into a pure pair of `init` and `apply`."""

import haiku as hk
import jax
import jax.numpy as jnp
import optax

from lib.lessons.state_libraries.common import DROPPED, LEARNING_RATE, MOMENTUM, unchanged
from lib.routines.sgd import sgd

# The start, as one would write it.


def forward(x):
    return hk.nets.MLP([16, 16, 1], activation=jnp.tanh)(x)


network = hk.without_apply_rng(hk.transform(forward))


def loss_fn(params, x, y):
    logits = network.apply(params, x)[:, 0]
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
    def forward(x, rate):
        return hk.dropout(hk.next_rng_key(), rate, x)

    apply = hk.transform(forward).apply
    k1, k2 = jax.random.split(key)
    first, second = apply({}, k1, x, DROPPED), apply({}, k2, x, DROPPED)
    return first, second, apply({}, key, x, 0.0)


def batch_norm(batches):
    def forward(x):
        layer = hk.BatchNorm(True, True, decay_rate=MOMENTUM)
        return layer(x, is_training=True)

    layer = hk.without_apply_rng(hk.transform_with_state(forward))
    params, state = layer.init(jax.random.key(0), batches[0])
    means = []
    for x in batches:
        _, state = layer.apply(params, state, x)
        means.append(state["batch_norm/~/mean_ema"]["average"][0])
    return means


# What the run of the page needs: the same start, the same update, arrays in and arrays out.

jit = jax.jit
split = merge = unchanged


def make(params):
    return {f"mlp/~/linear_{i}": {"w": plain["w"], "b": plain["b"]} for i, plain in enumerate(params)}


def weights(params):
    return [params[f"mlp/~/linear_{i}"] for i in range(len(params))]


def sgd_step(params, batch, learning_rate):
    loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
    return sgd(params, grads, learning_rate), loss
