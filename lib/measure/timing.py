"""Timings one can trust: blocked, interleaved, calibrated, by phases.

JAX returns before the work is done. Whoever does not wait times the dispatch alone: that number is
reported too, under its own name.

What takes long is a generator that yields `PAUSE` wherever it may be interrupted, so that others can use the
processor between two samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from math import floor
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from lib.measure.stages import Cost, Phases, compile_in_stages, cost_of
from lib.routines.specialise import written_as

SAMPLE_S = 2e-3
"""A sample is at least this long: far above the clock's resolution and the cost of reading it."""
MAX_SAMPLES = 60
MIN_SAMPLES = 5
PATIENCE_S = 10.0
"""Of pauses between the samples: after so many seconds the fewest samples will do, as others need the processor."""
RESTED_S = 1e-3
"""After a pause of so long others have used the processor, and its caches are cold."""
LONG_S = 0.02
"""A call that takes so long brings back what it needs by itself: it is not warmed up."""
PAUSE = None
"""What a measurement yields where others may have the processor."""


class Timing(NamedTuple):
    """Seconds a call: the median of the samples, with the first and third quartile as the spread."""

    median: float
    low: float
    high: float
    samples: int
    calls: int
    """Calls a sample."""


class Record(NamedTuple):
    """Something measured, as the pages show it.

    Attributes:
        label: what was measured, complete: it stays with the numbers whatever becomes of the page.
        phase: trace, lower, compile, first run, steady, dispatch, eager or import.
        low_ms, high_ms: the first and third quartile; all three are equal for what happens once.
        calls: in a sample.
        size: of the problem, in a sweep.
        more: other quantities of the same thing, by name.
    """

    label: str
    phase: str
    median_ms: float
    low_ms: float
    high_ms: float
    samples: int = 1
    calls: int = 1
    size: int | None = None
    more: Mapping[str, Any] = MappingProxyType({})


Rows = Iterator[Record | None]
"""A measurement that a visitor asked for: its records as they come in, and a `PAUSE` wherever it may be interrupted."""


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


def in_turns(
    variants: dict[str, Callable[[], Any]], budget_s: float = 1.0, unblocked: tuple[str, ...] = ()
) -> dict[str, Timing]:
    """Times several calls in turns, each warm and waited for, on a machine that does nothing else."""
    counts, samples = {}, {name: [] for name in variants}  # type: ignore[var-annotated]
    for call in variants.values():
        jax.block_until_ready(call())  # compiles
    end = time.perf_counter() + budget_s
    while time.perf_counter() < end or min(map(len, samples.values())) < MIN_SAMPLES:
        for name, call in variants.items():
            start, elapsed, counts[name] = time.perf_counter(), 0.0, 0
            while elapsed < SAMPLE_S and counts[name] < (20 if name in unblocked else 1e6):
                out = call() if name in unblocked else jax.block_until_ready(call())
                elapsed, counts[name] = time.perf_counter() - start, counts[name] + 1
            jax.block_until_ready(out)  # the next sample starts on an idle device
            samples[name].append(elapsed / counts[name])
    return {name: summary(samples[name], counts[name]) for name in variants}


@written_as(in_turns)
def interleaved(
    variants: dict[str, Callable[[], Any]], budget_s: float = 1.0, unblocked: tuple[str, ...] = ()
) -> Generator[None, None, dict[str, Timing]]:
    """Times several calls in turns, so that a drift of the machine's speed hits all alike.

    After an interruption each call is made once untimed before it is timed again.

    Args:
        variants: calls without arguments that return pytrees; compiled already, warm.
        budget_s: for all of them together, about; pauses do not count, but for `PATIENCE_S`.
        unblocked: the variants to time by dispatch alone.
    """
    calls: dict[str, int] = {}
    for name, call in variants.items():
        yield PAUSE
        # A backlog of unblocked calls fills the device's queue, and then one times the queue.
        calls[name] = min(calibrate(call), 20) if name in unblocked else calibrate(call)
    samples: dict[str, list[float]] = {name: [] for name in variants}
    cold: set[str] = set()
    spent = waited = 0.0
    for turn in range(MAX_SAMPLES):
        if turn >= MIN_SAMPLES and (spent > budget_s or waited > PATIENCE_S):
            break
        for name, call in variants.items():
            paused = time.perf_counter()
            yield PAUSE
            begin = time.perf_counter()
            waited += begin - paused
            if begin - paused > RESTED_S:
                cold = set(variants)
            if name in cold and (not samples[name] or samples[name][-1] < LONG_S):
                jax.block_until_ready(call())
            cold.discard(name)
            samples[name].append(_sample(call, calls[name], name not in unblocked))
            spent += time.perf_counter() - begin
    return {name: summary(samples[name], calls[name]) for name in variants}


