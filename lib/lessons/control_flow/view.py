"""The panels of the page on control flow."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.control_flow import snippet as code_of
from lib.lessons.control_flow.measure import PREDICATES, TURNS, JaxprDiff, cond_and_vmap
from lib.lessons.control_flow.recurrent import AHEAD, LOOPS, SEEN
from lib.lessons.control_flow.routine import (
    DIFFERENTIABLE,
    MODES,
    REPLACEMENTS,
    PairReport,
    differentiation_report,
    gradients_of_branches,
    pair_report,
    power_fori_traced,
    power_scan,
    power_while,
)
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure.timing import summary, timed, times_as_fast
from lib.routines.snippets import source
from lib.ui import charts, panels
from lib.ui.controls import Controls
from lib.ui.jaxpr_table import jaxpr_html
from lib.ui.settings import ask
from lib.ui.style import SERIES, TEST, quantity

COLORS = dict(zip(LOOPS, SERIES, strict=False))


# The live run.


def draw_run(series: np.ndarray) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws the series that the network makes of its own predictions, and the loss."""
    t = np.arange(SEEN + AHEAD)

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        lines = {"series": (t, series[: len(t)])}
        if snapshot.picture is not None:
            lines["network"] = (t[SEEN:], np.clip(snapshot.picture["ahead"], -2, 2))
        colors = {"series": SERIES[7], "network": TEST}
        return [
            charts.lines("It continues the series by itself", "time", "value", colors, lines, width=0.5),
            charts.fan("Loss of the next number", "mean squared error", snapshot, True, width=0.5),
        ]

    return draw


# The pairs.


def pairs(controls: Controls) -> None:
    """One kind at a time: the Python and what `jit` makes of it, beside what replaces it."""
    name = ask("control_flow_pair", "Replaces Python's if, list, while, for", list(REPLACEMENTS), required=True)
    pair = REPLACEMENTS[name]
    st.markdown(pair.about)
    python, lax = st.columns(2, gap="medium")
    with python:
        st.code(source(pair.python), wrap_lines=True)
        panels.answer(_draw_python, controls.device, pair_report, name)
    with lax:
        panels.snippet(code_of.pair(name), controls)


def _draw_python(report: PairReport) -> None:
    st.markdown(f"Called as it is, it gives `{_text(report.python)}`. Under `jit`:")
    if report.error:
        st.code(f"{report.error}: {report.text}", language=None, wrap_lines=True)
        return
    of_python, of_lax = report.equations
    st.code(_text(report.jit_python), language=None, wrap_lines=True)
    st.markdown(f"Equations of its jaxpr: **{of_python:,}**; of that with `lax`: **{of_lax:,}**.")


def _text(value: Any) -> str:
    return np.array2string(np.asarray(value), precision=5, threshold=6, edgeitems=2)


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


SWEEPS: dict[str, tuple[str, str, Callable[[Any], float]]] = {
    "To trace, lower and compile": ("milliseconds (log scale)", "compile", lambda record: record.median_ms),
    "Equations of the jaxpr": ("equations (log scale)", "compile", lambda record: record.more["equations"]),
    "Operations of the compiled program": (
        "HLO operations (log scale)", "compile", lambda record: record.more["hlo_ops"],
    ),
    "Time of one turn, steady state": (
        "microseconds (log scale)", "steady", lambda record: 1e3 * record.median_ms / record.size,
    ),
}  # fmt: skip
"""Titles, what is drawn of the records of which phase."""


def draw_lengths(records: Records) -> None:
    """Compile time, sizes and time a turn, against the number of turns."""
    drawn = []
    for title, (y_title, phase, value) in SWEEPS.items():
        told = [record for record in records if record.phase == phase]
        data = {
            "size": [record.size for record in told], "value": [value(record) for record in told],
            "variant": charts.words([record.label for record in told]),
        }  # fmt: skip
        drawn.append(
            charts.chart(_sweep_spec(title, y_title), f"{title}, against the number of turns", 0.5, sweep=data)
        )
    charts.show_all(drawn)


@cache
def _race_spec(title: str, height: int) -> charts.Spec:
    """Bars of `steps_per_s`, a row for each loop, with `text` behind them."""
    loops = list(LOOPS)
    y = alt.Y("loop:N", title=None, sort=loops, scale=alt.Scale(domain=loops), axis=alt.Axis(labelLimit=240))
    color = alt.Color("loop:N", scale=alt.Scale(domain=loops, range=list(COLORS.values())), legend=None)
    base = alt.Chart(charts.named("race"))
    bars = base.mark_bar(height={"band": 0.6}).encode(alt.X("steps_per_s:Q", title="steps a second"), y, color)
    text = base.mark_text(align="left", dx=8, fontSize=18).encode(alt.X("steps_per_s:Q"), y, text="text:N")
    room = base.transform_calculate(room="1.25 * datum.steps_per_s").mark_point(opacity=0).encode(alt.X("room:Q"), y)
    return charts.build(alt.layer(bars, room, text), height, title)


