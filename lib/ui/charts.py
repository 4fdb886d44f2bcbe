"""The charts. Each is built and validated once, and shown with new data as often as need be.

Vega draws in place as long as the specification is the same to the letter, so whatever changes from
frame to frame is data, and titles and domains hold still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
import streamlit as st

from lib.live.run import Snapshot
from lib.measure.timing import Record
from lib.ui.style import PHASES, SERIES, TEST, TRAIN, duration

FONT = {"labelFontSize": 15, "titleFontSize": 16}
AXIS_TITLES = {"step": "step", "seconds": "seconds of computing", "examples": "examples seen"}

Spec = dict[str, Any]


def build(chart: Any, height: int, title: str) -> Spec:
    """The specification of a chart, with type that reads from afar."""
    return (
        chart.properties(height=height, title=title)
        .configure_axis(**FONT, labelLimit=320)
        .configure_legend(**FONT, orient="top", labelLimit=320, columns=4, padding=0, offset=4)
        .configure_title(fontSize=18, anchor="start")
        .to_dict()
    )


def show(spec: Spec, alt_text: str, **datasets: Any) -> None:
    """Draws a specification with its data: Arrow tables, or columns by name."""
    tables = {name: data if isinstance(data, pa.Table) else pa.table(data) for name, data in datasets.items()}
    st.vega_lite_chart(spec={**spec, "datasets": tables}, width="stretch", alt=alt_text)


def nothing_yet(title: str, height: int) -> None:
    """Holds the place of a chart that has nothing to show before the first step."""
    with st.container(height=height, border=False):
        st.markdown(f"**{title}**")
        st.caption("Press Run, and it is drawn here.")


def named(name: str) -> alt.NamedData:
    """A reference to data that `show` brings."""
    return alt.NamedData(name)


def repeated(values: Sequence[str], counts: Sequence[int]) -> pa.DictionaryArray:
    """A column of words, each some number of times: a byte a row."""
    codes = np.repeat(np.arange(len(values), dtype=np.int8), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(values)))


def words(values: Any) -> pa.DictionaryArray:
    """A column of few different words: a byte a row."""
    return pa.array([str(value) for value in values], pa.dictionary(pa.int8(), pa.string()))


# Loss.


@cache
def lines_spec(
    title: str,
    x_title: str,
    y_title: str,
    log: bool,
    domain: tuple[str, ...],
    colors: tuple[str, ...],
    height: int = 360,
) -> Spec:
    """Lines of `y` against `x`, one for each `series`; `domain` orders and `colors` colours them."""
    y_scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    chart = (
        alt.Chart(named("lines"))
        .mark_line(strokeWidth=2.5, interpolate="linear", clip=True)
        .encode(
            alt.X("x:Q", title=x_title, scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(format="~s", tickCount=6)),
            alt.Y("y:Q", title=y_title, scale=y_scale, axis=alt.Axis(tickCount=6)),
            alt.Color(
                "series:N", title=None, scale=alt.Scale(domain=list(domain), range=list(colors)),
                legend=alt.Legend() if len(domain) > 1 else None,
            ),
        )
    )  # fmt: skip
    return build(chart, height, title)


def lines(series: Mapping[str, tuple[np.ndarray, np.ndarray]], log: bool = False) -> dict[str, Any]:
    """The data of `lines_spec`: x and y of each series. A logarithm has no place for zeros: left out."""
    kept = {}
    for name, (x, y) in series.items():
        mask = y > 0 if log else np.ones(len(y), bool)
        kept[name] = (np.asarray(x)[mask].astype(np.float32), np.asarray(y)[mask].astype(np.float32))
    columns = list(kept.values()) or [(np.empty(0, np.float32),) * 2]
    return {
        "x": np.concatenate([x for x, _ in columns]),
        "y": np.concatenate([y for _, y in columns]),
        "series": repeated(list(kept) or [""], [len(x) for x, _ in columns]),
    }


@cache
def fan_spec(title: str, x_title: str, y_title: str, curves: int, log: bool, reference: str, height: int = 360) -> Spec:
    """The losses of many models: a band from the lowest to the highest, thin curves, a thick mean.

    Args:
        curves: columns `c0`, `c1`, ... of the data; with none there is one model, and no band.
        reference: what a horizontal line at the data's `reference` stands for, or empty.
    """
    x = alt.X("x:Q", title=x_title, scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(format="~s", tickCount=6))
    y_scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    y_axis = alt.Axis(tickCount=6)
    base = alt.Chart(named("fan"))
    layers = [
        base.mark_line(strokeWidth=3, color=TRAIN, clip=True).encode(
            x, alt.Y("loss:Q", title=y_title, scale=y_scale, axis=y_axis)
        )
    ]
    if curves:
        layers = [
            base.mark_area(opacity=0.15, color=TRAIN, clip=True).encode(
                x, alt.Y("lowest:Q", title=y_title, scale=y_scale, axis=y_axis), alt.Y2("highest:Q")
            ),
            base.transform_fold([f"c{i}" for i in range(curves)], as_=["model", "value"])
            .mark_line(strokeWidth=1, opacity=0.55, color=SERIES[4], clip=True)
            .encode(x, alt.Y("value:Q", title=y_title, scale=y_scale), alt.Detail("model:N")),
            *layers,
        ]
    if reference:
        layers.append(
            alt.Chart(named("reference")).mark_rule(strokeDash=[6, 4], strokeWidth=2, color=SERIES[2])
            .encode(alt.Y("reference:Q", title=y_title, scale=y_scale))
        )  # fmt: skip
    return build(alt.layer(*layers), height, title)


def fan(
    title: str,
    y_title: str,
    snapshot: Snapshot,
    log: bool,
    reference: tuple[str, float] | None = None,
    height: int = 360,
) -> None:
    """Shows the history of a run whose series are `loss` and, where there are many models, `lowest`, `highest` and
    `each 0`, `each 1`, ...

    Args:
        reference: a name and a value to draw as a horizontal line.
    """
    if not len(snapshot.values):
        nothing_yet(title, height)
        return
    floor = np.float32(1e-12 if log else -np.inf)
    column = {name: np.maximum(values, floor) for name, values in zip(snapshot.series, snapshot.values.T, strict=False)}
    curves = [name for name in column if name.startswith("each ")]
    data = {"x": snapshot.coordinates[:, 0].astype(np.float32)}
    data |= {name: column[name] for name in ("loss", "lowest", "highest") if name in column}
    data |= {f"c{i}": column[name] for i, name in enumerate(curves)}
    spec = fan_spec(title, "step", y_title, len(curves), log, reference[0] if reference else "", height)
    datasets = {"reference": {"reference": [reference[1]]}} if reference else {}
    show(spec, f"{title}, against the step", fan=data, **datasets)


# Functions.


@lru_cache(maxsize=64)
def curve_spec(title: str, x: str = "x", height: int = 420) -> Spec:
    """A function of one variable, called `x`, with two derivatives (columns `f`, `df`, `d2f`), and a point on it."""
    names = {"f": "f", "df": "f '", "d2f": "f ''"}
    label = " : ".join(f'datum.label == "{column}" ? "{text}"' for column, text in names.items()) + ' : ""'
    lines = (
        alt.Chart(named("curve"))
        .transform_fold(list(names), as_=["function", "value"])
        .mark_line(strokeWidth=2.5, clip=True)
        .encode(
            alt.X("x:Q", title=x, scale=alt.Scale(nice=False)),
            alt.Y("value:Q", title="value"),
            alt.Color(
                "function:N", title=None, scale=alt.Scale(domain=list(names), range=SERIES[:3]),
                legend=alt.Legend(labelExpr=label),
            ),
        )
    )  # fmt: skip
    point = alt.Chart(named("point")).mark_point(size=160, filled=True, color=TEST, opacity=1).encode(x="x:Q", y="y:Q")
    return build(alt.layer(lines, point), height, title)


@lru_cache(maxsize=64)
def descent_spec(title: str, low: float, high: float, height: int = 360, name: str = "x") -> Spec:
    """Points on the curve of a function of one variable of that name."""
    x = alt.X("x:Q", title=name, scale=alt.Scale(domain=[low, high], nice=False))
    y = alt.Y("f:Q", title=f"f({name})")
    line = alt.Chart(named("curve")).mark_line(strokeWidth=2.5, color=SERIES[0]).encode(x, y)
    points = (
        alt.Chart(named("points"))
        .mark_point(size=110, filled=True, color=TEST, opacity=0.75, clip=True)
        .encode(x, alt.Y("f:Q"))
    )
    return build(alt.layer(line, points), height, title)


def _cells(name: str, value: str, cells: int, x: tuple[float, float], y: tuple[float, float], **mark: Any) -> alt.Chart:
    """A grid of rectangles from one column of numbers: the row number says where each belongs."""
    dx, dy = (x[1] - x[0]) / cells, (y[1] - y[0]) / cells
    return (
        alt.Chart(named(name))
        .transform_window(n="row_number()")
        .transform_calculate(
            x=f"{x[0]} + ((datum.n - 1) % {cells}) * {dx}",
            y=f"{y[0]} + floor((datum.n - 1) / {cells}) * {dy}",
            x2=f"datum.x + {1.1 * dx}", y2=f"datum.y + {1.1 * dy}",  # no seams
        )
        .mark_rect(clip=True, strokeWidth=0, **mark)
        .encode(
            alt.X("x:Q", scale=alt.Scale(domain=list(x), nice=False)), alt.X2("x2:Q"),
            alt.Y("y:Q", scale=alt.Scale(domain=list(y), nice=False)), alt.Y2("y2:Q"),
            color=value,
        )
    )  # fmt: skip


@lru_cache(maxsize=64)
def contour_spec(
    title: str, cells: int, low: float, high: float, height: int = 460, names: tuple[str, ...] = ("x", "y")
) -> Spec:
    """Points on the bands of a function of two variables of these names; `level` counts from 0, the lowest, to 1."""
    color = alt.Color(
        "level:Q", title="f, low to high, in bands of equal area", legend=None,
        scale=alt.Scale(domain=[0, 13], scheme="viridis"),
    )  # fmt: skip
    bands = _cells("bands", color, cells, (low, high), (low, high))  # type: ignore[arg-type]
    points = (
        alt.Chart(named("points"))
        .mark_point(size=90, filled=True, color="white", stroke="black", strokeWidth=1.2, opacity=0.95, clip=True)
        .encode(alt.X("x:Q", title=names[0]), alt.Y("y:Q", title=names[1]))
    )
    return build(alt.layer(bands, points), height, title)


def bands(values: np.ndarray, count: int = 14) -> dict[str, Any]:
    """The data of `contour_spec`: which of `count` bands of equal area each cell belongs to; none if it is not finite."""
    cells = values.ravel()
    finite = np.isfinite(cells)
    edges = np.quantile(cells[finite], np.linspace(0, 1, count + 1)[1:-1]) if finite.any() else []
    return {"level": pa.array(np.searchsorted(edges, cells).astype(np.uint8), mask=~finite)}


# Timings.


@cache
def timings_spec(title: str, rows: tuple[str, ...], height: int | None = None) -> Spec:
    """Durations as dots on a logarithmic axis, with their spread and their number beside them.

    A bar would need a zero, which a logarithm does not have.
    """
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
    return build(alt.layer(spread, dots, text), height or 42 * len(rows) + 110, title)


def timings(title: str, records: Sequence[Record]) -> None:
    """Shows records one below the other."""
    columns = {
        "label": [record.label for record in records], "phase": [record.phase for record in records],
        "ms": [record.median_ms for record in records], "low": [record.low_ms for record in records],
        "high": [record.high_ms for record in records], "text": [duration(record.median_ms) for record in records],
    }  # fmt: skip
    described = "; ".join(f"{record.label}: {duration(record.median_ms)}" for record in records)
    rows = tuple(dict.fromkeys(record.label for record in records))
    show(timings_spec(title, rows), f"{title}. {described}.", timings=columns)


@cache
def sweep_spec(title: str, variants: tuple[str, ...], x_title: str, height: int = 500, columns: int = 3) -> Spec:
    """Time against size, both logarithmic, one line a variant, with quartiles."""
    scale = alt.Scale(domain=list(variants), range=SERIES[: len(variants)])
    base = alt.Chart(named("sweep"))
    x = alt.X("size:Q", title=x_title, scale=alt.Scale(type="log", base=2), axis=alt.Axis(format=","))
    y = alt.Y("median_ms:Q", title="milliseconds", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=6))
    color = alt.Color("variant:N", title=None, scale=scale, legend=alt.Legend(columns=columns, symbolOpacity=1))
    shape = alt.Shape("variant:N", title=None, scale=alt.Scale(domain=list(variants)))
    line = base.mark_line(strokeWidth=2.5).encode(x, y, color)
    dots = base.mark_point(size=90, filled=True, opacity=1).encode(x, y, color, shape)
    spread = base.mark_rule(strokeWidth=4, opacity=0.35).encode(
        x, alt.Y("low_ms:Q", title="milliseconds"), color, y2="high_ms:Q"
    )
    return build(alt.layer(spread, line, dots), height, title)


def swept(records: Sequence[Record]) -> dict[str, Any]:
    """The data of `sweep_spec` and `bars_spec`."""
    return {
        "size": [record.size for record in records], "variant": [record.label for record in records],
        "median_ms": [record.median_ms for record in records], "low_ms": [record.low_ms for record in records],
        "high_ms": [record.high_ms for record in records], "text": [duration(record.median_ms) for record in records],
    }  # fmt: skip


@cache
def bars_spec(title: str, variants: tuple[str, ...], x_title: str, height: int = 420) -> Spec:
    """A bar a variant, side by side at each size, with its duration as text: from zero, so that lengths compare."""
    color = alt.Color("variant:N", title=None, scale=alt.Scale(domain=list(variants), range=SERIES[: len(variants)]))
    base = alt.Chart(named("bars")).encode(
        alt.X("size:O", title=x_title, axis=alt.Axis(labelAngle=0)),
        alt.Y("median_ms:Q", title="milliseconds", axis=alt.Axis(tickCount=6)),
        alt.XOffset("variant:N", scale=alt.Scale(domain=list(variants))),
    )
    text = base.mark_text(baseline="bottom", dy=-3, fontSize=15).encode(color, text="text:N")
    return build(alt.layer(base.mark_bar().encode(color), text), height, title)


@cache
def histogram_spec(title: str, x_title: str, y_title: str, height: int = 340) -> Spec:
    """Bars between `low` and `high` of height `count`."""
    chart = (
        alt.Chart(named("bins"))
        .mark_bar(color=TRAIN, opacity=0.85)
        .encode(
            alt.X("low:Q", bin="binned", title=x_title), alt.X2("high:Q"),
            alt.Y("count:Q", title=y_title, axis=alt.Axis(tickMinStep=1)),
        )
    )  # fmt: skip
    return build(chart, height, title)


def histogram(title: str, x_title: str, y_title: str, values: np.ndarray, bins: int = 24) -> None:
    """Shows how often values occur."""
    count, edges = np.histogram(values, bins=min(bins, max(1, len(values))))
    spec = histogram_spec(title, x_title, y_title)
    show(spec, title, bins={"low": edges[:-1], "high": edges[1:], "count": count})


@cache
def weights_spec(title: str, names: tuple[str, ...], height: int) -> Spec:
    """A dot for each number and a bar where it should be."""
    x = alt.X("name:N", title=None, sort=list(names), axis=alt.Axis(labelAngle=0))
    y = alt.Y("value:Q", title="weight", scale=alt.Scale(domain=[-4, 4]))
    base = alt.Chart(named("weights"))
    bars = base.mark_tick(thickness=4, size=60, color=SERIES[2], clip=True).encode(
        x, alt.Y("optimum:Q", title="weight")
    )
    dots = base.mark_point(size=200, filled=True, color=TRAIN, opacity=1, clip=True).encode(x, y)
    return build(alt.layer(bars, dots), height, title)


def weights(title: str, values: np.ndarray, optimum: np.ndarray, height: int = 360) -> None:
    """Shows weights beside those they should come to."""
    names = tuple(f"w{i}" for i in range(len(values)))
    columns = {"name": list(names), "value": values, "optimum": optimum}
    show(weights_spec(title, names, height), title, weights=columns)


# Pictures of a network.


@cache
def surface_spec(
    title: str,
    cells: int,
    x: tuple[float, float],
    y: tuple[float, float],
    names: tuple[str, ...],
    classes: int,
    height: int = 420,
) -> Spec:
    """What the network says at each place, and the training examples on it."""
    if classes == 2:
        color = alt.Color(
            "p:Q", title=f"probability of class {names[3]}" if len(names) > 3 else "probability of class 1",
            scale=alt.Scale(domain=[0, 127.5, 255], range=["#ECB740", "#FFFFFF", "#57A6D7"]), legend=None,
        )  # fmt: skip
    else:
        color = alt.Color("p:Q", scale=alt.Scale(domain=list(range(classes)), range=_palette(classes)), legend=None)
    grid = _cells("grid", color, cells, x, y)  # type: ignore[arg-type]
    points = (
        alt.Chart(named("points"))
        .mark_point(size=48, filled=True, opacity=1, stroke="black", strokeWidth=0.8, clip=True)
        .encode(
            alt.X("x:Q", title=names[0]), alt.Y("y:Q", title=names[1]),
            alt.Fill("label:N", title=names[2], scale=alt.Scale(range=_palette(classes))),
            alt.Shape("label:N", legend=None),
        )
    )  # fmt: skip
    return build(alt.layer(grid, points).resolve_scale(color="independent", fill="independent"), height, title)


def _palette(classes: int) -> list[str]:
    if classes == 2:
        return ["#E69F00", "#1F88C9"]
    return [SERIES[i % len(SERIES)] for i in range(classes)]


@cache
def fit_spec(title: str, x: tuple[float, float], names: tuple[str, str], height: int = 420) -> Spec:
    """A curve through points."""
    x_axis = alt.X("x:Q", title=names[0], scale=alt.Scale(domain=list(x), nice=False))
    points = (
        alt.Chart(named("points")).mark_point(size=50, filled=True, opacity=0.6)
        .encode(x_axis, alt.Y("y:Q", title=names[1]), alt.Color(
            "part:N", title=None, scale=alt.Scale(domain=["train", "test"], range=[TRAIN, TEST])))
    )  # fmt: skip
    curve = alt.Chart(named("curve")).mark_line(strokeWidth=3, color=SERIES[2]).encode(x_axis, alt.Y("y:Q"))
    return build(alt.layer(points, curve), height, title)


@cache
def fits_spec(title: str, curves: int, height: int) -> Spec:
    """Many models' curves (columns `c0`, `c1`, ...) and the `target`, against `x`."""
    base = alt.Chart(named("fits"))
    x = alt.X("x:Q", title="x", scale=alt.Scale(nice=False))
    y = alt.Y("value:Q", title="y", scale=alt.Scale(domain=[-2, 2]))
    models = (
        base.transform_fold([f"c{i}" for i in range(max(1, curves))], as_=["model", "value"])
        .mark_line(strokeWidth=1.5, opacity=0.5, color=TRAIN, clip=True)
        .encode(x, y, alt.Detail("model:N"))
    )
    target = base.mark_line(strokeWidth=3, strokeDash=[8, 5], color=TEST).encode(x, alt.Y("target:Q", title="y"))
    return build(alt.layer(models, target), height, title)


