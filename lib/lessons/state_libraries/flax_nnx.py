"""Flax NNX: Python objects that hold their variables and change in place."""

import optax
from flax import nnx

from lib.lessons.state_libraries.common import DROPPED, MOMENTUM
from lib.routines.sgd import sgd

# The start, as one would write it.


class MLP(nnx.Module):
    def __init__(self, rngs):
        self.linear1 = nnx.Linear(2, 16, rngs=rngs)
        self.linear2 = nnx.Linear(16, 16, rngs=rngs)
        self.linear3 = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x):
        x = nnx.tanh(self.linear1(x))
        x = nnx.tanh(self.linear2(x))
        return self.linear3(x)


def loss_fn(model, x, y):
    logits = model(x)[:, 0]
    return optax.sigmoid_binary_cross_entropy(logits, y).mean()


@nnx.jit
def train_step(model, optimizer, x, y):
    loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
    optimizer.update(model, grads)  # changes both in place
    return loss


# Layers that have state.


def dropout(x, key):
    layer = nnx.Dropout(DROPPED, rngs=nnx.Rngs(key))
    first, second = layer(x), layer(x)  # its `rngs` count the calls
    layer.eval()
    return first, second, layer(x)


def batch_norm(batches):
    size, means = batches.shape[-1], []
    layer = nnx.BatchNorm(size, momentum=MOMENTUM, rngs=nnx.Rngs(0))
    for x in batches:
        layer(x)  # changes `layer.mean` in place
        means.append(layer.mean[...])
    return means


# What the run of the page needs: the same start, the same update, arrays in and arrays out.

jit = nnx.jit


def layers_of(model):
    return [model.linear1, model.linear2, model.linear3]


def make(params):
    model = MLP(nnx.Rngs(0))
    for layer, plain in zip(layers_of(model), params, strict=True):
        layer.kernel[...], layer.bias[...] = plain["w"], plain["b"]
    return model


def split(model):
    return nnx.split(model)  # the structure, which has no leaves, and the arrays


def merge(graphdef_and_state):
    return nnx.merge(*graphdef_and_state)


def weights(model):
    return [{"w": layer.kernel[...], "b": layer.bias[...]} for layer in layers_of(model)]


def sgd_step(model, batch, learning_rate):
    loss, grads = nnx.value_and_grad(loss_fn)(model, *batch)
    params = nnx.state(model, nnx.Param)
    nnx.update(model, sgd(params, grads, learning_rate))  # in place
    return model, loss
