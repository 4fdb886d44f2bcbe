"""Ways to the gradient of a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from lib.lessons.jit_grad_vmap import routine as linear_regression
from lib.measure.timing import Rows, compare


def gradient_ways(device: jax.Device, batch_size: int, seed: int) -> Rows:
    """Four ways to the gradient of the summed loss of a batch."""
    inputs, targets = (a[:batch_size] for a in linear_regression.regression_data(seed))
    args = jax.device_put((np.zeros(linear_regression.FEATURES, np.float32), inputs, targets), device)
    calls: dict[str, Callable[[], Any]] = {
        "eager: grad of the batch loss": partial(linear_regression.grad_of_batch_loss, *args)
    }
    for label, (way, whole) in linear_regression.WAYS.items():
        name = f"jit: {label}" if whole else f"{label} of jitted gradients"
        calls[name] = partial(jax.jit(way) if whole else way, *args)
    yield from compare(calls)