def fits(title: str, x: np.ndarray, target: np.ndarray, preds: np.ndarray, height: int = 420) -> None:
    """Shows the predictions of some models, float32[models, examples], and what they are to predict."""
    columns = {f"c{i}": pred for i, pred in enumerate(preds) if len(pred)}
    show(fits_spec(title, len(columns), height), title, fits={"x": x, "target": target, **columns})


@cache
def scatter_spec(title: str, name: str, height: int = 420) -> Spec:
    """Predictions against targets: on the diagonal is right."""
    points = (
        alt.Chart(named("points")).mark_point(size=50, filled=True, opacity=0.6, color=TEST)
        .encode(alt.X("target:Q", title=f"{name}, standardised"), alt.Y("pred:Q", title="prediction"))
    )  # fmt: skip
    diagonal = (
        alt.Chart(named("points")).mark_line(strokeDash=[6, 4], color=SERIES[7]).encode(x="target:Q", y="target:Q")
    )
    return build(alt.layer(diagonal, points), height, title)


@cache
def confusion_spec(title: str, labels: tuple[str, ...], height: int = 420) -> Spec:
    """How many test examples of each class were taken for which."""
    x = alt.X(
        "pred:N",
        title="prediction",
        sort=list(labels),
        scale=alt.Scale(domain=list(labels)),
        axis=alt.Axis(labelAngle=0),
    )
    y = alt.Y("target:N", title="class", sort=list(labels), scale=alt.Scale(domain=list(labels)))
    base = alt.Chart(named("counts"))
    cells = base.mark_rect().encode(x, y, alt.Color("count:Q", title="test examples", scale=alt.Scale(scheme="blues")))
    text = base.mark_text(fontSize=15).encode(x, y, text="count:Q", color=alt.value("black"))
    return build(alt.layer(cells, text), height, title)


