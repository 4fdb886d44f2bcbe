"""The charts of functions of one and two variables, and of points that descend on them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.jit_grad.functions import FUNCTIONS, Name, ScalarFunction, Sides, formulas, function_of
from lib.lessons.jit_grad.routine import DRAWN, LEVELS
from lib.measure.timing import Record, duration, pays_from, times_as_fast
from lib.ui import charts
from lib.ui.style import SERIES, TEST, TRAIN

LOW, HIGH = TRAIN, SERIES[7]
"""Colours of contour lines: of the lowest and of the highest."""
REACH = 0.07
"""Length of a tangent to either side, and of an arrow, as a part of the picture."""
UNITS = 16000
"""Whole numbers for half a domain: two bytes a coordinate, since a frame has to stay below 10 kB."""
FLAT = 1e-3
"""No arrow where the gradient is so small a part of what it usually is: it has no direction to speak of."""


@lru_cache(maxsize=64)
def _curve_spec(title: str, x: str, height: int) -> charts.Spec:
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
    return charts.build(alt.layer(lines, point), height, title)


def curve(
    title: str, function: ScalarFunction, shape: dict[str, np.ndarray], x: float, y: float, height: int = 420
) -> charts.Chart:
    """A function of one variable with two derivatives, and the point on it at `x`, where its value is `y`."""
    return charts.chart(
        _curve_spec(title, function.variables[0], height), f"{title}, and the point at {x:g}",
        curve=_drawn(shape), point={"x": [x], "y": [y]},
    )  # fmt: skip


def _drawn(shape: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A curve as it can be drawn: nothing where it is not finite, and no line across a jump or a pole."""
    finite = {name: np.where(np.isfinite(values), values, np.nan) for name, values in shape.items()}
    jumps = {
        "f": _jumps(finite["x"], finite["f"], finite["df"]),
        "df": _jumps(finite["x"], finite["df"], finite["d2f"]),
    }
    places = np.flatnonzero(jumps["f"] | jumps["df"])
    drawn = {}
    for name, values in finite.items():
        between = (values[:-1] + values[1:]) / 2
        between[jumps.get(name, False)] = np.nan
        drawn[name] = np.insert(values, places + 1, between[places]).astype(np.float32)
    return drawn


