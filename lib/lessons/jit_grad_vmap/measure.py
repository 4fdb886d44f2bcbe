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
    """Ways to the gradient of the mean loss of a batch."""
    inputs, targets = (a[:batch_size] for a in linear_regression.regression_data(seed))
    args = jax.device_put((np.zeros(linear_regression.FEATURES, np.float32), inputs, targets), device)
    calls: dict[str, Callable[[], Any]] = {
        "grad(mean(vmap(loss))), eager": partial(linear_regression.grad_of_mean, *args)
    }
    for label, (way, whole) in linear_regression.WAYS.items():
        name = (
            f"jit of the {label}"
            if label == "closed form"
            else f"jit({label})"
            if whole
            else "loop over jit(grad(loss))"
        )
        calls[name] = partial(jax.jit(way) if whole else way, *args)
    yield from compare(calls)
