"""The way of a function to machine code, stage by stage: trace (to a jaxpr), lower (to StableHLO), compile.

References:
    https://docs.jax.dev/en/latest/aot.html
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax


class Phases(NamedTuple):
    """What it took to get a program, in milliseconds."""

    trace_ms: float
    lower_ms: float
    compile_ms: float

    @property
    def total_ms(self) -> float:
        """All of it."""
        return sum(self)


class Cost(NamedTuple):
    """The compiler's own estimate for one call. `None` where the backend gives none."""

    flops: float | None
    size_bytes: float | None
    peak_memory_bytes: int | None


def compile_in_stages(jitted: Any, *args: Any, **static: Any) -> tuple[jax.stages.Compiled, Phases]:
    """Compiles ahead of time for these arguments, arrays or `jax.ShapeDtypeStruct`s.

    The jitted function, called with such arguments later, finds the program and does not compile again.
    """
    start = time.perf_counter()
    traced = jitted.trace(*args, **static)
    after_trace = time.perf_counter()
    lowered = traced.lower()
    after_lower = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()
    ms = [1e3 * (b - a) for a, b in ((start, after_trace), (after_trace, after_lower), (after_lower, end))]
    return compiled, Phases(*ms)


def cost_of(compiled: jax.stages.Compiled) -> Cost:
    """Flops, bytes and peak memory of a compiled program, as far as the backend tells."""
    analysis = compiled.cost_analysis() or {}
    if isinstance(analysis, list):  # one dict a partition on some backends
        analysis = analysis[0] if analysis else {}
    memory = compiled.memory_analysis()
    peak = getattr(memory, "peak_memory_in_bytes", None)
    return Cost(analysis.get("flops"), analysis.get("bytes accessed"), peak)


def placed(tree: Any, device: jax.Device) -> Any:
    """The shapes and dtypes of a tree's leaves, each with its place on the device."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
