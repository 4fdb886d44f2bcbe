"""How long the steps of a run take, and what it took before the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np

from lib.live.run import Compilation, Snapshot
from lib.measure.timing import Record
from lib.ui.charts import bands, marks
from lib.ui.charts.base import HEIGHT, Chart, Spec, build, chart, measured_axis, named, words
from lib.ui.charts.fan import steps_axis
from lib.ui.style import PHASES, duration

TITLE = "Time a step"
APART = 0.075
"""Texts below each other are so far apart, as a part of the height."""


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
            phases.mark_text(fontSize=13, align="left", dx=9).encode(x, y("at:Q"), text="text:N"),
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
        {"x": float(made.step), "ms": ms, "phase": phase, "text": f"{phase} {duration(ms)}" if number == 0 else ""}
        for number, made in enumerate(snapshot.compilations)
        for phase, ms in _phases(made).items()
    ]  # fmt: skip
    ends = [*times.low, *times.high, *(point["ms"] for point in points), *(record.median_ms for record in compared)]
    named_points = [point for point in points if point["text"]]
    for point, at in zip(named_points, _apart([point["ms"] for point in named_points], ends), strict=True):
        point["at"] = at
    events = _events(snapshot)
    told = "; ".join(text for text in [*(point["text"] for point in points), *_costs(snapshot).values()] if text)
    if len(times.mean):
        told += f"; then {duration(float(np.median(times.mean)))} a step"
    return chart(
        _spec(height), f"{TITLE}, against the step. {told}", width,
        times={"x": times.coordinates["step"].astype(np.float32), "mean": mean, "low": low, "high": high},
        phases={
            "x": [point["x"] for point in points], "ms": [point["ms"] for point in points],
            "at": [point.get("at", point["ms"]) for point in points], "phase": words(point["phase"] for point in points),
            "text": [point["text"] for point in points],
        },
        compared={
            "ms": [record.median_ms for record in compared], "phase": words(record.phase for record in compared),
            "at": _apart([record.median_ms for record in compared], ends),
            "text": [f"{record.label} {duration(record.median_ms)}" for record in compared],
        },
        room={"ms": [_above(ends, min(len(events), marks.ROWS))] if ends and events else []},
        **marks.data(events, snapshot.step),
    )  # fmt: skip


def _phases(made: Compilation) -> dict[str, float]:
    """What a program took before its second execution, in milliseconds; what was found compiled was not compiled."""
    phases: dict[str, float] = {}
    if not made.shared:
        took = made.program.steps.phases
        phases = {"trace": took.trace_ms, "lower": took.lower_ms, "compile": took.compile_ms}
    if made.first_ms is not None:
        phases["first run"] = made.first_ms
    return {phase: ms for phase, ms in phases.items() if ms > 0}


def _cost(made: Compilation) -> str:
    """What a program cost the run that needed it, in words."""
    if not made.shared:
        return duration(made.program.steps.phases.total_ms)
    return "found compiled, 0 ms" if made.waited_s < 0.01 else f"found compiled, waited {duration(1e3 * made.waited_s)}"


def _costs(snapshot: Snapshot) -> dict[tuple[int, str], str]:
    """What each change cost that needed another program."""
    return {(made.step, made.change): f"{made.change}: {_cost(made)}" for made in snapshot.compilations if made.change}


def _events(snapshot: Snapshot) -> list[marks.Event]:
    costs = _costs(snapshot)
    events: list[marks.Event] = [(step, costs.get((step, text), text)) for step, text in snapshot.events]
    first: Any = snapshot.compilations[:1]
    if first and first[0].shared:
        events.insert(0, (first[0].step, _cost(first[0])))
    return events


def _above(ends: Sequence[float], texts: int) -> float:
    """The top of an axis with room for so many texts above all else."""
    logs = np.log10([end for end in ends if end > 0])
    part = 0.03 + 1.15 * APART * texts
    return float(10 ** (logs.max() + part / (1 - part) * max(float(logs.max() - logs.min()), 0.5)))


def _apart(values: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Places of texts on the logarithmic axis, as near to their values as they can be without covering each other."""
    if not values:
        return []
    logs = np.log10(np.array(values, np.float64))
    every = np.log10([end for end in ends if end > 0])
    gap = APART * max(float(every.max() - every.min()), 0.5)
    places = logs.copy()
    order = np.argsort(logs)
    for below, above in pairwise(order):
        places[above] = max(places[above], places[below] + gap)
    beyond = places[order[-1]] - every.max()
    if beyond > 0:  # back into the chart, from the top down
        places[order[-1]] -= beyond
        for above, below in pairwise(order[::-1]):
            places[below] = min(places[below], places[above] - gap)
    return [float(place) for place in 10**places]