@cache
def digits_spec(title: str, shown: int, columns: int = 8, height: int = 420) -> Spec:
    """Images of 8 x 8 pixels from one column of numbers, each with what the network takes it for."""
    side = 10.0
    rows = -(-shown // columns)
    pixels = (
        alt.Chart(named("pixels"))
        .transform_window(n="row_number()")
        .transform_calculate(image="floor((datum.n - 1) / 64)", pixel="(datum.n - 1) % 64")
        .transform_calculate(
            x=f"(datum.image % {columns}) * {side} + datum.pixel % 8",
            y=f"floor(datum.image / {columns}) * {side + 3} + floor(datum.pixel / 8)",
        )
        .transform_calculate(x2="datum.x + 1", y2="datum.y + 1")
        .mark_rect(strokeWidth=0)
        .encode(
            alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-1, columns * side - 1], nice=False)), alt.X2("x2:Q"),
            alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[rows * (side + 3) - 1, -1], nice=False)), alt.Y2("y2:Q"),
            alt.Color("ink:Q", scale=alt.Scale(domain=[0, 16], range=["#FFFFFF", "#000000"]), legend=None),
        )
    )  # fmt: skip
    text = (
        alt.Chart(named("labels"))
        .mark_text(fontSize=20, fontWeight="bold", baseline="top")
        .encode(
            alt.X("x:Q"), alt.Y("y:Q"), text="label:N",
            color=alt.Color("verdict:N", title=None, scale=alt.Scale(domain=["right", "wrong"], range=[SERIES[2], TEST])),
        )
    )  # fmt: skip
    return build(alt.layer(pixels, text).resolve_scale(color="independent"), height, title)


