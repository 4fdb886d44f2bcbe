"""The charts of functions of one and two variables, and of points on them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from lib.lessons.jit_grad.functions import ScalarFunction
from lib.lessons.jit_grad.routine import GRID
from lib.ui import charts
from lib.ui.style import SERIES, TEST

BANDS = 14


@lru_cache(maxsize=64)
def _curve_spec(title: str, x: str) -> charts.Spec:
    """A function of one variable, called `x`, with two derivatives (columns `f`, `df`, `d2f`), and a point on it."""
    names = {"f": "f", "df": "f '", "d2f": "f ''"}
    label = " : ".join(f'datum.label == "{column}" ? "{text}"' for column, text in names.items()) + ' : ""'
    lines = (
        alt.Chart(charts.named("curve"))
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
    point = (
        alt.Chart(charts.named("point"))
        .mark_point(size=160, filled=True, color=TEST, opacity=1)
        .encode(x="x:Q", y="y:Q")
    )
    return charts.build(alt.layer(lines, point), 420, title)


def curve(title: str, function: ScalarFunction, shape: dict[str, np.ndarray], x: float) -> charts.Chart:
    """A function of one variable with two derivatives, and the point on it at `x`."""
    return charts.chart(
        _curve_spec(f"{title}: the function and its derivatives", function.variables[0]),
        f"{title} with its first and second derivative", curve=_finite(shape),
        point={"x": [x], "y": [np.interp(x, shape["x"], shape["f"])]},
    )  # fmt: skip


def _finite(shape: dict[str, np.ndarray] | None) -> dict[str, Any]:
    """A curve without what has no place in a chart."""
    return {"x": [], "f": []} if shape is None else {n: np.where(np.isfinite(v), v, np.nan) for n, v in shape.items()}


@lru_cache(maxsize=64)
def _descent_spec(title: str, low: float, high: float, name: str) -> charts.Spec:
    """Points on the curve of a function of one variable of that name."""
    x = alt.X("x:Q", title=name, scale=alt.Scale(domain=[low, high], nice=False))
    y = alt.Y("f:Q", title=f"f({name})")
    line = alt.Chart(charts.named("curve")).mark_line(strokeWidth=2.5, color=SERIES[0]).encode(x, y)
    points = (
        alt.Chart(charts.named("points"))
        .mark_point(size=110, filled=True, color=TEST, opacity=0.75, clip=True)
        .encode(x, alt.Y("f:Q"))
    )
    return charts.build(alt.layer(line, points), 440, title)


def descent(
    title: str,
    function: ScalarFunction,
    shape: dict[str, np.ndarray] | None,
    x: np.ndarray,
    f: np.ndarray,
    width: float,
) -> charts.Chart:
    """Points on the curve of a function of one variable, or as long as there is none (None) by themselves."""
    spec = _descent_spec(title, *function.domain, function.variables[0])
    return charts.chart(spec, f"{title} of f", width, curve=_finite(shape), points={"x": x, "f": f})


@lru_cache(maxsize=64)
def _contour_spec(title: str, cells: int, low: float, high: float, height: int, names: tuple[str, ...]) -> charts.Spec:
    """Points on the bands of a function of two variables of these names; `level` counts from 0, the lowest, to 1."""
    color = alt.Color(
        "level:Q", title="f, low to high, in bands of equal area", legend=None,
        scale=alt.Scale(domain=[0, BANDS - 1], scheme="viridis"),
    )  # fmt: skip
    bands = charts.grid("bands", color, cells, (low, high), (low, high))
    points = (
        alt.Chart(charts.named("points"))
        .mark_point(size=90, filled=True, color="white", stroke="black", strokeWidth=1.2, opacity=0.95, clip=True)
        .encode(alt.X("x:Q", title=names[0]), alt.Y("y:Q", title=names[1]))
    )
    return charts.build(alt.layer(bands, points), height, title)


def contours(
    title: str, function: ScalarFunction, values: np.ndarray | None, points: np.ndarray, height: int, width: float = 1.0
) -> charts.Chart:
    """Points, float[points, 2], on the contours of a function of two variables, or as long as there are none (None) by
    themselves."""
    spec = _contour_spec(title, GRID, *function.domain, height, function.variables)
    bands = {"level": []} if values is None else _bands(values)
    return charts.chart(spec, title, width, bands=bands, points={"x": points[:, 0], "y": points[:, 1]})


def _bands(values: np.ndarray) -> dict[str, Any]:
    """Which of the bands of equal area each cell belongs to; none if it is not finite."""
    cells = values.ravel()
    finite = np.isfinite(cells)
    edges = np.quantile(cells[finite], np.linspace(0, 1, BANDS + 1)[1:-1]) if finite.any() else []
    return {"level": pa.array(np.searchsorted(edges, cells).astype(np.uint8), mask=~finite)}
