"""The phases of one gradient."""

from __future__ import annotations

import jax
import numpy as np

from lib.lessons.jit_grad.functions import Name, called, function_of
from lib.measure.timing import Rows, profile_rows


def gradient_phases(device: jax.Device, name: Name, point: tuple[float, ...], constants: tuple[float, ...]) -> Rows:
    """`jit(grad(f))` by phases, and `grad(f)` without `jit`."""
    function = function_of(name)
    args = jax.device_put(tuple(np.float32(x) for x in (*point, *constants)), device)
    yield from profile_rows(
        jax.grad(function.fun, argnums=function.argnums), args, f"jit(grad({called(name)}))", f"grad({called(name)})"
    )
