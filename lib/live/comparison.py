"""What compiling a step is worth: the step without `jit`, with it, and what it costs to get there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lib.measure.stages import Phases, compile_in_stages
from lib.measure.timing import PAUSE, Record, Rows, compare, duration, once, pays_from, times_as_fast
from lib.routines.problem import HostProblem, Problem

EAGER, JIT, DISPATCH, HOST = (
    "eager step",
    "jit(step), blocked",
    "jit(step), dispatch alone",
    "step on the host, blocked",
)


def compare_step(device: jax.Device, problem: Problem, seed: int, learning_rate: float) -> Rows:
    """Measures one step of a problem from its start: what it takes to compile, and then the ways to call it, in turns.

    A `HostProblem` has one way alone: its compiled parts, called one after the other, each of which is waited for.
    """
    data = problem.data(seed)
    placed = jax.device_put(data, device)
    rate = jax.device_put(np.float32(learning_rate), device)
    yield PAUSE
    state = jax.block_until_ready(jax.jit(problem.init)(jax.device_put(jax.random.key(seed), device), placed))
    yield PAUSE
    if isinstance(problem, HostProblem):
        parts, step = problem.host_step(device)
        made = {}
        for name, (jitted, args) in parts.items():
            yield PAUSE
            made[name] = compile_in_stages(jitted, *args)
        yield from _compiled(Phases(*map(sum, zip(*(phases for _, phases in made.values()), strict=True))))
        compiled = {name: part for name, (part, _) in made.items()}
        on_host = jax.tree.map(np.asarray, data)
        yield from compare({HOST: lambda: step(compiled, state, on_host, np.float32(learning_rate))})
        return

    def fresh(*args: Any) -> Any:  # a new function: nothing that JAX keeps applies to it
        return problem.step(*args)

    jitted = jax.jit(fresh)
    _, phases = compile_in_stages(jitted, state, placed, rate)
    yield from _compiled(phases)
    calls = {
        EAGER: lambda: problem.step(state, placed, rate),
        JIT: lambda: jitted(state, placed, rate),
        DISPATCH: lambda: jitted(state, placed, rate),
    }
    for record in compare(calls, unblocked=(DISPATCH,)):
        yield record._replace(phase="eager") if record is not PAUSE and record.label == EAGER else record


def _compiled(phases: Phases) -> Rows:
    for phase, ms in zip(("trace", "lower", "compile"), phases, strict=True):
        yield once(f"{phase} the step", phase, ms)


def lines_of(records: Sequence[Record]) -> list[Record]:
    """Those records that are times of a step."""
    return [record for record in records if record.phase in ("eager", "steady", "dispatch")]


def break_even(records: Sequence[Record]) -> str:
    """From which call on `jit` pays, in one sentence, by what `compare_step` has measured; empty if there is none to say."""
    by_phase = {record.phase: record for record in records}
    if not {"trace", "lower", "compile", "eager", "steady"} <= set(by_phase):
        return ""
    total_ms = sum(by_phase[phase].median_ms for phase in ("trace", "lower", "compile"))
    eager, jit = by_phase["eager"], by_phase["steady"]
    compiled = f"The step alone compiled in {duration(total_ms)}"
    ratio = times_as_fast(jit, eager)
    if ratio is None:
        return f"{compiled}; a call and the eager step are not distinguishable: their quartiles overlap."
    saved_ms = eager.median_ms - jit.median_ms
    if saved_ms <= 0:
        return f"{compiled}, and a call takes {duration(-saved_ms)} longer than the eager step: it never pays."
    call = _ordinal(pays_from(total_ms, saved_ms))
    return f"{compiled}, saves {duration(saved_ms)} a call: pays from the {call} call."


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
