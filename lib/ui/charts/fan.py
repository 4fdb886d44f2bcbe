"""The losses of a run."""

from __future__ import annotations

from functools import cache

import altair as alt
import numpy as np

from lib.live.run import Snapshot
from lib.ui.charts import bands, marks
from lib.ui.charts.base import HEIGHT, SHORT, Chart, Spec, build, chart, measured_axis, named
from lib.ui.style import SERIES, TRAIN


def steps_axis() -> alt.X:
    """The steps of a run, in every chart alike."""
    axis = alt.Axis(labelExpr=SHORT, tickCount=6, tickMinStep=1)
    return alt.X("x:Q", title="step", scale=alt.Scale(nice=False, zero=False), axis=axis)


@cache
def _spec(title: str, y_title: str, curves: int, log: bool, reference: bool, height: int) -> Spec:
    x = alt.X("x:Q", title="step")
    y_scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    y_axis = measured_axis(log)

    def y(column: str) -> alt.Y:
        return alt.Y(column, title=y_title)

    base = alt.Chart(named("fan"))
    layers = [
        base.mark_area(opacity=0.22, color=TRAIN, clip=True).encode(
            steps_axis(), y("low:Q").scale(y_scale).axis(y_axis), alt.Y2("high:Q")
        ),
        base.mark_line(strokeWidth=2.5, color=TRAIN, clip=True).encode(x, y("loss:Q")),
        alt.Chart(named("now"))
        .mark_point(size=50, filled=True, opacity=1, color=TRAIN, clip=True)
        .encode(x, y("loss:Q")),
    ]
    if curves:
        layers.insert(
            1, base.transform_fold([f"c{i}" for i in range(curves)], as_=["model", "value"])
            .mark_line(strokeWidth=1, opacity=0.55, color=SERIES[4], clip=True)
            .encode(x, y("value:Q"), alt.Detail("model:N")),
        )  # fmt: skip
    if reference:
        layers.append(
            alt.Chart(named("reference")).mark_rule(strokeDash=[6, 4], strokeWidth=2, color=SERIES[2])
            .encode(y("reference:Q"))
        )  # fmt: skip
    return build(alt.layer(*layers, *marks.layers("step")), height, title)


def fan(
    title: str,
    y_title: str,
    snapshot: Snapshot,
    log: bool,
    curves: int = 0,
    reference: float | None = None,
    height: int = HEIGHT,
    width: float = 1.0,
) -> Chart:
    """The history of a run: its `loss` as a smoothed line over a band from minimum to maximum, with marks where
    something was changed. Where there are many models, the band is from `lowest` to `highest`, and there are thin
    curves, one for each model in `each`.

    Args:
        curves: how many thin curves there may be; 0 for one model.
        reference: where to draw a horizontal line.
    """
    loss, lows, highs = (
        part.get("loss", np.empty(0, np.float32)) for part in (snapshot.metrics, snapshot.lows, snapshot.highs)
    )
    lows, highs = snapshot.lows.get("lowest", lows), snapshot.highs.get("highest", highs)
    mean, low, high = bands.smoothed(loss, lows, highs)
    limits = bands.limits(loss, lows, highs, log)
    data = {
        "x": snapshot.coordinates["step"].astype(np.float32), "loss": bands.within(mean, limits, log),
        "low": bands.cut(low, limits), "high": bands.cut(high, limits),
    }  # fmt: skip
    if curves and "each" in snapshot.metrics:
        each = snapshot.metrics["each"].T[:curves]
        data |= {f"c{i}": bands.within(values, limits, log) for i, values in enumerate(each)}
    # By itself it would say nothing.
    datasets = {} if reference is None else {"reference": {"reference": [reference][: len(loss)]}}
    datasets |= marks.data(snapshot.events, snapshot.step, bands.unplaced(loss, log))
    spec = _spec(title, y_title, curves, log, reference is not None, height)
    now = {name: data[name][-1:] for name in ("x", "loss")}
    return chart(spec, f"{title}, against the step", width, fan=data, now=now, **datasets)
