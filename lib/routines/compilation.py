"""Routines whose way through the compiler is looked at: each function here gives one, and arguments for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lib.routines import batching, linear_regression
from lib.routines.functions import Name, function_of
from lib.routines.networks import init_params
from lib.routines.training import OPTIMIZERS, Training, train_step

Made = tuple[Callable[..., Any], tuple]
"""A function that is not jitted yet, and arrays to call it with."""


def gradient(name: Name) -> Made:
    """`grad(f)` of a function of `functions.FUNCTIONS`, at the point where its page starts."""
    function = function_of(name)
    constants = tuple(np.float32(c) for c in function.constants.values())
    return jax.grad(function.at), (np.array(function.point, np.float32), constants)


def batched(name: batching.Name, batch_size: int) -> Made:
    """`vmap(f)` of a function of `batching.FUNCTIONS`."""
    function = batching.function_of(name)
    args = batching.arguments(name, function.in_axes, batch_size)
    return jax.vmap(function.fun, in_axes=function.in_axes), args


def batch_gradient(batch_size: int) -> Made:
    """`grad(vmap(loss))` of the linear model."""
    inputs, targets = linear_regression.regression_data(0)
    rows = np.arange(batch_size) % linear_regression.EXAMPLES
    w = np.zeros(linear_regression.FEATURES, np.float32)
    return linear_regression.grad_of_batch_loss, (w, inputs[rows], targets[rows])


def training_step(task: Training) -> Made:
    """One step of training a network, on a batch of zeros."""
    params = init_params(task.network, jax.random.key(0))
    opt_state = OPTIMIZERS[task.optimizer].init(params)
    batch = jnp.zeros((task.batch_size, task.network.features)), jnp.zeros(task.batch_size)
    step = partial(
        train_step,
        optimizer=OPTIMIZERS[task.optimizer],
        activation=task.network.activation,
        classes=task.classes,
    )
    return step, (params, opt_state, batch, jnp.float32(0.01))
