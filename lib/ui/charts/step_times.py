"""How long the steps of a run take, and what it took before the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import log10
from statistics import median
from typing import Any, NamedTuple

import altair as alt
import numpy as np

from lib.live.run import Compilation, Snapshot
from lib.measure.timing import Record, duration
from lib.ui.charts import bands, marks
from lib.ui.charts.base import HEIGHT, Chart, Spec, build, chart, measured_axis, named
from lib.ui.charts.fan import steps_axis
from lib.ui.style import PHASES

TITLE = "Time per step"
APART = 0.06
"""Texts below each other are so far apart, as a part of the height."""
LEAD = 18
"""Pixels from a dot to its text."""


@cache
def _spec(height: int) -> Spec:
    x = alt.X("x:Q", title="step")
    scale = alt.Scale(type="log", nice=False)

    def y(column: str) -> alt.Y:
        return alt.Y(column, title="milliseconds (log scale)")

    color = alt.Color("phase:N", title=None)
    colors = color.scale(domain=list(PHASES), range=list(PHASES.values())).legend(None)
    times, phases, compared = (alt.Chart(named(name)) for name in ("times", "phases", "compared"))
    steady = PHASES["steady"]
    return build(
        alt.layer(
            times.mark_area(opacity=0.22, color=steady).encode(
                steps_axis(), y("low:Q").scale(scale).axis(measured_axis(True)), alt.Y2("high:Q")
            ),
            compared.mark_rule(strokeWidth=2.5, strokeDash=[7, 4]).encode(y("ms:Q"), colors),
            compared.mark_text(fontSize=13, align="right", baseline="bottom", dx=-4, dy=-2)
            .encode(y("at:Q"), x=alt.value("width"), text="text:N"),
            times.mark_line(strokeWidth=2.5, color=steady, point={"size": 22, "filled": True, "color": steady})
            .encode(x, y("mean:Q")),
            phases.mark_point(filled=True, opacity=1)
            .encode(x, y("ms:Q"), color, size=alt.condition("datum.text", alt.value(90), alt.value(45))),
            # Dots lie closer than texts can: a line leads from each dot to its text.
            phases.transform_filter("datum.text").mark_rule(strokeWidth=2, x2Offset=LEAD)
            .encode(x, y("ms:Q"), alt.X2("x:Q"), alt.Y2("at:Q"), color),
            phases.mark_text(fontSize=13, align="left", dx=LEAD + 3).encode(x, y("at:Q"), text="text:N"),
            alt.Chart(named("room")).mark_point(opacity=0).encode(y("ms:Q")),
            *marks.layers("step"),
        ),
        height, TITLE,
    )  # fmt: skip


def step_times(snapshot: Snapshot, compared: Sequence[Record] = (), height: int = HEIGHT, width: float = 1.0) -> Chart:
    """The milliseconds that a step of a run took, chunk by chunk, against the step; before it what the first program
    took to trace, lower, compile and run once, and a mark where another program was needed, with what it cost.

    Args:
        compared: other ways to take a step, as horizontal lines.
    """
    times = snapshot.step_ms
    mean, low, high = bands.smoothed(times.mean, times.low, times.high)
    points: list[dict[str, Any]] = [
        {"x": float(made.step), "ms": ms, "phase": phase, "text": f"{phase} {duration(ms)}" if not made.change else ""}
        for made in snapshot.compilations
        for phase, ms in _phases(made).items()
    ]  # fmt: skip
    events = _events(snapshot)
    lines = [record.median_ms for record in compared]
    drawn = [*times.low.tolist(), *times.high.tolist(), *(point["ms"] for point in points), *lines]
    axis = _axis(drawn, len(events))
    told_apart = [point for point in points if point["text"]]
    for point, at in zip(told_apart, _apart([point["ms"] for point in told_apart], axis), strict=True):
        point["at"] = at
    told = "; ".join(text for text in [*(point["text"] for point in points), *_costs(snapshot).values()] if text)
    if len(times.mean):
        told += f"; then {duration(median(times.mean.tolist()))} a step"
    return chart(
        _spec(height), f"{TITLE}, against the step. {told}", width,
        times={"x": times.coordinates["step"].astype(np.float32), "mean": mean, "low": low, "high": high},
        phases={
            "x": [point["x"] for point in points], "ms": [point["ms"] for point in points],
            "at": [point.get("at", point["ms"]) for point in points], "phase": [point["phase"] for point in points],
            "text": [point["text"] for point in points],
        },
        compared={
            "ms": lines, "phase": [record.phase for record in compared], "at": _apart(lines, axis),
            "text": [f"{record.label} {duration(record.median_ms)}" for record in compared],
        },
        room={"ms": [10**axis.top] if events else []},
        **marks.data(events, snapshot.step),
    )  # fmt: skip


def _phases(made: Compilation) -> dict[str, float]:
    """What a program took before its second execution, in milliseconds; what was found compiled was not compiled."""
    phases: dict[str, float] = {}
    if not made.shared:
        took = made.steps.phases
        phases = {"trace": took.trace_ms, "lower": took.lower_ms, "compile": took.compile_ms}
    if made.first_ms is not None:
        phases["first run"] = made.first_ms
    return {phase: ms for phase, ms in phases.items() if ms > 0}


def _cost(made: Compilation) -> str:
    """What a program cost the run that needed it, in words."""
    if not made.shared:
        return duration(made.steps.phases.total_ms)
    return "found compiled, 0 ms" if made.waited_s < 0.01 else f"found compiled, waited {duration(1e3 * made.waited_s)}"


def _costs(snapshot: Snapshot) -> dict[tuple[int, str], str]:
    """What each change cost that needed another program."""
    return {(made.step, made.change): f"{made.change}: {_cost(made)}" for made in snapshot.compilations if made.change}


def _events(snapshot: Snapshot) -> list[marks.Event]:
    costs = _costs(snapshot)
    events: list[marks.Event] = [(step, costs.get((step, text), text)) for step, text in snapshot.events]
    shared = [(made.step, _cost(made)) for made in snapshot.compilations if made.shared and not made.change]
    return [*shared, *events]


class _Axis(NamedTuple):
    """The logarithmic axis, in powers of ten.

    Attributes:
        high: of what is drawn.
        top: with room above it for the texts of the marks.
    """

    low: float
    high: float
    top: float


def _axis(values: Sequence[float], events: int) -> _Axis:
    positive = [value for value in values if value > 0] or [1.0]
    low, high = log10(min(positive)), log10(max(positive))
    texts = min(events, marks.ROWS)
    part = 0.03 + APART * texts if texts else 0.0
    return _Axis(low, high, high + part / (1 - part) * max(high - low, 0.5))


def _apart(values: Sequence[float], axis: _Axis) -> list[float]:
    """Places of texts, as near to their values as they can be without covering each other."""
    places = [log10(value) for value in values]
    gap = APART * max(axis.top - axis.low, 0.5)
    order = sorted(range(len(places)), key=places.__getitem__)
    for below, above in pairwise(order):
        places[above] = max(places[above], places[below] + gap)
    for above in order[-1:]:  # back into the chart, from the top down
        places[above] = min(places[above], axis.high)
    for above, below in pairwise(order[::-1]):
        places[below] = min(places[below], places[above] - gap)
    return [10**place for place in places]
