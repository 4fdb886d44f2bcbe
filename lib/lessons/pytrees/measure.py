"""What an update of parameters costs, by the way in which it walks over them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from lib.lessons.pytrees import routine as pytrees
from lib.measure.timing import Rows, sweep
from lib.routines.networks import init_params

WAYS = (
    "loop, eager", "tree.map, eager", "vector, eager",
    "loop, jit", "tree.map, jit", "vector, jit", "to a vector and back, jit",
    "gradient of the batch, jit",
)  # fmt: skip
"""The last is no update: it is what an update is to be compared with."""


def updates(device: jax.Device, batch_size: int, layers: int) -> dict[str, Callable[[], Any]]:
    """Calls for `WAYS`, for a network of some number of layers (two leaves each)."""
    params = jax.device_put(init_params(pytrees.network(layers - 1), jax.random.key(0)), device)
    inputs = np.linspace(-1, 1, batch_size, dtype=np.float32)[:, None]
    inputs, targets = jax.device_put((inputs, np.sin(4 * inputs[:, 0])), device)
    gradient = jax.jit(jax.grad(pytrees.curve_loss))
    grads = gradient(params, inputs, targets)
    rate = jax.device_put(np.float32(0.01), device)
    vectors = ravel_pytree(params)[0], ravel_pytree(grads)[0]
    made = {
        "loop": (pytrees.update_in_a_loop, (params, grads)),
        "tree.map": (pytrees.sgd_update, (params, grads)),
        "vector": (pytrees.update_of_a_vector, vectors),
    }
    calls: dict[str, Callable[[], Any]] = {}
    for name, (fun, trees) in made.items():
        calls[f"{name}, eager"] = partial(fun, *trees, rate)
        calls[f"{name}, jit"] = partial(jax.jit(fun), *trees, rate)
    there_and_back = jax.jit(pytrees.update_through_a_vector)
    calls["to a vector and back, jit"] = partial(there_and_back, params, grads, rate)
    calls["gradient of the batch, jit"] = partial(gradient, params, inputs, targets)
    return {name: calls[name] for name in WAYS}


def update_sweep(device: jax.Device, batch_size: int, layers: int) -> Rows:
    """Each of `WAYS` at growing numbers of leaves, up to those of that many layers."""
    sizes = tuple(2**i for i in range(1, layers.bit_length() + 1) if 2**i <= 2 * layers)
    yield from sweep(lambda leaves: updates(device, batch_size, leaves // 2), sizes)