# Compilation.


@cache
def gantt_spec(title: str, rows: tuple[str, ...], names: tuple[str, ...], colors: tuple[str, ...], height: int) -> Spec:
    """Bars from `start_ms` to `end_ms`, one row for each `row`, coloured by `name`, with `text` behind them.

    The outline keeps visible what is too short for a pixel.
    """
    base = alt.Chart(named("bars"))
    y = alt.Y("row:N", title=None, sort=list(rows), scale=alt.Scale(domain=list(rows)), axis=alt.Axis(labelLimit=260))
    x = alt.X("start_ms:Q", title="milliseconds", axis=alt.Axis(tickCount=6))
    scale = alt.Scale(domain=list(names), range=list(colors))
    legend = alt.Legend(columns=2) if set(rows) != set(names) else None
    color = alt.Color("name:N", title=None, scale=scale, legend=legend)
    bars = base.mark_bar(strokeWidth=3, height={"band": 0.6}).encode(
        x, y, color, alt.Stroke("name:N", title=None, scale=scale, legend=legend), x2="end_ms:Q"
    )
    text = base.mark_text(align="left", dx=8, fontSize=16).encode(alt.X("end_ms:Q"), y, color, text="text:N")
    room = (
        base.transform_joinaggregate(last="max(end_ms)")
        .transform_calculate(room="1.3 * datum.last")
        .mark_point(opacity=0)
        .encode(alt.X("room:Q"))
    )
    return build(alt.layer(bars, text, room), height, title)


