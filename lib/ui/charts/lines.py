"""Lines of numbers against a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import altair as alt
import numpy as np

from lib.ui.charts import bands, marks
from lib.ui.charts.base import HEIGHT, SHORT, Chart, Spec, build, chart, legend, measured_axis, named, repeated


class Line(NamedTuple):
    """What is drawn of a series.

    Attributes:
        low, high: what it is the mean of goes from here to there: it is smoothed, over a band. None: as it is.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


class Still(NamedTuple):
    """A series that does not change: it is part of the specification and of no frame."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


@lru_cache(maxsize=256)
def _spec(
    title: str, x_title: str, y_title: str, names: tuple[str, ...], colors: tuple[str, ...], log: bool,
    dotted: tuple[str, ...], height: int, still: tuple[Still, ...],
) -> Spec:  # fmt: skip
    scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    # The specification goes with every frame: axes, scales and legend are said once, and hold for all layers.
    x, color = alt.X("x:Q", title=x_title), alt.Color("series:N", title=None)
    x_axis = alt.Axis(labelExpr=SHORT, tickCount=6)

    def y(column: str) -> alt.Y:
        return alt.Y(column, title=y_title)

    base = alt.Chart(named("lines"))
    layers = [
        alt.Chart(named("bands"))
        .mark_area(opacity=0.22, clip=True)
        .encode(
            x.scale(nice=False, zero=False).axis(x_axis),
            y("low:Q").scale(scale).axis(measured_axis(log)),
            color.scale(domain=list(names), range=list(colors)).legend(legend(names)),
            alt.Y2("high:Q"),
        ),
        base.mark_line(strokeWidth=2.5, clip=True).encode(x, y("y:Q"), color),
    ]
    if dotted:
        among = " || ".join(f"datum.series == {name!r}" for name in dotted)
        layers.append(
            base.transform_filter(among)
            .mark_point(size=18, filled=True, opacity=1, clip=True)
            .encode(x, y("y:Q"), color)
        )
    if still:
        rows = [{"x": a, "y": b, "series": one.name} for one in still for a, b in zip(one.x, one.y, strict=True)]
        layers.append(alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2, clip=True).encode(x, y("y:Q"), color))
    return build(alt.layer(*layers, *marks.layers(x_title)), height, title, large=True)


def still(name: str, x: np.ndarray, y: np.ndarray, log: bool) -> Still:
    """A series that does not change, with four figures a number."""
    inside = bands.within(y, bands.limits(y, y, y, log), log)
    rounded = [[float(f"{value:.4g}") for value in values] for values in (x, inside)]
    return Still(name, tuple(rounded[0]), tuple(None if np.isnan(value) else value for value in rounded[1]))


def lines(
    title: str,
    x_title: str,
    y_title: str,
    colors: Mapping[str, str],
    series: Mapping[str, tuple[np.ndarray, np.ndarray] | Line],
    log: bool = False,
    height: int = HEIGHT,
    width: float = 1.0,
    *,
    dotted: Sequence[str] = (),
    events: Sequence[marks.Event] = (),
    still: Sequence[Still] = (),
) -> Chart:
    """A line for each series.

    Args:
        colors: of every series that there may be; the legend has them all, in this order.
        series: x and y of those there are, or a `Line` with a band. A logarithm has no place for what is not
            positive: it is left out, and the chart says so.
        dotted: those with a dot at each of their points, where there is nothing between two of them.
        events: marks along x, with their texts.
        still: further series.
    """
    given = {name: Line(*line) for name, line in series.items()}
    values = np.concatenate([line.y for line in given.values()] or [np.empty(0)])
    limits = bands.union([bands.limits(line.y, *_band(line), log) for line in given.values() if len(line.y)])
    drawn, filled = [], []
    for line in given.values():
        mean, low, high = (line.y, *_band(line)) if line.low is None else bands.smoothed(line.y, *_band(line))
        drawn.append((line.x, bands.within(mean, limits, log)))
        with_band = slice(0) if line.low is None else slice(None)
        filled.append(tuple(part[with_band] for part in (line.x, bands.cut(low, limits), bands.cut(high, limits))))

    def column(parts: Sequence[Sequence[np.ndarray]], number: int) -> np.ndarray:
        return np.concatenate([part[number] for part in parts] or [np.empty(0)]).astype(np.float32)

    def named_rows(parts: Sequence[Sequence[np.ndarray]]) -> object:
        return repeated(list(given) or [""], [len(part[0]) for part in parts] or [0])

    xs = column(drawn, 0)
    start, end = (float(xs.min()), float(xs.max())) if len(xs) else (0.0, 1.0)
    return chart(
        _spec(title, x_title, y_title, tuple(colors), tuple(colors.values()), log, tuple(dotted), height, tuple(still)),
        f"{title}: {', '.join(colors)}, against {x_title}", width,
        lines={"x": xs, "y": column(drawn, 1), "series": named_rows(drawn)},
        bands={
            "x": column(filled, 0), "low": column(filled, 1), "high": column(filled, 2), "series": named_rows(filled)
        },
        **marks.data(events, end, bands.unplaced(values, log), start),
    )  # fmt: skip


def _band(line: Line) -> tuple[np.ndarray, np.ndarray]:
    return (line.y if line.low is None else line.low), (line.y if line.high is None else line.high)
