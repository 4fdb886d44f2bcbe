"""The panels of the page on compilation."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from lib.lessons.compilation import charts as drawn
from lib.lessons.compilation import routine as compilation
from lib.lessons.compilation.jit_cache import AGAIN, LAMBDA, LENGTH, NUMBER, POWER, JitCache
from lib.lessons.compilation.measure import DISPATCH
from lib.lessons.training import charts as training
from lib.live.engine import default_engine
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure.stages import Stages
from lib.measure.timing import duration, times_as_fast
from lib.ui import charts, panels, waiting
from lib.ui.controls import Controls
from lib.ui.style import PHASES, quantity

COMPILING = {name: PHASES[name] for name in ("trace", "lower", "compile")}
STARTS = {name: PHASES[name] for name in ("import", "trace", "lower", "compile", "first run")}
"""Parts of the start of a process, and their colours."""


def draw_run(snapshot: Snapshot) -> list[charts.Shown]:
    """The loss of a training, and what each of its programs took to compile."""
    return [training.losses(snapshot, "step", True)._replace(width=0.5), _programs(snapshot)]


def _programs(snapshot: Snapshot) -> charts.Chart:
    bars = []
    for number, made in enumerate(snapshot.compilations, 1):
        phases = made.steps.phases
        bars += drawn.end_to_end(f"program {number}", {name: getattr(phases, f"{name}_ms") for name in COMPILING})
    # The place of the first one is there before it is compiled.
    rows = [f"program {number}" for number in range(1, max(1, len(snapshot.compilations)) + 1)]
    return drawn.gantt("Programs of this run", bars, rows, COMPILING, 300)._replace(width=0.5)


def draw_timeline(records: Records) -> None:
    """The stages of one call and of a later one, end to end."""
    phases = dict(list(PHASES.items())[:5])
    ms = {record.phase: record.median_ms for record in records}
    bars, at = [], 0.0
    for phase, took in ms.items():
        bars.append({"row": phase, "name": phase, "start_ms": at, "end_ms": at + took, "text": duration(took)})
        at += took
    charts.show(drawn.gantt(f"{records[0].label}: from Python to a result", bars, list(phases), phases, 300))
    if "steady" in ms:
        before = at - ms["steady"]
        st.markdown(
            f"The first result takes **{duration(before)}**, each later one **{duration(ms['steady'])}**: compiling takes as "
            f"long as **{before / ms['steady']:,.0f}** calls."
        )


def draw_stages(made: tuple[Stages, str]) -> None:
    """The text of each stage, and the value."""
    stages, value = made
    texts = {
        "trace: jaxpr": stages.jaxpr,
        "lower: StableHLO": stages.stablehlo,
        "compile: HLO": stages.hlo,
        "run: value": value,
    }
    panels.stages_view("routine", stages, texts)


def jit_cache(controls: Controls) -> None:
    """A jitted function of this visitor's own, to be called in many ways, and what each call cost."""
    controls = controls.here()  # what JAX has kept of it is in this process
    key = f"_jit_cache_{controls.device_name}"  # JAX compiles again for another device without tracing again
    if key not in st.session_state:
        st.session_state[key] = JitCache()
    cache: JitCache = st.session_state[key]
    types = compilation.argument_types(controls.batch_size)
    ways = {**types, **dict.fromkeys((NUMBER, POWER, LAMBDA, AGAIN), next(iter(types.values())))}

    def call(what: str) -> None:
        if cache.ask():
            default_engine().background(cache.call, controls.device, what, ways[what])

    def forget() -> None:
        st.session_state[key] = JitCache()

    with st.container(horizontal=True):
        for number, what in enumerate(ways):
            st.button(what, key=f"call_{number}", on_click=call, args=(what,))
        st.button("Forget it all", key="call_forget", icon=":material/delete:", on_click=forget)

    def look() -> waiting.Look:
        return waiting.Look((list(cache.log), bool(cache.waiting)), not cache.waiting)

    def show(_: object) -> None:
        log = list(cache.log)
        if not log:
            st.caption("computing …" if cache.waiting else "Nothing called yet. Press a button, then press it again.")
            return
        misses = sum(not call.hit for call in log)
        st.caption(
            f"{'computing … ' if cache.waiting else ''}{len(log)} calls (the last {LENGTH} are kept), **{misses}** of them "
            f"compiled. The function has been traced {cache.traces} times."
        )
        last = log[-1]
        st.markdown(f"Call {last.number}, `{last.what}`: **{'hit' if last.hit else 'MISS'}**, {duration(last.ms)}.")
        st.code(last.reason, language=None, wrap_lines=True)
        chart, table = st.columns([1, 1.25])
        with chart:
            charts.show(drawn.calls(log))
        with table:
            st.dataframe(
                {
                    "call": [call.number for call in reversed(log)],
                    "with": [call.what for call in reversed(log)],
                    "cache": ["hit" if call.hit else "MISS" for call in reversed(log)],
                    "took": [duration(call.ms) for call in reversed(log)],
                    "why": [call.reason for call in reversed(log)],
                },
                hide_index=True, height=340,
            )  # fmt: skip

    waiting.watch(look, show)


