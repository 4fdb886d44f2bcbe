"""What gradients cost in memory and in time, by what is kept for the way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from lib.lessons.custom_gradients import fixed_points
from lib.lessons.custom_gradients.routine import PAIRS, VERSIONS
from lib.measure.stages import compile_in_stages
from lib.measure.timing import PAUSE, Rows, compare, sweep

ITERATIONS = (8, 32, 128, 512)
DEPTHS = (2, 8, 32)


def pair_gradients(device: jax.Device, name: str, batch_size: int) -> Rows:
    """The compiled gradients of both functions of a pair, at points of its domain, in turns."""
    pair = PAIRS[name]
    x = jax.device_put(np.linspace(*pair.domain, batch_size, dtype=np.float32), device)
    yield from compare({
        f"{version}: jit(vmap(grad({fun.__name__})))": partial(jax.jit(jax.vmap(jax.grad(fun))), x)
        for version, fun in zip(VERSIONS, (pair.naive, pair.mended), strict=True)
    })  # fmt: skip


def _memory_and_time(made: dict[str, tuple[Callable[..., Any], tuple]]) -> Rows:
    """For each function, with its arguments, its time, in turns with the others.

    Yields:
        Records with the `size_bytes` of temporary memory, by the compiler's plan.
    """
    calls: dict[str, Callable[[], Any]] = {}
    sizes = {}
    for name, (fun, args) in made.items():
        yield PAUSE
        jitted = jax.jit(fun)
        compiled, _ = compile_in_stages(jitted, *args)
        memory = compiled.memory_analysis()
        sizes[name] = memory.temp_size_in_bytes if memory else 0  # a backend may keep its plan to itself
        calls[name] = partial(jitted, *args)
    for record in compare(calls, budget_s=0.3):
        yield record and record._replace(more={"size_bytes": sizes[record.label]})


def fixed_point_sweep(device: jax.Device, batch_size: int, iterations: tuple[int, ...] = ITERATIONS) -> Rows:
    """The derivative of a fixed point, unrolled and implicit, for more and more iterations."""
    times = np.linspace(0.05, 3.0, batch_size, dtype=np.float32)
    args = jax.device_put((np.float32(fixed_points.SLOW), times), device)
    yield from sweep(
        lambda count: {name: (fun, args) for name, fun in fixed_points.orbit_gradients(count).items()},
        iterations, _memory_and_time,
    )  # fmt: skip


def checkpoint_sweep(device: jax.Device, batch_size: int, depths: tuple[int, ...] = DEPTHS) -> Rows:
    """The gradient of a deep network with each of `fixed_points.BLOCKS`, for more and more layers."""
    x = np.random.default_rng(0).normal(size=(batch_size, fixed_points.WIDTH)).astype(np.float32)

    def make(depth: int) -> dict[str, tuple[Callable[..., Any], tuple]]:
        args = jax.device_put((fixed_points.deep_weights(depth), x), device)
        return {name: (fun, args) for name, fun in fixed_points.deep_gradients().items()}

    yield from sweep(make, depths, _memory_and_time)
