"""Flax NNX: Python objects that hold their variables and change in place."""

from itertools import pairwise

import jax.numpy as jnp
from flax import nnx

from lib.lessons.state_libraries.common import DROPPED, MOMENTUM, SIZES, mean_loss
from lib.routines.sgd import sgd

jit = nnx.jit


class MLP(nnx.Module):
    def __init__(self, sizes, rngs):
        self.layers = nnx.List([nnx.Linear(m, n, rngs=rngs) for m, n in pairwise(sizes)])

    def __call__(self, inputs):
        for layer in self.layers[:-1]:
            inputs = jnp.tanh(layer(inputs))
        return self.layers[-1](inputs)


def make(params):
    model = MLP(SIZES, nnx.Rngs(0))
    for layer, plain in zip(model.layers, params, strict=True):
        layer.kernel[...], layer.bias[...] = plain["w"], plain["b"]
    return model


def loss_fn(model, batch):
    inputs, targets = batch
    return mean_loss(model(inputs), targets)


def train_step(model, batch, learning_rate):
    loss, grads = nnx.value_and_grad(loss_fn)(model, batch)
    params = nnx.state(model, nnx.Param)
    nnx.update(model, sgd(params, grads, learning_rate))  # in place
    return model, loss


def split(model):
    return nnx.split(model)  # the structure, which has no leaves, and the arrays


def merge(graphdef_and_state):
    return nnx.merge(*graphdef_and_state)


def weights(model):
    return [{"w": layer.kernel[...], "b": layer.bias[...]} for layer in model.layers]


def dropout(x, key):
    layer = nnx.Dropout(DROPPED, rngs=nnx.Rngs(key))  # it keeps the key, and counts its calls
    first, second = layer(x), layer(x)
    layer.eval()
    return first, second, layer(x)


def batch_norm(batches):
    layer = nnx.BatchNorm(batches.shape[-1], momentum=MOMENTUM, rngs=nnx.Rngs(0))
    means = []
    for x in batches:
        layer(x)  # changes `layer.mean` in place
        means.append(layer.mean[...])
    return means
