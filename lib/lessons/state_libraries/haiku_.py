"""Haiku: a function that makes its modules as it goes, transformed into a pure pair of `init` and `apply`."""

import haiku as hk
import jax
import jax.numpy as jnp

from lib.lessons.state_libraries.common import DROPPED, MOMENTUM, SIZES, mean_loss, unchanged
from lib.routines.sgd import sgd

jit = jax.jit
split = merge = unchanged
NAMES = ["linear", "linear_1", "linear_2"]


@hk.without_apply_rng
@hk.transform
def forward(inputs):
    for size in SIZES[1:-1]:
        inputs = jnp.tanh(hk.Linear(size)(inputs))
    return hk.Linear(SIZES[-1])(inputs)


def make(params):
    return {name: {"w": plain["w"], "b": plain["b"]} for name, plain in zip(NAMES, params, strict=True)}


def loss_fn(params, batch):
    inputs, targets = batch
    return mean_loss(forward.apply(params, inputs), targets)


def train_step(params, batch, learning_rate):
    loss, grads = jax.value_and_grad(loss_fn)(params, batch)
    return sgd(params, grads, learning_rate), loss


def weights(params):
    return [params[name] for name in NAMES]


def dropout(x, key):
    def forward(x, rate):
        return hk.dropout(hk.next_rng_key(), rate, x)

    apply = hk.transform(forward).apply
    first_key, second_key = jax.random.split(key)
    return apply({}, first_key, x, DROPPED), apply({}, second_key, x, DROPPED), apply({}, key, x, 0.0)


def batch_norm(batches):
    def forward(x):
        return hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=MOMENTUM)(x, is_training=True)

    layer = hk.without_apply_rng(hk.transform_with_state(forward))
    params, state = layer.init(jax.random.key(0), batches[0])
    means = []
    for x in batches:
        _, state = layer.apply(params, state, x)
        means.append(state["batch_norm/~/mean_ema"]["average"][0])
    return means