def _jumps(x: np.ndarray, f: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Between which samples a curve rises in another way than its slopes say, as it does at a jump or a pole."""
    if not np.isfinite(f).any():
        return np.zeros(len(x) - 1, bool)
    with np.errstate(invalid="ignore", over="ignore"):
        rise = (slope[:-1] + slope[1:]) / 2 * np.diff(x)
        return np.abs(np.diff(f) - rise) > np.abs(rise) + 0.01 * (np.nanmax(f) - np.nanmin(f))


# The points of a run. Lines keep the order of their rows: a window counts them.


def _in_order(chart: alt.Chart, **calculated: str) -> alt.Chart:
    """A chart whose rows have a number `n`, from 0, and what is calculated of it."""
    counted = chart.transform_window(row="row_number()").transform_calculate(n="datum.row - 1")
    return counted.transform_calculate(**calculated) if calculated else counted


def _ways(points: int, x: alt.X, y: alt.Y) -> alt.Chart:
    """The ways of as many points: rows `x`, `y`, place after place, at each all points."""
    return (
        _in_order(alt.Chart(charts.named("ways")), point=f"datum.n % {points}")
        .mark_line(strokeWidth=1.5, opacity=0.6, color=TEST, clip=True, point=alt.OverlayMarkDef(size=12, color=TEST))
        .encode(x, y, alt.Detail("point:N"), alt.Order("n:Q"))
    )


@lru_cache(maxsize=64)
def _descent_spec(title: str, low: float, high: float, name: str, points: int, height: int) -> charts.Spec:
    x = alt.X("x:Q", title=name, scale=alt.Scale(domain=[low, high], nice=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("f:Q", title=f"f({name})", axis=alt.Axis(tickCount=5))
    line = _in_order(alt.Chart(charts.named("curve"))).mark_line(strokeWidth=2.5, color=TRAIN)
    tangents = alt.Chart(charts.named("points")).mark_rule(strokeWidth=2.5, opacity=0.9, color=SERIES[2], clip=True)
    dots = alt.Chart(charts.named("points")).mark_point(size=70, filled=True, color=TEST, opacity=0.85, clip=True)
    layers = [
        line.encode(x, y, alt.Order("n:Q")),
        _ways(points, x, alt.Y("f:Q")),
        tangents.encode(alt.X("x1:Q"), alt.Y("f1:Q"), alt.X2("x2:Q"), alt.Y2("f2:Q")),
        dots.encode(x, alt.Y("f:Q")),
    ]
    return charts.build(alt.layer(*layers), height, title)


def descent(
    function: ScalarFunction,
    shape: dict[str, np.ndarray] | None,
    picture: dict[str, np.ndarray] | None,
    points: int,
    height: int = 360,
    width: float = 1.0,
) -> charts.Chart:
    """Points on the curve of a function of one variable, their tangents, and the ways they have come.

    Args:
        shape: the curve; None as long as there is none: then there is nothing to see.
        picture: what `Descent.observe` says; None before the first step.
        points: how many ways there are.
    """
    title = f"Up to {DRAWN} points: tangents and ways"
    spec = _descent_spec(title, *function.domain, function.variables[0], points, height)
    drawn = {"x": np.empty(0), "f": np.empty(0)} if shape is None else _drawn(shape)
    curve = {name: drawn[name] for name in ("x", "f")}
    if shape is None or picture is None or not np.isfinite(shape["f"]).any():
        nothing = {name: np.empty(0, np.float32) for name in ("x", "f", "x1", "f1", "x2", "f2")}
        return charts.chart(spec, title, width, curve=curve, points=nothing, ways={"x": [], "f": []})
    low, high = np.nanmin(drawn["f"]), np.nanmax(drawn["f"])
    low -= 0.02 * (high - low)  # the lowest point lies between two samples of the curve
    x, f, slope = picture["points"][:, 0], picture["values"], picture["grads"][:, 0]

    def inside(values: np.ndarray) -> np.ndarray:
        """Nothing for what has left the picture: one axis holds from the first frame to the last."""
        return np.where((low <= values) & (values <= high), values, np.nan).astype(np.float32)

    across, up = function.domain[1] - function.domain[0], max(float(high - low), 1e-30)
    with np.errstate(all="ignore"):
        reach = REACH * across / np.sqrt(1 + (slope * across / up) ** 2)  # of equal length on the screen
        room = (
            np.where(slope > 0, (f - low) / slope, (f - high) / slope),
            np.where(slope > 0, high - f, low - f) / slope,
        )
        left, right = (np.fmin(reach, np.where(slope == 0, np.inf, side)) for side in room)
        ends = {"x1": x - left, "f1": f - left * slope, "x2": x + right, "f2": f + right * slope}
    return charts.chart(
        spec, title, width, curve=curve,
        points={"x": x, "f": inside(f)} | {n: np.where(np.isfinite(inside(f)), v, np.nan).astype(np.float32) for n, v in ends.items()},
        ways={"x": picture["way"][..., 0].ravel(), "f": inside(picture["heights"].ravel())},
    )  # fmt: skip


def _whole(values: np.ndarray, domain: tuple[float, float]) -> np.ndarray:
    """Coordinates in whole numbers, 0 in the middle of the domain; none for what is not finite or far outside."""
    middle, half = sum(domain) / 2, (domain[1] - domain[0]) / 2
    with np.errstate(all="ignore"):
        scaled = np.where(np.abs(values - middle) < 1.9 * half, (values - middle) / half * UNITS, np.nan)
    return np.nan_to_num(np.round(scaled), nan=-32768).astype(np.int16)


@lru_cache(maxsize=64)
def _contour_spec(
    title: str, domain: tuple[float, float], names: tuple[str, ...], points: int, height: int
) -> charts.Spec:
    middle, half = sum(domain) / 2, (domain[1] - domain[0]) / 2

    def place(column: str) -> str:
        return f"datum.{column} < -32000 ? null : {middle} + datum.{column} * {half / UNITS}"

    def scale(more: str) -> alt.Scale:
        """As long a unit as on the other axis, whatever shape the chart has."""
        reach = f"{half} * max(1, {more})"
        return alt.Scale(
            domain=[alt.ExprRef(f"{middle} - {reach}"), alt.ExprRef(f"{middle} + {reach}")], nice=False, zero=False
        )

    x = alt.X("px:Q", title=names[0], scale=scale("width / height"), axis=alt.Axis(tickCount=5, grid=False))
    y = alt.Y("py:Q", title=names[1], scale=scale("height / width"), axis=alt.Axis(tickCount=5, grid=False))
    both = {"px": place("x"), "py": place("y")}
    colour = alt.Color("level:Q", scale=alt.Scale(domain=[0, LEVELS - 1], range=[LOW, HIGH]), legend=None)
    lines = (
        _in_order(alt.Chart(charts.named("contours")), **both)
        .mark_line(strokeWidth=1.6, clip=True)
        .encode(x, y, colour, alt.Detail("level:N"), alt.Order("n:Q"))
    )
    ways = _ways(points, x, y).transform_calculate(**both)
    moved = alt.Chart(charts.named("points")).transform_calculate(
        **both, px2=place("x2"), py2=place("y2"),
        angle="atan2(datum.x2 - datum.x, datum.y2 - datum.y) * 180 / PI", long="datum.x2 != datum.x || datum.y2 != datum.y",
    )  # fmt: skip
    arrows = moved.transform_filter("datum.long")
    shafts = arrows.mark_rule(strokeWidth=2, color=SERIES[2], clip=True).encode(x, y, alt.X2("px2:Q"), alt.Y2("py2:Q"))
    heads = arrows.mark_point(shape="triangle", size=70, filled=True, color=SERIES[2], opacity=1, clip=True).encode(
        alt.X("px2:Q"), alt.Y("py2:Q"), angle=alt.Angle("angle:Q", scale=None)
    )
    dots = moved.mark_point(size=60, filled=True, color=TEST, opacity=0.95, clip=True).encode(x, y)
    return charts.build(alt.layer(lines, ways, shafts, heads, dots), height, title)


def contours(
    function: ScalarFunction,
    landscape: dict[str, Any] | None,
    picture: dict[str, np.ndarray] | None,
    points: int,
    height: int = 360,
    width: float = 1.0,
    title: str = f"Up to {DRAWN} points; blue is low",
) -> charts.Chart:
    """Points on the contour lines of a function of two variables, the way each has come, and an arrow against its
    gradient.

    Args:
        landscape: what the routine of that name says; None as long as there is none.
        picture: at least the `points` and `grads` that `Descent.observe` says; None before the first step.
        points: how many ways there are.
    """
    domain = function.domain
    spec = _contour_spec(title, domain, function.variables, points, height)
    lines = landscape or {"x": np.empty(0), "y": np.empty(0), "level": np.empty(0, np.int8)}
    here = picture or {"points": np.empty((0, 2)), "grads": np.empty((0, 2))}
    way = here.get("way", np.empty((0, 2))).reshape(-1, 2)
    size = np.hypot(*here["grads"].T)
    with np.errstate(all="ignore"):
        reach = np.where(size > FLAT * lines.get("slope", 0.0), 2 * REACH * (domain[1] - domain[0]) / 2 / size, 0.0)
    tips = here["points"] - np.nan_to_num(reach[:, None] * here["grads"])
    return charts.chart(
        spec, title, width,
        contours={"x": _whole(lines["x"], domain), "y": _whole(lines["y"], domain), "level": lines["level"]},
        ways={"x": _whole(way[:, 0], domain), "y": _whole(way[:, 1], domain)},
        points={
            "x": _whole(here["points"][:, 0], domain), "y": _whole(here["points"][:, 1], domain),
            "x2": _whole(tips[:, 0], domain), "y2": _whole(tips[:, 1], domain),
        },
    )  # fmt: skip


# The panels.


def slug(name: Name) -> str:
    """What the keys of a function's own widgets begin with."""
    return name.replace(" ", "_") if isinstance(name, str) else f"typed_{name.domain[0]:g}_{name.domain[1]:g}"


def draw_value(name: Name, point: tuple[float, ...], report: dict[str, Any], device: str) -> None:
    """The derivatives at a point in three ways, and where it is, as `value_report` says."""
    shape = report["shape"]
    function = function_of(name)
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        _draw_formulas(name)
        st.markdown(f"At this point **f = {report['f']:.6g}**, computed on {device}.")
        _draw_derivatives(function, report)
    with right:
        if len(point) == 1:
            title = "f and its derivatives, by grad"
            charts.show(curve(title, function, shape, point[0], float(report["f"])))
            finite = all(np.isfinite(values).all() for values in shape.values())
        else:
            here = {"points": np.array([point]), "grads": report["automatic"][None]}
            charts.show(contours(function, shape, here, 1, 420, title="The point; the arrow goes against grad"))
            finite = bool(shape["finite"])
        if not finite:
            st.caption(
                "Where nothing is drawn, f or a derivative of it is infinite or not a number. A point that starts there "
                "ends the run; choose a domain without."
            )


def _draw_formulas(name: Name) -> None:
    """f and its derivatives, as far as they have formulas."""
    if isinstance(name, str):
        st.latex(FUNCTIONS[name].formula)
        return
    found = formulas(name.text, name.variables)
    heads = ["f", *(rf"\frac{{\partial f}}{{\partial {v}}}" for v in name.variables)]
    for head, latex in zip(heads, found, strict=True):
        if latex is not None:
            st.latex(f"{head} = {latex}")
    if None in found:
        st.caption(
            "Where no formula is shown there is none, or it takes too long or too much room: write f shorter. `grad` needs none."
        )


def _draw_derivatives(function: ScalarFunction, report: dict[str, Any]) -> None:
    automatic, closed, central = report["automatic"], report["closed form"], report["central difference"]
    kinks: dict[str, Sides] = report["kinks"]

    def number(value: float, form: str) -> str:
        return "–" if np.isnan(value) else format(value, form)

    st.dataframe(
        {
            "derivative": [f"∂f/∂{v}" for v in function.variables],
            "jit(grad(f))": [f"{x:.7g}" for x in automatic],
            "closed form": [
                "does not exist" if v in kinks else number(x, ".7g")
                for v, x in zip(function.variables, closed, strict=True)
            ],
            "error of grad": [number(x, ".1e") for x in np.abs(automatic - closed)],
            "central difference": [f"{x:.7g}" for x in central],
            "its error": [number(x, ".1e") for x in np.abs(central - closed)],
        },
        hide_index=True,
    )
    for variable, value in zip(function.variables, automatic, strict=True):
        if variable in kinks:
            st.info(kink_in_words(variable, kinks[variable], float(value)))


STEEP = 1e4
"""A one-sided difference over the shortest step that is larger is that of a jump, or of a tangent that is upright."""


def kink_in_words(variable: str, sides: Sides, value: float) -> str:
    """Why there is no derivative at a point, and what `grad` gives there all the same."""
    if not np.isfinite(sides).all():
        why = "f is not finite on both sides of this point"
    elif max(map(abs, sides)) > STEEP:
        why = "f jumps here, or its tangent is upright"
    else:
        why = f"the slope of f is {sides.left:.4g} on the left and {sides.right:.4g} on the right"
    gives = f"{value:.4g} here: a convention of JAX" if np.isfinite(value) else "no number either"
    return f"By {variable} there is no derivative: {why}. `grad` gives {gives}."


def draw_timings(records: list[Record]) -> None:
    """The phases of one gradient, and from which call on compiling pays."""
    charts.show(charts.timings("One gradient, by phases", records))
    by_phase = {record.phase: record for record in records}
    if "eager" not in by_phase:
        return
    st.markdown(pays(by_phase))
    steady = by_phase["steady"]
    st.caption(
        f"Steady: the median of {steady.samples} samples of {steady.calls} calls each, with quartiles. The compiler counts "
        f"{steady.more['flops'] or 0:g} flops and {steady.more['size_bytes'] or 0:g} bytes a call."
    )


def pays(by_phase: dict[str, Record]) -> str:
    """From which call on compiling pays, in a sentence, by the records of all phases."""
    steady, eager = by_phase["steady"], by_phase["eager"]
    compiling = sum(by_phase[phase].median_ms for phase in ("trace", "lower", "compile"))
    took = f"Trace, lower and compile took **{duration(compiling)}**."
    if times_as_fast(steady, eager) is None:
        return f"{took} A compiled call and an eager one are not distinguishable: their quartiles overlap."
    saved = eager.median_ms - steady.median_ms
    if saved <= 0:
        return f"{took} A compiled call takes {duration(-saved)} longer than an eager one: compiling does not pay."
    return (
        f"{took} A compiled call saves {duration(saved)} against an eager one: compiling pays from call "
        f"**{pays_from(compiling, saved):,}** on."
    )
