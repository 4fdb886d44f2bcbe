"""The phases of one gradient."""

from __future__ import annotations

import jax
import numpy as np

from lib.lessons.jit_grad.functions import Name, function_of
from lib.measure.timing import Rows, profile_rows


def gradient_phases(device: jax.Device, name: Name, point: tuple[float, ...], constants: tuple[float, ...]) -> Rows:
    """`jit(grad(f))` by phases, and `grad(f)` without `jit`."""
    args = jax.device_put((np.array(point, np.float32), tuple(np.float32(c) for c in constants)), device)
    yield from profile_rows(jax.grad(function_of(name).at), args, "jit(grad(f))", "grad(f)")
