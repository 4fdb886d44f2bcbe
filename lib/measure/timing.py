"""Timings one can trust: blocked, interleaved, calibrated, by phases.

JAX returns before the work is done. Whoever does not wait times the dispatch alone: that number is
reported too, under its own name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from lib.measure.stages import Cost, Phases, compile_in_stages, cost_of

SAMPLE_S = 2e-3
"""A sample is at least this long: far above the clock's resolution and the cost of reading it."""
MAX_SAMPLES = 60
MIN_SAMPLES = 5


class Timing(NamedTuple):
    """Seconds a call: the median of the samples, with the first and third quartile as the spread."""

    median: float
    low: float
    high: float
    samples: int
    calls: int
    """Calls a sample."""


class Profile(NamedTuple):
    """One function by phases."""

    phases: Phases
    first_ms: float
    """The first execution, blocked, after compilation."""
    steady: Timing
    dispatch: Timing
    """Not blocked: until the call returns, not until the result is there."""
    cost: Cost

    @property
    def gflops_per_s(self) -> float | None:
        """Achieved in the steady state, by the compiler's count of flops."""
        return self.cost.flops / self.steady.median / 1e9 if self.cost.flops else None

    @property
    def gbytes_per_s(self) -> float | None:
        """Achieved in the steady state, by the compiler's count of bytes."""
        return self.cost.size_bytes / self.steady.median / 1e9 if self.cost.size_bytes else None


def _sample(call: Callable[[], Any], calls: int, block: bool) -> float:
    """Seconds a call. Blocked on all leaves of each result, or on none until the clock has stopped."""
    out = None
    start = time.perf_counter()
    if block:
        for _ in range(calls):
            out = jax.block_until_ready(call())
        return (time.perf_counter() - start) / calls
    for _ in range(calls):
        out = call()
    elapsed = time.perf_counter() - start
    jax.block_until_ready(out)  # the next sample starts on an idle device
    return elapsed / calls


def calibrate(call: Callable[[], Any]) -> int:
    """How many calls make a sample of `SAMPLE_S`."""
    calls = 1
    while True:
        elapsed = _sample(call, calls, block=True) * calls
        if elapsed >= SAMPLE_S:
            return calls
        # The first calls are slower than the steady state, so approach it in steps.
        calls = min(10 * calls, int(calls * 1.2 * SAMPLE_S / max(elapsed, 1e-9)) + 1)


def summary(samples: list[float], calls: int) -> Timing:
    """Median and quartiles of a list of seconds a call."""
    low, median, high = np.quantile(samples, (0.25, 0.5, 0.75))
    return Timing(float(median), float(low), float(high), len(samples), calls)


def interleaved(
    variants: dict[str, Callable[[], Any]], budget_s: float = 1.0, unblocked: tuple[str, ...] = ()
) -> dict[str, Timing]:
    """Times several calls in turns, so that a drift of the machine's speed hits all alike.

    Args:
        variants: calls without arguments that return pytrees; compiled already, warm.
        budget_s: for all of them together, about.
        unblocked: the variants to time by dispatch alone.
    """
    calls = {name: calibrate(call) for name, call in variants.items()}
    # A backlog of unblocked calls fills the device's queue, and then one times the queue.
    calls.update({name: min(calls[name], 20) for name in unblocked})
    samples: dict[str, list[float]] = {name: [] for name in variants}
    end = time.perf_counter() + budget_s
    for turn in range(MAX_SAMPLES):
        if turn >= MIN_SAMPLES and time.perf_counter() > end:
            break
        for name, call in variants.items():
            samples[name].append(_sample(call, calls[name], name not in unblocked))
    return {name: summary(samples[name], calls[name]) for name in variants}


