"""The charts of the page on compilation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt

from lib.lessons.compilation.jit_cache import Call
from lib.lessons.compilation.measure import DISPATCH
from lib.live.measurement import Records
from lib.measure.timing import duration
from lib.ui import charts
from lib.ui.style import PHASES, SERIES, quantity

CALLS = ("compiled", "found")
"""What may become of a call of a jitted function."""


@cache
def _gantt_spec(
    title: str, rows: tuple[str, ...], names: tuple[str, ...], colors: tuple[str, ...], height: int
) -> charts.Spec:
    """Bars from `start_ms` to `end_ms`, one row for each `row`, coloured by `name`, with `text` behind them.

    The outline keeps visible what is too short for a pixel.
    """
    base = alt.Chart(charts.named("bars"))
    y = alt.Y("row:N", title=None, sort=list(rows), scale=alt.Scale(domain=list(rows)), axis=alt.Axis(labelLimit=260))
    x = alt.X("start_ms:Q", title="milliseconds", axis=alt.Axis(tickCount=6))
    scale = alt.Scale(domain=list(names), range=list(colors))
    legend = alt.Legend(columns=3) if set(rows) != set(names) else None
    color = alt.Color("name:N", title=None, scale=scale, legend=legend)
    bars = base.mark_bar(strokeWidth=3, height={"band": 0.6}).encode(
        x, y, color, alt.Stroke("name:N", title=None, scale=scale, legend=legend), x2="end_ms:Q"
    )
    text = base.mark_text(align="left", dx=8, fontSize=16).encode(alt.X("end_ms:Q"), y, text="text:N")
    room = (
        base.transform_joinaggregate(last="max(end_ms)")
        .transform_calculate(room="1.3 * datum.last")
        .mark_point(opacity=0)
        .encode(alt.X("room:Q"))
    )
    return charts.build(alt.layer(bars, text, room), height, title)


def gantt(
    title: str, bars: Sequence[Mapping[str, Any]], rows: Sequence[str], colors: Mapping[str, str], height: int
) -> charts.Chart:
    """Bars of `row`, `name`, `start_ms`, `end_ms` and a `text` behind them.

    Args:
        rows: those that there may be, from the top.
        colors: of the names.
    """
    columns = {name: [bar[name] for bar in bars] for name in ("row", "name", "start_ms", "end_ms", "text")}
    described = "; ".join(f"{bar['row']}: {bar['text']}" for bar in bars if bar["text"])
    spec = _gantt_spec(title, tuple(rows), tuple(colors), tuple(colors.values()), height)
    return charts.chart(spec, f"{title}. {described}.", bars=columns)


def end_to_end(row: str, parts: Mapping[str, float]) -> list[dict[str, Any]]:
    """The bars of a row of parts, in milliseconds, one after the other; their sum is written behind the last."""
    bars: list[dict[str, Any]] = []
    for name, ms in parts.items():
        start = bars[-1]["end_ms"] if bars else 0.0
        bars.append({"row": row, "name": name, "start_ms": start, "end_ms": start + ms, "text": ""})
    bars[-1]["text"] = duration(bars[-1]["end_ms"])
    return bars


@cache
def _calls_spec(title: str) -> charts.Spec:
    """The `ms` of call after call, on a logarithmic axis; `outcome` is one of `CALLS`."""
    scale = alt.Scale(domain=list(CALLS), range=[PHASES["compile"], PHASES["steady"]])
    chart = (
        alt.Chart(charts.named("calls"))
        .mark_point(size=190, filled=True, opacity=1)
        .encode(
            alt.X("number:Q", title="call", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(zero=False)),
            alt.Y("ms:Q", title="milliseconds (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=6, format="~g")),
            alt.Color("outcome:N", title=None, scale=scale),
            alt.Shape("outcome:N", title=None, scale=alt.Scale(domain=list(CALLS), range=["diamond", "circle"])),
        )
    )  # fmt: skip
    return charts.build(chart, 340, title)


def calls(log: Sequence[Call]) -> charts.Chart:
    """The time of each call, those that compiled set off."""
    return charts.chart(
        _calls_spec("Time of each call"), "The time of each call, those that compiled set off",
        calls={
            "number": [call.number for call in log], "ms": [call.ms for call in log],
            "outcome": charts.words([CALLS[call.hit] for call in log]),
        },
    )  # fmt: skip


@cache
def _bars_spec(title: str, variants: tuple[str, ...], x_title: str) -> charts.Spec:
    """A bar a variant, side by side at each size, with its duration as text: from zero, so that lengths compare."""
    color = alt.Color("variant:N", title=None, scale=alt.Scale(domain=list(variants), range=SERIES[: len(variants)]))
    base = alt.Chart(charts.named("bars")).encode(
        alt.X("size:O", title=x_title, axis=alt.Axis(labelAngle=0)),
        alt.Y("median_ms:Q", title="milliseconds", axis=alt.Axis(tickCount=6)),
        alt.XOffset("variant:N", scale=alt.Scale(domain=list(variants))),
    )
    text = base.mark_text(baseline="bottom", dy=-3, fontSize=15).encode(color, text="text:N")
    return charts.build(alt.layer(base.mark_bar().encode(color), text), 420, title)


def dispatch(title: str, records: Records) -> charts.Chart:
    """The times of blocked and not blocked calls at each size."""
    columns = {
        "size": [record.size for record in records], "variant": [record.label for record in records],
        "median_ms": [record.median_ms for record in records], "text": [duration(record.median_ms) for record in records],
    }  # fmt: skip
    return charts.chart(_bars_spec(title, DISPATCH, "n"), f"{title}, blocked and not blocked", bars=columns)


@cache
def _roofline_spec(title: str, names: tuple[str, ...]) -> charts.Spec:
    """Speed against arithmetic intensity, both logarithmic: the `roof` and one point a routine."""
    x = alt.X(
        "intensity:Q", title="flops a byte moved (log scale)", scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~g", tickCount=6),
    )  # fmt: skip
    y = alt.Y("gflops_per_s:Q", title="GFLOP/s (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=6))  # fmt: skip
    roof = alt.Chart(charts.named("roof")).mark_line(strokeWidth=4, color=SERIES[7]).encode(x, y)
    words = (
        alt.Chart(charts.named("roof")).mark_text(align="right", dy=-14, fontSize=16, color=SERIES[7])
        .encode(x, y, text="text:N")
    )  # fmt: skip
    points = (
        alt.Chart(charts.named("routines"))
        .mark_point(size=260, filled=True, opacity=1)
        .encode(
            x, y,
            alt.Color("label:N", title=None, scale=alt.Scale(domain=list(names), range=SERIES[: len(names)]), legend=alt.Legend(columns=2)),
            alt.Shape("label:N", title=None, scale=alt.Scale(domain=list(names))),
        )
    )  # fmt: skip
    return charts.build(alt.layer(roof, words, points), 480, title)


def roofline(routines: Records, peak: float, bandwidth: float) -> charts.Chart:
    """Routines under the roof of a machine of so many GFLOP/s and GB/s."""
    low, high, ridge = 0.05, max(200.0, 4 * peak / bandwidth), peak / bandwidth
    return charts.chart(
        _roofline_spec("Roofline of this machine", tuple(record.label for record in routines)),
        "; ".join(
            f"{r.label}: {r.more['intensity']:.2g} flops a byte, {r.more['gflops_per_s']:.2g} GFLOP/s" for r in routines
        ),
        roof={
            "intensity": [low, ridge, high], "gflops_per_s": [low * bandwidth, peak, peak],
            "text": ["", "", f"{quantity(peak)} GFLOP/s"],
        },
        routines={
            "label": [r.label for r in routines], "intensity": [r.more["intensity"] for r in routines],
            "gflops_per_s": [r.more["gflops_per_s"] for r in routines],
        },
    )  # fmt: skip