def profile(fun: Callable[..., Any], args: tuple[Any, ...], budget_s: float = 1.0) -> Generator[None, None, Profile]:
    """A function by phases, compiled from nothing whether or not it was compiled before.

    Args:
        fun: not jitted; any pytrees in and out.
        args: arrays on the device to be measured.
    """

    def fresh(*args: Any) -> Any:  # a new function object: nothing that JAX keeps applies to it
        return fun(*args)

    jitted = jax.jit(fresh)
    yield PAUSE
    compiled, phases = compile_in_stages(jitted, *args)
    yield PAUSE
    start = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    first_ms = 1e3 * (time.perf_counter() - start)
    jax.block_until_ready(jitted(*args))  # fills the fast path of the jitted function's own dispatch
    variants = {"steady": lambda: jitted(*args), "dispatch": lambda: jitted(*args)}
    timings = yield from interleaved(variants, budget_s, unblocked=("dispatch",))
    return Profile(phases, first_ms, timings["steady"], timings["dispatch"], cost_of(compiled))


# Records.


def timed(label: str, phase: str, timing: Timing, **more: Any) -> Record:
    """A record of a timing."""
    median, low, high = (1e3 * seconds for seconds in timing[:3])
    return Record(label, phase, median, low, high, timing.samples, timing.calls, more=more)


def once(label: str, phase: str, ms: float, **more: Any) -> Record:
    """A record of something that happens once."""
    return Record(label, phase, ms, ms, ms, more=more)


def records_of(rows: Iterable[Record | None]) -> list[Record]:
    """All records of a measurement, taken without interruption."""
    return [record for record in rows if record is not PAUSE]


def times_as_fast(record: Record, other: Record) -> float | None:
    """How many times as fast the first is as the other; None if their quartiles overlap: not distinguishable."""
    apart = record.high_ms < other.low_ms or other.high_ms < record.low_ms
    return other.median_ms / record.median_ms if apart else None


def pays_from(cost_ms: float, saved_ms: float) -> int:
    """The first call after which what each call saves, more than nothing, is more than the cost."""
    return floor(cost_ms / saved_ms) + 1


def profile_rows(fun: Callable[..., Any], args: tuple[Any, ...], name: str, eager: str) -> Rows:
    """The records of one function, by phases, beside the same function without `jit`.

    Args:
        fun: not jitted.
        name: of the jitted function, such as `jit(grad(f))`.
        eager: of the function without `jit`.

    Yields:
        Records; that of the steady state also has `flops`, `size_bytes`, `gflops_per_s` and `gbytes_per_s`, `None`
        where unknown.
    """
    profiled = yield from profile(fun, args)
    yield once("trace", "trace", profiled.phases.trace_ms)
    yield once("lower", "lower", profiled.phases.lower_ms)
    yield once("compile", "compile", profiled.phases.compile_ms)
    yield once("first run", "first run", profiled.first_ms)
    yield timed(
        f"{name}, steady", "steady", profiled.steady, flops=profiled.cost.flops, size_bytes=profiled.cost.size_bytes,
        gflops_per_s=profiled.gflops_per_s, gbytes_per_s=profiled.gbytes_per_s,
    )  # fmt: skip
    yield timed("not blocked: dispatch alone", "dispatch", profiled.dispatch)
    jax.block_until_ready(fun(*args))  # eager operations compile too, one by one
    timings = yield from interleaved({"": lambda: fun(*args)}, budget_s=0.4)
    yield timed(f"{eager}, eager", "eager", timings[""])


def compare(calls: dict[str, Callable[[], Any]], budget_s: float = 1.5, unblocked: tuple[str, ...] = ()) -> Rows:
    """The records of several ways to the same result, in the steady state, timed in turns.

    Args:
        unblocked: the ways to time by dispatch alone.
    """
    for call in calls.values():
        yield PAUSE
        jax.block_until_ready(call())  # compiles
    timings = yield from interleaved(calls, budget_s, unblocked)
    for name, timing in timings.items():
        yield timed(name, "dispatch" if name in unblocked else "steady", timing)


def sweep(
    make: Callable[[int], dict[str, Any]],
    sizes: Iterable[int],
    measure: Callable[[dict[str, Any]], Rows] = partial(compare, budget_s=0.15),
    limit_ms: float = 500,
) -> Rows:
    """Measures rivals at growing sizes.

    A rival that has taken longer than `limit_ms` is left out from then on: a sweep has to stay bounded.

    Args:
        make: the rivals at a size, by name.
        measure: gives the records of some rivals, each with a rival's name as its label.
    """
    slow: set[str] = set()
    for size in sizes:
        yield PAUSE
        for record in measure({name: rival for name, rival in make(size).items() if name not in slow}):
            if record is PAUSE:
                yield PAUSE
                continue
            if record.median_ms > limit_ms:
                slow.add(record.label)
            yield record._replace(size=size)


def duration(ms: float) -> str:
    """Three significant digits in the unit that suits."""
    for unit, size in (("s", 1e3), ("ms", 1.0), ("µs", 1e-3)):
        if ms >= 0.9995 * size:
            return f"{ms / size:.3g} {unit}"
    return f"{ms * 1e6:.3g} ns"
