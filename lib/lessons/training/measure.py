"""The phases of one training step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lib.measure.timing import Rows, profile_rows


def train_step_phases(device: jax.Device, problem: Any, seed: int) -> Rows:
    """One step of a problem by phases."""
    data = jax.device_put(problem.data(seed), device)
    state = jax.device_put(jax.jit(problem.init)(jax.random.key(seed), data), device)
    args = (state, data, jax.device_put(jnp.float32(0.01), device))
    yield from profile_rows(problem.step, args, "jit(step)", "step")
