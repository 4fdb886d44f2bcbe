"""A live run on a page: its buttons, its numbers, its charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from lib.live.devices import CPUS
from lib.live.engine import default_engine
from lib.live.run import Compilation, LiveRun, Snapshot, Spec, Status
from lib.routines.problem import Problem
from lib.ui import charts
from lib.ui.controls import Controls
from lib.ui.style import duration, quantity, stats

TICKS_S = (0.25, 0.5, 2.0)
TICKS_PER_CPU_S = 40
"""Ticks a second that a processor core may be asked for by all tabs together: each costs some 6 ms."""
PACES: dict[str, float | None] = {"5": 5, "20": 20, "100": 100, "1000": 1000, "10000": 10000, "unlimited": None}
ICONS = {
    Status.READY: "○",
    Status.COMPILING: "◌",
    Status.RUNNING: "●",
    Status.PAUSED: "‖",
    Status.FINISHED: "■",
    Status.DIVERGED: "▲",
    Status.FAILED: "✕",
}


def session_run(name: str) -> LiveRun:
    """This visitor's run on the page of that name."""
    key = f"_run_{name}"
    if key not in st.session_state:
        st.session_state[key] = LiveRun(default_engine())
    run: LiveRun = st.session_state[key]
    return run


def live(
    name: str,
    problem: Problem,
    controls: Controls,
    draw: Callable[[Snapshot], Sequence[charts.Shown]],
    *,
    data: Any = (),
    data_id: Any = None,
    pace: str = "1000",
    stop_at: int | None = None,
    extra_stats: Callable[[Snapshot], dict[str, str]] | None = None,
) -> LiveRun:
    """Shows a live run of a problem with the settings of the sidebar.

    Args:
        name: of the page; what its widgets' keys begin with.
        draw: what to show of a snapshot. Called four times a second while the run is active, once otherwise.
        data: a pytree of NumPy arrays; `data_id` tells data apart.
        pace: the steps a second to begin with, one of `PACES`: at full speed a small problem is over before one sees
            it, and a class that looks on leaves the processor to others.
        stop_at: the step at which Run ends.
        extra_stats: further numbers for the row of numbers.
    """
    run = session_run(name)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Run", key=f"{name}_run", type="primary", icon=":material/play_arrow:", on_click=run.run, args=(stop_at,)
        )
        st.button("Pause", key=f"{name}_pause", icon=":material/pause:", on_click=run.pause)
        st.button("Step", key=f"{name}_step", icon=":material/skip_next:", on_click=run.step)
        st.button("Reset", key=f"{name}_reset", icon=":material/replay:", on_click=run.reset)
        chosen_pace = st.select_slider(
            "Steps a second", list(PACES), pace, key=f"{name}_pace", bind="query-params", width=240
        )
    run.configure(
        Spec(problem, controls.device, controls.seed, data, data_id), controls.learning_rate, PACES[chosen_pace]
    )
    now = run.look()
    ticking, tick_s = now.active, _tick_s(now.audience)
    # Tabs that are told to begin at the same moment must not ask at the same moments ever after.
    own = 0.9 + 0.2 * ((id(run) >> 6) % 97) / 97

    @st.fragment(run_every=own * tick_s if ticking else None)
    def frame() -> None:
        snapshot = run.look()
        _numbers(snapshot, extra_stats)
        charts.show_all(draw(snapshot))
        _message(snapshot)
        _compilations(snapshot)
        due = _tick_s(snapshot.audience)
        if ticking and (not snapshot.active or due > tick_s or due < tick_s / 4):
            st.rerun()  # no timer is needed any more, or another one

    frame()
    return run


def _tick_s(audience: int) -> float:
    """How often a tab looks: the more there are, the less often, so that all are answered in time."""
    due = audience / (TICKS_PER_CPU_S * CPUS)
    return next((tick for tick in TICKS_S if tick >= due), TICKS_S[-1])


def _numbers(snapshot: Snapshot, extra: Callable[[Snapshot], dict[str, str]] | None) -> None:
    status = f"{ICONS[snapshot.status]} {snapshot.status.value}"
    if snapshot.status is Status.COMPILING:
        status = f"{ICONS[snapshot.status]} compiling … {snapshot.since_s:.1f} s"
    elif snapshot.status is Status.RUNNING and snapshot.measuring:
        status = "◔ waits: measuring"
    elif snapshot.status is Status.FINISHED:
        status = f"{ICONS[snapshot.status]} finished"
    loss = f"{snapshot.latest[0]:.3g}" if snapshot.latest is not None else "–"
    numbers = {"Status": status, "Step": f"{snapshot.step:,}", "Loss": loss}
    if extra is not None:
        numbers |= extra(snapshot)
    numbers |= {
        "Steps/s": quantity(snapshot.steps_per_s) if snapshot.steps_per_s else "–",
        "Time a step": duration(snapshot.ms_per_step) if snapshot.ms_per_step else "–",
        "Learning rate": f"{snapshot.learning_rate:g}",
    }
    stats(numbers)


def _message(snapshot: Snapshot) -> None:
    if snapshot.status is Status.FAILED:
        st.error("The run has ended with this error. Change a setting and press Run, or Reset.")
        st.code(snapshot.message, language=None)
    elif snapshot.status is Status.DIVERGED:
        st.warning(snapshot.message)
    elif snapshot.message:
        st.info(snapshot.message)


def _compilations(snapshot: Snapshot) -> None:
    """How often the run was compiled, how long it took, and why."""
    if not snapshot.compilations:
        st.caption("Nothing compiled yet. The first Run compiles; the same shapes are then ready for everybody.")
        return
    last = snapshot.compilations[-1]
    phases = last.program.steps.phases
    split = (
        f"trace {duration(phases.trace_ms)} + lower {duration(phases.lower_ms)} + compile {duration(phases.compile_ms)}"
    )
    how = "found compiled by an earlier run; then it took" if last.shared else "compiled:"
    rates = sum(text.startswith("learning rate") for _, text in snapshot.events)
    times = "time" if rates == 1 else "times"
    st.caption(
        f"Programs of this run: **{len(snapshot.compilations)}**. The last, for batch size "
        f"{snapshot.batch_size} on {snapshot.device}, {how} {split}. "
        f"Learning rate changed {rates} {times} on the way: **0** compilations."
    )
    if len(snapshot.compilations) > 1:
        with st.expander("Why it compiled again"):
            for compilation in snapshot.compilations:
                _why(compilation)


def _why(compilation: Compilation) -> None:
    change = compilation.change or "the first program of this run"
    cost = (
        "nothing: the program was there" if compilation.shared else duration(compilation.program.steps.phases.total_ms)
    )
    st.markdown(f"At step {compilation.step:,}: {change}; it cost {cost}.")
    if compilation.program.steps.reason:
        st.code(compilation.program.steps.reason, language=None, wrap_lines=True)
