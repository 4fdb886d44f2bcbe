"""The panels of the page on compilation."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import streamlit as st

from lib.lessons.compilation import routine as compilation
from lib.lessons.compilation.jit_cache import AGAIN, LAMBDA, LENGTH, MAX_WAITING, NUMBER, POWER, JitCache
from lib.lessons.compilation.measure import DISPATCH
from lib.live.engine import default_engine
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure.stages import Stages
from lib.measure.timing import times_as_fast
from lib.ui import charts, panels
from lib.ui.controls import Controls
from lib.ui.style import PHASES, duration, quantity

COMPILING = {name: PHASES[name] for name in ("trace", "lower", "compile")}
STARTS = {name: PHASES[name] for name in ("import", "trace", "lower", "compile", "first run")}
"""Parts of the start of a process, and their colours."""


class _Bars:
    """The data of `charts.gantt_spec`, with the parts of a row end to end."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {"row": [], "name": [], "start_ms": [], "end_ms": [], "text": []}
        self.rows: list[str] = []

    def row(self, label: str, parts: dict[str, float]) -> None:
        """Adds a row of parts, in milliseconds; their sum is written behind the last."""
        at = 0.0
        self.rows.append(label)
        for number, (name, ms) in enumerate(parts.items(), 1):
            text = duration(at + ms) if number == len(parts) else ""
            for column, value in zip(self.columns.values(), (label, name, at, at + ms, text), strict=True):
                column.append(value)
            at += ms

    def show(self, title: str, colors: dict[str, str], height: int) -> None:
        """Shows the rows there are."""
        spec = charts.gantt_spec(title, tuple(self.rows), tuple(colors), tuple(colors.values()), height)
        charts.show(spec, f"{title}, part by part", bars=self.columns)


def draw_programs(snapshot: Snapshot) -> None:
    """What each program of a live run took to compile."""
    bars = _Bars()
    for number, made in enumerate(snapshot.compilations, 1):
        phases = made.program.steps.phases
        bars.row(f"program {number}", {name: getattr(phases, f"{name}_ms") for name in COMPILING})
    if bars.rows:
        bars.show("Programs of this run", COMPILING, 175 + 34 * len(bars.rows))


def draw_timeline(records: Records) -> None:
    """The stages of one call and of a later one, end to end."""
    rows, ms = tuple(PHASES)[:5], {record.phase: record.median_ms for record in records}
    ends = list(accumulate(ms.values()))
    charts.show(
        charts.gantt_spec("From Python to a result", rows, rows, tuple(PHASES.values())[:5], 300),
        "; ".join(f"{phase}: {duration(took)}" for phase, took in ms.items()),
        bars={
            "row": list(ms), "name": list(ms), "start_ms": [0.0, *ends[:-1]], "end_ms": ends,
            "text": [duration(took) for took in ms.values()],
        },
    )  # fmt: skip
    if "steady" in ms:
        before = ends[-2]
        st.markdown(
            f"The first result takes **{duration(before)}**, each later one **{duration(ms['steady'])}**: the way there "
            f"costs as much as **{before / ms['steady']:,.0f}** calls."
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
            full = cache.waiting >= MAX_WAITING
            st.button(what, key=f"call_{number}", on_click=call, args=(what,), disabled=full)
        st.button("Forget it all", key="call_forget", icon=":material/delete:", on_click=forget)
    waiting = cache.waiting > 0

    @st.fragment(run_every=0.2 if waiting else None)
    def panel() -> None:
        if waiting and not cache.waiting:
            st.rerun()
        log = list(cache.log)
        if not log:
            st.caption("computing …" if waiting else "Nothing called yet. Press a button, then press it again.")
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
            charts.show(
                charts.calls_spec("Time of each call"), "The time of each call, those that compiled set off",
                calls={
                    "number": [call.number for call in log], "ms": [call.ms for call in log],
                    "outcome": charts.words([charts.CALLS[call.hit] for call in log]),
                },
            )  # fmt: skip
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

    panel()


def draw_lengths(records: Records) -> None:
    """Time to compile against the length of the program."""
    _sweep("Time to trace, lower and compile", tuple(compilation.LENGTHS), "n, steps or layers (log scale)", records)
    last = {record.label: record for record in records}
    if len(last) == len(compilation.LENGTHS):
        unrolled, rolled, *_ = (last[variant] for variant in compilation.LENGTHS)
        st.markdown(
            f"{unrolled.size:,} sines in a Python loop: **{duration(unrolled.median_ms)}** to compile. In a "
            f"`fori_loop`: **{duration(rolled.median_ms)}**, for {rolled.size:,} as for one."
        )


def draw_dispatch(records: Records) -> None:
    """Blocked and not blocked calls against the size of a matrix."""
    title = "The product of two n × n matrices"
    data = charts.swept(records)
    charts.show(charts.bars_spec(title, DISPATCH, "n"), f"{title}, blocked and not blocked", bars=data)
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
                else f"Who does not wait is wrong by a factor of {factor:,.0f}."
            )
        )


def _sweep(title: str, variants: tuple[str, ...], x_title: str, records: Records) -> None:
    spec = charts.sweep_spec(title, variants, x_title, 420, columns=2)
    charts.show(spec, f"{title}, against n", sweep=charts.swept(records))


def draw_starts(records: Records) -> None:
    """What two processes paid for their first result."""
    bars = _Bars()
    for start in dict.fromkeys(record.label for record in records):
        bars.row(start, {record.phase: record.median_ms for record in records if record.label == start})
    bars.show("From import to the first result", STARTS, 245)
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
    st.code(module, language=None, height=230)


def draw_roofline(records: Records) -> None:
    """The roof of this machine, and routines under it."""
    kinds = {record.more["kind"]: record for record in records}
    if len(kinds) < 3:
        return
    peak, bandwidth = kinds["peak"].more["gflops_per_s"], kinds["bandwidth"].more["gbytes_per_s"]
    routines = {record.label: record.more for record in records if record.more["kind"] == "routine"}
    names = tuple(routines)
    low, high, ridge = 0.05, max(200.0, 4 * peak / bandwidth), peak / bandwidth
    charts.show(
        charts.roofline_spec("Roofline of this machine", names),
        "; ".join(
            f"{name}: {r['intensity']:.2g} flops a byte, {r['gflops_per_s']:.2g} GFLOP/s" for name, r in routines.items()
        ),
        roof={
            "intensity": [low, ridge, high], "gflops_per_s": [low * bandwidth, peak, peak],
            "text": ["", "", f"{quantity(peak)} GFLOP/s"],
        },
        routines={
            "label": list(names), "intensity": [r["intensity"] for r in routines.values()],
            "gflops_per_s": [r["gflops_per_s"] for r in routines.values()],
        },
    )  # fmt: skip
    st.caption(
        f"Roof: {peak:.3g} GFLOP/s ({kinds['peak'].label}, float32) and {bandwidth:.3g} GB/s "
        f"({kinds['bandwidth'].label}), which meet at {ridge:.3g} flops a byte."
    )