def draw_lengths(records: Records) -> None:
    """Time to compile against the length of the program."""
    variants = tuple(compilation.LENGTHS)
    charts.show(charts.sweep("Time to trace, lower and compile", "n, steps or layers (log scale)", variants, records))
    last = {record.label: record for record in records}
    if len(last) == len(compilation.LENGTHS):
        unrolled, rolled, *_ = (last[variant] for variant in compilation.LENGTHS)
        st.markdown(
            f"{unrolled.size:,} sines in a Python loop: **{duration(unrolled.median_ms)}** to compile. In a "
            f"`fori_loop`: **{duration(rolled.median_ms)}**, for {rolled.size:,} as for one."
        )


def draw_dispatch(records: Records) -> None:
    """Blocked and not blocked calls against the size of a matrix."""
    charts.show(drawn.dispatch("The product of two n × n matrices", records))
    last = {record.label: record for record in records if record.size == records[-1].size}
    if len(last) == len(DISPATCH):
        blocked, free = (last[name] for name in DISPATCH)
        factor = times_as_fast(free, blocked)
        st.markdown(
            f"At n = {free.size:,} the call returns after **{duration(free.median_ms)}**, and the result is there after "
            f"**{duration(blocked.median_ms)}**. "
            + (
                "The two are not distinguishable."
                if factor is None
                else f"A timing that does not wait for the result is too short by a factor of {factor:,.0f}."
            )
        )


def draw_starts(records: Records) -> None:
    """What two processes paid for their first result."""
    bars = []
    rows = list(dict.fromkeys(record.label for record in records))
    for start in rows:
        bars += drawn.end_to_end(start, {r.phase: r.median_ms for r in records if r.label == start})
    charts.show(drawn.gantt("From import to the first result", bars, rows, STARTS, 300))
    for record in records:
        if record.phase == "compile":
            how = "read from the cache" if record.more["found"] else "compiled, and written to the cache"
            st.caption(f"{record.label.capitalize()}: {how}, in {duration(record.median_ms)}.")


def draw_static(report: dict[str, Any]) -> None:
    """A loop bound that is traced, static, and traced by a loop that can do with it."""
    traces = report["traces"]
    st.dataframe(
        {
            "loop bound": ["traced, Python loop", "static, Python loop", "traced, fori_loop"],
            "result": ["refused", f"{report['static']:.6g}", f"{report['fori_loop']:.6g}"],
            "traced, for n + 1, n, n": ["–", str(traces["static"]), str(traces["fori_loop"])],
        },
        hide_index=True,
    )
    st.code(report["error"], language=None, wrap_lines=True)


def draw_donation(report: dict[str, dict[str, Any]]) -> None:
    """What became of an argument that was donated."""
    report = {name: report[name] for name in ("kept", "donated")}
    st.dataframe(
        {
            "first argument": list(report),
            "is_deleted() after the call": [str(bool(row["is_deleted"])) for row in report.values()],
            "result in its memory": [str(bool(row["same_memory"])) for row in report.values()],
            "memory shared": [quantity(row["alias_bytes"], "B") for row in report.values()],
            "peak memory": [quantity(row["peak_bytes"], "B") for row in report.values()],
        },
        hide_index=True,
    )


def draw_export(report: dict[str, Any]) -> None:
    """A program that went through bytes."""
    st.markdown(
        f"**{report['size_bytes']:,} bytes** for {report['platforms']}, called with `{report['arguments']}`. Read back "
        f"and called, the result has shape `{report['shape']}` and differs from that of the function by "
        f"**{float(report['difference']):.2g}**."
    )
    module = re.sub(r"^#loc.*\n| loc\((?:[^()]|\([^()]*\))*\)", "", report["module"], flags=re.MULTILINE)
    st.code(module, language=None, height=230, wrap_lines=True)


def draw_roofline(records: Records) -> None:
    """The roof of this machine, and routines under it."""
    kinds = {record.more["kind"]: record for record in records}
    if len(kinds) < 3:
        return
    peak, bandwidth = kinds["peak"].more["gflops_per_s"], kinds["bandwidth"].more["gbytes_per_s"]
    routines = [record for record in records if record.more["kind"] == "routine"]
    charts.show(drawn.roofline(routines, peak, bandwidth))
    st.caption(
        f"Roof: {peak:.3g} GFLOP/s ({kinds['peak'].label}, float32) and {bandwidth:.3g} GB/s "
        f"({kinds['bandwidth'].label}), which meet at {peak / bandwidth:.3g} flops a byte."
    )
