"""The charts of gradients and of weights, and the words beside them."""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.jit_grad_vmap.routine import FEATURES, WAYS
from lib.live.measurement import Records
from lib.ui import charts
from lib.ui.style import SERIES, TRAIN


@cache
def _histogram_spec(title: str, x_title: str, y_title: str) -> charts.Spec:
    """Bars between `low` and `high` of height `count`."""
    chart = (
        alt.Chart(charts.named("bins"))
        .mark_bar(color=TRAIN, opacity=0.85)
        .encode(
            alt.X("low:Q", bin="binned", title=x_title), alt.X2("high:Q"),
            alt.Y("count:Q", title=y_title, axis=alt.Axis(tickMinStep=1)),
        )
    )  # fmt: skip
    return charts.build(chart, 340, title)


def histogram(title: str, x_title: str, y_title: str, values: np.ndarray, bins: int = 24) -> charts.Chart:
    """How often values occur."""
    count, edges = np.histogram(values, bins=min(bins, max(1, len(values))))
    spec = _histogram_spec(title, x_title, y_title)
    return charts.chart(spec, title, bins={"low": edges[:-1], "high": edges[1:], "count": count})


@cache
def _weights_spec(title: str, names: tuple[str, ...]) -> charts.Spec:
    """A dot for each number and a bar where it should be."""
    x = alt.X("name:N", title=None, sort=list(names), axis=alt.Axis(labelAngle=0))
    y = alt.Y("value:Q", title="weight", scale=alt.Scale(domain=[-4, 4]))
    base = alt.Chart(charts.named("weights"))
    bars = base.mark_tick(thickness=4, size=60, color=SERIES[2], clip=True).encode(
        x, alt.Y("optimum:Q", title="weight")
    )
    dots = base.mark_point(size=200, filled=True, color=TRAIN, opacity=1, clip=True).encode(x, y)
    return charts.build(alt.layer(bars, dots), 340, title)


def weights(title: str, values: np.ndarray, optimum: np.ndarray) -> charts.Chart:
    """Weights beside those they should come to."""
    names = tuple(f"w{i}" for i in range(len(values)))
    columns = {"name": list(names), "value": values, "optimum": optimum}
    return charts.chart(_weights_spec(title, names), title, 0.5, weights=columns)


def draw_ways(batch_size: int, report: dict[str, Any]) -> None:
    """The gradient in each way, how far they are apart, and how long each example's own gradient is."""
    grads = {way: report[way] for way in WAYS}
    worst = max(np.abs(grad - grads["closed form"]).max() for grad in grads.values())
    scale = np.abs(grads["closed form"]).max()
    table, norms = st.columns([1, 1], gap="large")
    with table:
        columns = {f"∂/∂w{i}": [f"{grad[i]:.6g}" for grad in grads.values()] for i in range(FEATURES)}
        st.dataframe({"way": list(grads)} | columns, hide_index=True)
        st.markdown(
            f"The gradient of the **mean** loss of {batch_size:,} examples at w = 0. Largest difference from the closed "
            f"form `2 Xᵀ(Xw - y) / {batch_size}`: **{worst:.2g}**, which is {worst / scale:.1e} of the largest entry: "
            "rounding of float32."
        )
    with norms:
        title = "Length of each example's own gradient"
        charts.show(histogram(title, "norm of the gradient", "examples", report["norms"]))


def draw_timings(records: Records) -> None:
    """The time of each way."""
    charts.show(charts.timings("The gradient of one batch, in the steady state", records))
    if records:
        st.caption(f"Medians of {records[0].samples} samples each, taken in turns, with quartiles.")
