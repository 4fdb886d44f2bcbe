"""Durations beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import altair as alt

from lib.measure.timing import Record, duration
from lib.ui.charts.base import Chart, Spec, build, chart, named
from lib.ui.style import PHASES


@cache
def _spec(title: str, rows: tuple[str, ...]) -> Spec:
    """A bar would need a zero, which a logarithm does not have."""
    order = list(rows)
    y = alt.Y(
        "label:N", title=None, sort=order, scale=alt.Scale(domain=order),
        axis=alt.Axis(labels=False, ticks=False, domain=False, grid=True),
    )  # fmt: skip
    color = alt.Color(
        "phase:N", title=None, scale=alt.Scale(domain=list(PHASES), range=list(PHASES.values())), legend=None
    )
    base = alt.Chart(named("timings"))
    scale = alt.Scale(type="log", nice=False)
    x = alt.X("ms:Q", title="milliseconds (log scale)", scale=scale, axis=alt.Axis(format=".4~g", tickCount=8))
    room = alt.Chart(named("room")).mark_point(opacity=0).encode(x)
    spread = base.mark_rule(strokeWidth=5, opacity=0.45).encode(
        alt.X("low:Q", title="milliseconds (log scale)"), y, color, x2="high:Q"
    )
    dots = base.mark_point(size=220, filled=True, opacity=1).encode(x, y, color)
    # In the ink of the page: small text in the colours of the phases has too little contrast.
    text = base.mark_text(align="left", dx=14, fontSize=16).encode(alt.X("high:Q"), y, text="text:N")
    # Above its line, where a phone has room for it too.
    label = base.mark_text(align="left", dy=-19, fontSize=16).encode(x=alt.value(0), y=y, text="label:N")
    return build(alt.layer(spread, dots, text, label, room), 54 * len(rows) + 110, title, large=True)


def timings(title: str, records: Sequence[Record]) -> Chart:
    """Records as dots on a logarithmic axis, with spread and number."""
    columns = {
        "label": [record.label for record in records], "phase": [record.phase for record in records],
        "ms": [record.median_ms for record in records], "low": [record.low_ms for record in records],
        "high": [record.high_ms for record in records], "text": [duration(record.median_ms) for record in records],
    }  # fmt: skip
    described = "; ".join(f"{record.label}: {duration(record.median_ms)}" for record in records)
    rows = tuple(dict.fromkeys(record.label for record in records))
    low = min((record.low_ms for record in records), default=1.0)
    high = max((record.high_ms for record in records), default=1.0)
    span = max(high / low, 10.0)
    room = {"ms": [low / span**0.05, high * span**0.35]}  # for the numbers beside the dots
    return chart(_spec(title, rows), f"{title}. {described}.", timings=columns, room=room)
