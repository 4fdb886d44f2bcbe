"""Durations beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt

from lib.ui.charts.base import Chart, Spec, build, chart, named
from lib.ui.style import PHASES, duration


@cache
def _spec(title: str, rows: tuple[str, ...]) -> Spec:
    """A bar would need a zero, which a logarithm does not have."""
    order = list(rows)
    y = alt.Y(
        "label:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(labelLimit=260, grid=True)
    )
    color = alt.Color(
        "phase:N", title=None, scale=alt.Scale(domain=list(PHASES), range=list(PHASES.values())), legend=None
    )
    base = alt.Chart(named("timings"))
    scale = alt.Scale(type="log", nice=False, padding=70)  # room for the numbers beside the dots
    x = alt.X("ms:Q", title="milliseconds (log scale)", scale=scale, axis=alt.Axis(format="~g", tickCount=8))
    spread = base.mark_rule(strokeWidth=5, opacity=0.45).encode(
        alt.X("low:Q", title="milliseconds (log scale)"), y, color, x2="high:Q"
    )
    dots = base.mark_point(size=260, filled=True, opacity=1).encode(x, y, color)
    text = base.mark_text(align="left", dx=14, fontSize=16).encode(alt.X("high:Q"), y, color, text="text:N")
    return build(alt.layer(spread, dots, text), 42 * len(rows) + 110, title)


def timings(title: str, records: Sequence[Mapping[str, Any]]) -> Chart:
    """Records of `label`, `phase`, `ms`, `low`, `high` as dots on a logarithmic axis, with spread and number."""
    columns = {name: [record[name] for record in records] for name in ("label", "phase", "ms", "low", "high")}
    columns["text"] = [duration(record["ms"]) for record in records]
    described = "; ".join(f"{record['label']}: {duration(record['ms'])}" for record in records)
    return chart(_spec(title, tuple(columns["label"])), f"{title}. {described}.", timings=columns)