def profile(fun: Callable[..., Any], args: tuple[Any, ...], budget_s: float = 1.0) -> Profile:
    """A function by phases, compiled from nothing whether or not it was compiled before.

    Args:
        fun: not jitted; any pytrees in and out.
        args: arrays on the device to be measured.
    """

    def fresh(*args: Any) -> Any:  # a new function object: nothing that JAX keeps applies to it
        return fun(*args)

    jitted = jax.jit(fresh)
    compiled, phases = compile_in_stages(jitted, *args)
    start = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    first_ms = 1e3 * (time.perf_counter() - start)
    jax.block_until_ready(jitted(*args))  # fills the fast path of the jitted function's own dispatch
    variants = {"steady": lambda: jitted(*args), "dispatch": lambda: jitted(*args)}
    timings = interleaved(variants, budget_s, unblocked=("dispatch",))
    return Profile(phases, first_ms, timings["steady"], timings["dispatch"], cost_of(compiled))


def row(label: str, phase: str, timing: Timing) -> dict[str, Any]:
    """A record of a timing, in milliseconds."""
    return {
        "label": label, "phase": phase, "ms": 1e3 * timing.median, "low": 1e3 * timing.low,
        "high": 1e3 * timing.high, "samples": timing.samples, "calls": timing.calls,
    }  # fmt: skip


def once(label: str, phase: str, ms: float) -> dict[str, Any]:
    """A record of something that happens once."""
    return {"label": label, "phase": phase, "ms": ms, "low": ms, "high": ms, "samples": 1, "calls": 1}


def profile_rows(fun: Callable[..., Any], args: tuple[Any, ...], name: str, eager: str) -> Iterator[dict[str, Any]]:
    """The records of one function, by phases, beside the same function without `jit`.

    Args:
        fun: not jitted.
        name: of the jitted function, such as `jit(grad(f))`.
        eager: of the function without `jit`.

    Yields:
        `label`, `phase`, `ms`, `low`, `high`, `samples`, `calls`; the row of the steady state also has
        `flops`, `size_bytes`, `gflops_per_s` and `gbytes_per_s`, `None` where unknown.
    """
    profiled = profile(fun, args)
    phases = profiled.phases
    yield once("trace", "trace", phases.trace_ms)
    yield once("lower", "lower", phases.lower_ms)
    yield once("compile", "compile", phases.compile_ms)
    yield once("first run", "first run", profiled.first_ms)
    yield row(f"{name}, steady", "steady", profiled.steady) | {
        "flops": profiled.cost.flops, "size_bytes": profiled.cost.size_bytes,
        "gflops_per_s": profiled.gflops_per_s, "gbytes_per_s": profiled.gbytes_per_s,
    }  # fmt: skip
    yield row("not blocked: dispatch alone", "dispatch", profiled.dispatch)
    jax.block_until_ready(fun(*args))  # eager operations compile too, one by one
    yield row(f"{eager}, eager", "first run", interleaved({"": lambda: fun(*args)}, budget_s=0.4)[""])


def compare(calls: dict[str, Callable[[], Any]], budget_s: float = 1.5) -> Iterator[dict[str, Any]]:
    """The records of several ways to the same result, in the steady state, timed in turns."""
    for call in calls.values():
        jax.block_until_ready(call())  # compiles
    for name, timing in interleaved(calls, budget_s).items():
        yield row(name, "steady", timing)


def sweep(
    make: Callable[[int], dict[str, Callable[[], Any]]], sizes: list[int], limit_s: float = 0.5
) -> Iterator[dict[str, Any]]:
    """Times rival calls at growing sizes and yields a record for each.

    A rival whose call has passed `limit_s` is left out from then on: a sweep has to stay bounded.

    Yields:
        `size`, `variant`, `median_ms`, `low_ms`, `high_ms`, `samples`.
    """
    slow: set[str] = set()
    for size in sizes:
        calls = {name: call for name, call in make(size).items() if name not in slow}
        for name, call in list(calls.items()):
            start = time.perf_counter()
            jax.block_until_ready(call())  # compiles
            start = time.perf_counter()
            jax.block_until_ready(call())
            if time.perf_counter() - start > limit_s:
                slow.add(name)
        for name, timing in interleaved(calls, budget_s=0.15).items():
            yield {
                "size": size,
                "variant": name,
                "median_ms": 1e3 * timing.median,
                "low_ms": 1e3 * timing.low,
                "high_ms": 1e3 * timing.high,
                "samples": timing.samples,
            }


Rows = Iterator[dict[str, Any]]
