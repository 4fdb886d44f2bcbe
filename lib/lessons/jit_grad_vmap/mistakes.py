"""Typical mistakes with jit(grad(mean(vmap(loss)))), each beside what it should have been."""

from __future__ import annotations

import jax
import numpy as np

from lib.routines.mistakes import Mistake


def _example_loss(w, x, y):
    return (w @ x - y) ** 2


_W = np.zeros(5, np.float32)
_X = np.ones((3, 5), np.float32)
_Y = np.arange(3, dtype=np.float32)


def no_reduction():
    losses = jax.vmap(_example_loss, in_axes=(None, 0, 0))
    return jax.grad(losses)(_W, _X, _Y)


def reduced_to_a_scalar():
    losses = jax.vmap(_example_loss, in_axes=(None, 0, 0))
    return jax.grad(lambda w, x, y: losses(w, x, y).mean())(_W, _X, _Y)


def weights_mapped_too():
    losses = jax.vmap(_example_loss, in_axes=(0, 0, 0))
    return jax.grad(lambda w, x, y: losses(w, x, y).mean())(_W, _X, _Y)


def weights_shared():
    losses = jax.vmap(_example_loss, in_axes=(None, 0, 0))
    return jax.grad(lambda w, x, y: losses(w, x, y).mean())(_W, _X, _Y)


def gradient_of_the_targets():
    def loss(w, x, y):
        return jax.vmap(_example_loss, in_axes=(None, 0, 0))(w, x, y).mean()

    return jax.grad(loss, argnums=2)(_W, _X, _Y)


def gradient_of_the_weights():
    def loss(w, x, y):
        return jax.vmap(_example_loss, in_axes=(None, 0, 0))(w, x, y).mean()

    return jax.grad(loss, argnums=0)(_W, _X, _Y)


MISTAKES: dict[str, Mistake] = {
    "no reduction before grad": Mistake(
        no_reduction, reduced_to_a_scalar, TypeError,
        "`vmap` gives one loss for each example, and `grad` wants one number. Take the mean or the sum "
        "of the losses inside the function that is differentiated.",
    ),
    "in_axes maps the weights too": Mistake(
        weights_mapped_too, weights_shared, ValueError,
        "With 0 for `w`, `vmap` cuts the five weights into five scalars, one for each example, and there are "
        "three examples. Every example shares the weights: `in_axes=(None, 0, 0)`.",
    ),
    "grad with respect to the wrong argument": Mistake(
        gradient_of_the_targets, gradient_of_the_weights, None,
        "No error, but the wrong thing: `argnums` counts the arguments from 0, and 2 is the targets. The shape "
        "gives it away: three numbers, one a target, not five, one a weight.",
    ),
}  # fmt: skip