def draw_race(records: Records) -> None:
    """Steps a second of each loop, and the loss against the clock."""
    rounds: dict[str, Records] = {}
    for record in records:
        rounds.setdefault(record.label, []).append(record)
    steps = {
        name: timed(name, "steady", summary([record.median_ms / 1e3 for record in taken], taken[0].calls))
        for name, taken in rounds.items()
    }
    speeds = {name: 1e3 / step.median_ms for name, step in steps.items()}
    race = charts.chart(
        _race_spec("Steps a second", 300), "Steps a second of each loop", 0.5,
        race={
            "loop": list(speeds), "steps_per_s": list(speeds.values()),
            "text": [quantity(speed) for speed in speeds.values()],
        },
    )  # fmt: skip
    curves = {
        name: (np.array([1e3 * r.more["seconds"] for r in taken]), np.array([r.more["loss"] for r in taken]))
        for name, taken in rounds.items()
    }
    title, x_title = "Loss against time", "milliseconds of training"
    losses = charts.lines(title, x_title, "loss (log scale)", COLORS, curves, True, 300, 0.5)
    charts.show_all([race, losses])
    if len(speeds) == len(LOOPS):
        python, *rolled = steps.values()
        ratios = {step.label: times_as_fast(step, python) for step in rolled}
        times = " and ".join(
            f"**{name}** {'not distinguishable' if ratio is None else f'{ratio:,.1f} times'}"
            for name, ratio in ratios.items()
        )
        st.markdown(f"As fast as the Python loop of jitted steps: {times}.")


# Derivatives, and cond under vmap.


def derivatives(controls: Controls) -> None:
    """Which loop can be differentiated in which mode, tried."""
    table, code = st.columns(2, gap="medium")
    with table:
        st.markdown("The derivative of x³ at 2 in forward mode and in reverse mode: 12, or the error that JAX raises.")
        panels.answer(_draw_derivatives, controls.device, differentiation_report)
    with code:
        st.code(source(power_scan, power_fori_traced, power_while), wrap_lines=True)


def _draw_derivatives(report: dict[str, dict[str, str]]) -> None:
    table = {"x³ by": list(DIFFERENTIABLE)}
    table |= {
        f"{mode} at 2": [report[name][mode].partition(":")[0] for name in DIFFERENTIABLE] for mode in MODES
    }  # fmt: skip
    st.dataframe(table, hide_index=True)
    st.code(report["while_loop"]["jacrev"], language=None, wrap_lines=True)


def cond_under_vmap(controls: Controls) -> None:
    """The program of `cond` for one example and for a batch, and what comes back through its branches."""
    predicate = ask("predicate", "Predicate", list(PREDICATES), required=True)
    st.markdown(UNDER_VMAP[predicate])
    heading = f"vmap(f, in_axes={PREDICATES[predicate]})"
    panels.answer(partial(_draw_programs, heading), controls.device, cond_and_vmap, controls.batch_size, predicate)
    st.markdown(
        "The derivative of the sum over a batch, with `x > 0` as each example's predicate. Through `where` it is NaN, because "
        "0 goes back into `sqrt`, whose derivative is NaN or infinite there:"
    )
    panels.answer(_draw_branches, controls.device, gradients_of_branches)


UNDER_VMAP = {
    "one for each example": "`vmap` computes **both** branches for all examples, and `select_n` picks the results. In front of each "
    "branch it picks `x` or `stop_gradient(x)`. These are the same number: `sqrt(-1)` is computed, gives NaN, and is thrown "
    "away. But no derivative comes back from the branch that is not taken.",
    "one for all": "The predicate is not batched: `vmap` keeps `cond`, and only the branch that is taken runs, on the whole batch.",
}
"""What happens to `cond`, by the key of `PREDICATES`."""


def _draw_programs(heading: str, programs: JaxprDiff) -> None:
    one, batch = st.columns([1, 1.25], gap="medium")
    with one:
        st.markdown("`f`, one example")
        st.html(jaxpr_html(programs.one, [""] * len(programs.one), sources=False))
    with batch:
        st.markdown(f"`{heading}`: new equations are marked")
        st.html(jaxpr_html(programs.batch, [mark if mark == "new" else "" for mark in programs.marks], sources=False))


def _draw_branches(report: dict[str, dict[str, str]]) -> None:
    columns = next(iter(report.values()))
    st.dataframe(
        {"by": list(report)} | {head: [row[head] for row in report.values()] for head in columns}, hide_index=True
    )
