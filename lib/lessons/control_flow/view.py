"""The panels of the page on control flow."""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.control_flow.measure import TURNS, JaxprDiff, cond_and_vmap
from lib.lessons.control_flow.recurrent import AHEAD, LOOPS, SEEN
from lib.lessons.control_flow.routine import (
    DIFFERENTIABLE,
    MODES,
    REPLACEMENTS,
    PairReport,
    differentiation_report,
    pair_report,
)
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.ui import charts, panels
from lib.ui.controls import Controls
from lib.ui.jaxpr_table import jaxpr_html
from lib.ui.style import SERIES, TEST, quantity

COLORS = tuple(SERIES[:3])


# The live run.


def draw_run(snapshot: Snapshot, series: np.ndarray) -> None:
    """The loss, and what the network says comes next when it listens to itself."""
    loss, ahead = st.columns([1.3, 1], gap="medium")
    with loss:
        charts.fan("Loss of the next number", "mean squared error", snapshot, log=True, height=330)
    with ahead:
        title = "Shown the left part, it goes on by itself"
        if snapshot.picture is None:
            charts.nothing_yet(title, 330)
            return
        t = np.arange(SEEN + AHEAD)
        lines = {"series": (t, series[: len(t)]), "network": (t[SEEN:], np.clip(snapshot.picture["ahead"], -2, 2))}
        spec = charts.lines_spec(title, "time", "value", False, ("series", "network"), (SERIES[7], TEST), 330)
        charts.show(spec, title, lines=charts.lines(lines))


# The pairs.


def pairs(controls: Controls) -> None:
    """One kind at a time: the Python, what replaces it, and what became of both."""
    name = st.segmented_control(
        "Replaces Python's if, list, while, for",
        list(REPLACEMENTS),
        default="cond",
        required=True,
        key="pair",
        bind="query-params",
    )
    pair = REPLACEMENTS[name]
    python, lax = st.columns(2, gap="medium")
    with python:
        panels.source(pair.python)
    with lax:
        panels.source(pair.lax)
    st.markdown(pair.about)
    panels.answer(_draw_pair, controls.device, pair_report, name)


def _draw_pair(report: PairReport) -> None:
    def text(value: Any) -> str:
        return "–" if value is None else np.array2string(np.asarray(value), precision=5, threshold=6, edgeitems=2)

    refused = report.error or "–"
    counts = ["–" if count is None else f"{count:,}" for count in report.equations]
    st.dataframe(
        {
            "": ["Python, as it is", "jit(Python)", "jit, from lax"],
            "result": [text(report.python), refused if report.error else text(report.jit_python), text(report.lax)],
            "equations": ["–", *counts],
        },
        hide_index=True,
    )
    if report.error:
        st.markdown(f"**{report.error}**, in JAX's own words:")
        st.code(report.text, language=None, wrap_lines=True)


# How long, how large, how fast.


@cache
def _sweep_spec(title: str, y_title: str, height: int = 360) -> charts.Spec:
    """`value` against `size`, both logarithmic, one line a variant."""
    variants = list(TURNS)
    scale = alt.Scale(domain=variants, range=SERIES[: len(variants)])
    base = alt.Chart(charts.named("sweep"))
    x = alt.X("size:Q", title="turns (log scale)", scale=alt.Scale(type="log", base=2), axis=alt.Axis(format="~s"))
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=6, format="~g"))
    color = alt.Color("variant:N", title=None, scale=scale, legend=alt.Legend(columns=2, symbolOpacity=1))
    shape = alt.Shape("variant:N", title=None, scale=alt.Scale(domain=variants))
    line = base.mark_line(strokeWidth=2.5).encode(x, y, color)
    return charts.build(
        alt.layer(line, base.mark_point(size=80, filled=True, opacity=1).encode(x, y, color, shape)), height, title
    )


SWEEPS = {
    "compile_ms": ("To trace, lower and compile", "milliseconds (log scale)"),
    "equations": ("Equations of the jaxpr", "equations (log scale)"),
    "hlo_ops": ("Operations of the compiled program", "HLO operations (log scale)"),
    "us_a_turn": ("Time of one turn, steady state", "microseconds (log scale)"),
}


