"""What gradients cost in memory and in time, by what is kept for the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from lib.lessons.custom_gradients import fixed_points
from lib.measure.stages import compile_in_stages
from lib.measure.timing import interleaved

ITERATIONS = (8, 32, 128, 512)
DEPTHS = (2, 8, 32)

Rows = Iterator[dict[str, Any]]


def _records(size: int, made: dict[str, Callable[..., Any]], args: tuple) -> Rows:
    """For each function its memory, by the compiler's plan, and its time, in turns with the others.

    Yields:
        `size`, `variant`, `size_bytes` of temporary memory, `median_ms`, `low_ms`, `high_ms`.
    """
    calls: dict[str, Callable[[], Any]] = {}
    sizes = {}
    for name, fun in made.items():
        jitted = jax.jit(fun)
        compiled, _ = compile_in_stages(jitted, *args)
        memory = compiled.memory_analysis()
        sizes[name] = memory.temp_size_in_bytes if memory else 0  # a backend may keep its plan to itself
        calls[name] = partial(jitted, *args)
        jax.block_until_ready(calls[name]())
    for name, timing in interleaved(calls, budget_s=0.3).items():
        yield {
            "size": size, "variant": name, "size_bytes": sizes[name], "median_ms": 1e3 * timing.median,
            "low_ms": 1e3 * timing.low, "high_ms": 1e3 * timing.high,
        }  # fmt: skip


def fixed_point_sweep(device: jax.Device, batch_size: int, iterations: tuple[int, ...] = ITERATIONS) -> Rows:
    """The derivative of a fixed point, unrolled and implicit, for more and more iterations."""
    times = np.linspace(0.05, 3.0, batch_size, dtype=np.float32)
    args = jax.device_put((np.float32(fixed_points.SLOW), times), device)
    for count in iterations:
        yield from _records(count, fixed_points.orbit_gradients(count), args)


def checkpoint_sweep(device: jax.Device, batch_size: int, depths: tuple[int, ...] = DEPTHS) -> Rows:
    """The gradient of a deep network with each of `fixed_points.BLOCKS`, for more and more layers."""
    x = np.random.default_rng(0).normal(size=(batch_size, fixed_points.WIDTH)).astype(np.float32)
    for depth in depths:
        args = jax.device_put((fixed_points.deep_weights(depth), x), device)
        yield from _records(depth, fixed_points.deep_gradients(), args)