@cache
def calls_spec(title: str, height: int = 340) -> Spec:
    """The `ms` of call after call, on a logarithmic axis; `outcome` is one of `CALLS`."""
    scale = alt.Scale(domain=list(CALLS), range=[PHASES["compile"], PHASES["steady"]])
    chart = (
        alt.Chart(named("calls"))
        .mark_point(size=190, filled=True, opacity=1)
        .encode(
            alt.X("number:Q", title="call", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(zero=False)),
            alt.Y("ms:Q", title="milliseconds (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=6, format="~g")),
            alt.Color("outcome:N", title=None, scale=scale),
            alt.Shape("outcome:N", title=None, scale=alt.Scale(domain=list(CALLS), range=["diamond", "circle"])),
        )
    )  # fmt: skip
    return build(chart, height, title)


CALLS = ("compiled", "found")
"""What may become of a call of a jitted function."""


@cache
def roofline_spec(title: str, names: tuple[str, ...], height: int = 480) -> Spec:
    """Speed against arithmetic intensity, both logarithmic: the `roof` and one point a routine."""
    x = alt.X(
        "intensity:Q", title="flops a byte moved (log scale)", scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~g", tickCount=6),
    )  # fmt: skip
    y = alt.Y("gflops_per_s:Q", title="GFLOP/s (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=6))  # fmt: skip
    roof = alt.Chart(named("roof")).mark_line(strokeWidth=4, color=SERIES[7]).encode(x, y)
    words = (
        alt.Chart(named("roof")).mark_text(align="right", dy=-14, fontSize=16, color=SERIES[7])
        .encode(x, y, text="text:N")
    )  # fmt: skip
    points = (
        alt.Chart(named("routines"))
        .mark_point(size=260, filled=True, opacity=1)
        .encode(
            x, y,
            alt.Color("label:N", title=None, scale=alt.Scale(domain=list(names), range=SERIES[: len(names)]), legend=alt.Legend(columns=2)),
            alt.Shape("label:N", title=None, scale=alt.Scale(domain=list(names))),
        )
    )  # fmt: skip
    return build(alt.layer(roof, words, points), height, title)