def draw_lengths(records: Records) -> None:
    """Compile time, sizes and time a turn, against the number of turns."""
    columns = st.columns(2, gap="medium")
    for place, (name, (title, y_title)) in enumerate(SWEEPS.items()):
        with columns[place % 2]:
            data = {
                "size": [record["size"] for record in records],
                "value": [record[name] for record in records],
                "variant": charts.words([record["variant"] for record in records]),
            }
            charts.show(_sweep_spec(title, y_title), f"{title}, against the number of turns", sweep=data)


@cache
def _race_spec(title: str, height: int) -> charts.Spec:
    """Bars of `steps_per_s`, a row for each loop, with `text` behind them."""
    loops = list(LOOPS)
    y = alt.Y("loop:N", title=None, sort=loops, scale=alt.Scale(domain=loops), axis=alt.Axis(labelLimit=240))
    color = alt.Color("loop:N", scale=alt.Scale(domain=loops, range=list(COLORS)), legend=None)
    base = alt.Chart(charts.named("race"))
    bars = base.mark_bar(height={"band": 0.6}).encode(alt.X("steps_per_s:Q", title="steps a second"), y, color)
    text = base.mark_text(align="left", dx=8, fontSize=18).encode(alt.X("steps_per_s:Q"), y, text="text:N")
    room = base.transform_calculate(room="1.25 * datum.steps_per_s").mark_point(opacity=0).encode(alt.X("room:Q"), y)
    return charts.build(alt.layer(bars, room, text), height, title)


def draw_race(records: Records) -> None:
    """Steps a second of each loop, and the loss against the clock."""
    speeds = {
        name: float(np.median([record["steps_per_s"] for record in records if record["loop"] == name]))
        for name in dict.fromkeys(record["loop"] for record in records)
    }
    left, right = st.columns(2, gap="medium")
    with left:
        charts.show(
            _race_spec("Steps a second", 300), "Steps a second of each loop",
            race={
                "loop": list(speeds), "steps_per_s": list(speeds.values()),
                "text": [quantity(speed) for speed in speeds.values()],
            },
        )  # fmt: skip
    with right:
        curves = {}
        for name in speeds:
            of_it = [record for record in records if record["loop"] == name]
            curves[name] = (
                np.array([1e3 * record["seconds"] for record in of_it]), np.array([record["loss"] for record in of_it])
            )  # fmt: skip
        spec = charts.lines_spec(
            "The same losses, sooner", "milliseconds of training", "loss (log scale)", True, tuple(LOOPS), COLORS, 300
        )
        charts.show(spec, "The loss of each loop against the clock", lines=charts.lines(curves, log=True))
    if len(speeds) == len(LOOPS):
        python, *rolled = speeds.values()
        times = " and ".join(
            f"**{name}** {speed / python:,.1f}" for name, speed in zip(list(LOOPS)[1:], rolled, strict=True)
        )
        st.markdown(f"Times as fast as the Python loop of jitted steps: {times}.")


# Derivatives, and cond under vmap.


def derivatives(controls: Controls) -> None:
    """Which loop can be differentiated in which mode, tried."""
    panels.answer(_draw_derivatives, controls.device, differentiation_report)


def _draw_derivatives(report: dict[str, dict[str, str]]) -> None:
    table = {"x³ by": list(DIFFERENTIABLE)}
    table |= {
        f"{mode} at 2": [report[name][mode].partition(":")[0] for name in DIFFERENTIABLE] for mode in MODES
    }  # fmt: skip
    st.dataframe(table, hide_index=True)
    st.code(report["while_loop"]["jacrev"], language=None, wrap_lines=True)


def cond_under_vmap(controls: Controls) -> None:
    """The program of `cond` for one example and for a batch."""
    panels.answer(_draw_programs, controls.device, cond_and_vmap, controls.batch_size)


def _draw_programs(programs: JaxprDiff) -> None:
    one, batch = st.columns([1, 1.25], gap="medium")
    with one:
        st.markdown("**`f`**: one example, one branch")
        st.html(jaxpr_html(programs.one, [""] * len(programs.one), sources=False))
    with batch:
        st.markdown("**`vmap(f)`**: both branches, and `select_n`")
        st.html(jaxpr_html(programs.batch, [mark if mark == "new" else "" for mark in programs.marks], sources=False))
