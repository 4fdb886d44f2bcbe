"""The panels of the page on derivatives of one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.custom_gradients.routine import PAIRS, VERSIONS
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.ui import charts
from lib.ui.style import SERIES, TEST, duration, quantity

COLORS = dict(zip(VERSIONS, (TEST, SERIES[2]), strict=True))
"""Of the naive version and of the mended one."""


@cache
def _curves_spec(title: str, y_title: str, low: float, high: float) -> charts.Spec:
    """The naive curve, wide and pale, below the mended one."""
    x = alt.X("x:Q", title="x", scale=alt.Scale(domain=[low, high], nice=False))
    y = alt.Y("y:Q", title=y_title, axis=alt.Axis(tickCount=6))
    scale = alt.Scale(domain=list(VERSIONS), range=list(COLORS.values()))
    layers = [
        alt.Chart(charts.named(version))
        .mark_line(strokeWidth=width, opacity=opacity, clip=True)
        .encode(x, y, alt.Color("series:N", title=None, scale=scale, legend=alt.Legend(symbolOpacity=1)))
        for version, width, opacity in zip(VERSIONS, (9, 3), (0.45, 1.0), strict=True)
    ]
    return charts.build(alt.layer(*layers), 320, title)


def draw_curves(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    """Draws both functions of a pair and their derivatives; where one is infinite or NaN it has no line."""
    low, high = PAIRS[name].domain

    def draw(report: dict[str, np.ndarray]) -> None:
        for column, (key, title) in zip(
            st.columns(2, gap="medium"), {"f": "f(x)", "df": "The derivative, by grad"}.items(), strict=True
        ):
            tables: dict[str, Any] = {}
            missing = []
            for version in VERSIONS:
                y = report[f"{key} {version}"]
                finite = np.isfinite(y)
                if not finite.all():
                    bad = report["x"][~finite]
                    missing.append(f"The {version} one is infinite or NaN from x = {bad[0]:.3g} to {bad[-1]:.3g}.")
                tables[version] = {
                    "x": report["x"][finite], "y": y[finite], "series": charts.repeated([version], [int(finite.sum())])
                }  # fmt: skip
            with column:
                spec = _curves_spec(title, key.replace("df", "f '"), low, high)
                charts.show(charts.chart(spec, f"{title}, naive and mended", **tables))
                st.caption(" ".join(missing) or "Finite everywhere.")

    return draw


def draw_checks(name: str) -> Callable[[list[dict[str, str]]], None]:
    """Draws what `check_grads` says of a pair."""

    def draw(rows: list[dict[str, str]]) -> None:
        heads = {
            "x": "x", "grad naive": "gradient, naive", "naive": "check_grads, naive", "grad mended": "gradient, mended",
            "mended": "check_grads, mended",
        }  # fmt: skip
        st.dataframe({head: [row[key] for row in rows] for key, head in heads.items()}, hide_index=True)
        if PAIRS[name].exact:
            st.caption("The mended gradient agrees with central differences.")
        else:
            st.caption(
                "`check_grads` compares with central differences of the function. Here the mended gradient is another one "
                "on purpose, so that a refusal is what one wants to see."
            )

    return draw


@cache
def _learnt_spec(columns: tuple[str, ...], height: int) -> charts.Spec:
    """A table: a row for each `parameter`, a `text` in each of the columns."""
    x = alt.X("column:N", title=None, scale=alt.Scale(domain=list(columns)), axis=alt.Axis(orient="top", labelAngle=0))
    base = alt.Chart(charts.named("cells")).mark_text(fontSize=16)
    return charts.build(base.encode(x, alt.Y("parameter:N", title=None), text="text:N"), height, "What was learnt")


def draw_run(name: str) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws the losses of both versions, and what each has learnt."""
    pair = PAIRS[name]
    parameters = [f"theta[{i}]" for i in range(len(pair.truth))]

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        picture = snapshot.picture or {}
        broken_at = int(picture["broken_at"]) if picture else 0
        losses = {}
        if snapshot.metrics:
            step, mended, naive = snapshot.coordinates["step"], snapshot.metrics["loss"], snapshot.metrics["naive"]
            shown = (step < broken_at) | (broken_at == 0)
            shown &= naive < 1e4 * mended.max()  # beyond that, the picture would be of nothing else
            losses = {"naive": (step[shown], naive[shown]), "mended": (step, mended)}
        learnt = {version: picture.get(version, np.array(pair.start)) for version in VERSIONS}
        columns = {version: [f"{value:.4g}" for value in values] for version, values in learnt.items()}
        columns["data come from"] = [f"{value:g}" for value in pair.truth]
        cells = {
            "parameter": parameters * len(columns),
            "column": charts.repeated(list(columns), [len(parameters)] * len(columns)),
            "text": [text for texts in columns.values() for text in texts],
        }
        spec = _learnt_spec(tuple(columns), 60 * len(parameters) + 40)
        drawn: list[charts.Shown] = [
            charts.lines("Loss of all examples", "step", "loss", COLORS, losses, True, 400, 0.615),
            charts.chart(spec, "The parameters that each version has learnt", 0.385, cells=cells),
        ]
        if broken_at:
            drawn.append(
                charts.Text(
                    f"Naive: step {broken_at:,} made the parameters or the loss **infinite or NaN**. What is NaN stays NaN, "
                    "so that it takes no more steps; shown is what it had before.",
                    "warning",
                )
            )
        return drawn

    return draw


@cache
def _memory_spec(title: str, variants: tuple[str, ...], x_title: str) -> charts.Spec:
    """Bytes against size, both logarithmic, one line a variant."""
    scale = alt.Scale(domain=list(variants), range=SERIES[: len(variants)])
    base = alt.Chart(charts.named("memory")).encode(
        alt.X("size:Q", title=x_title, scale=alt.Scale(type="log", base=2), axis=alt.Axis(format="~s")),
        alt.Y("size_bytes:Q", title="bytes", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=5)),
        alt.Color("variant:N", title=None, scale=scale, legend=alt.Legend(columns=2, symbolOpacity=1)),
    )
    shape = alt.Shape("variant:N", title=None, scale=alt.Scale(domain=list(variants)))
    dots = base.mark_point(size=90, filled=True, opacity=1).encode(shape)
    return charts.build(alt.layer(base.mark_line(strokeWidth=2.5), dots), 380, title)


def draw_costs(variants: tuple[str, ...], x_title: str) -> Callable[[Records], None]:
    """Draws memory and time of several gradients against a size; the first two are compared in words."""

    def draw(records: Records) -> None:
        memory, time = st.columns(2, gap="medium")
        with memory:
            title = "Temporary memory, by the compiler's plan"
            spec = _memory_spec(title, variants, x_title)
            columns = {
                "size": [record.size for record in records], "variant": [record.label for record in records],
                "size_bytes": [record.more["size_bytes"] for record in records],
            }  # fmt: skip
            charts.show(charts.chart(spec, f"{title}, against {x_title}", memory=columns))
        with time:
            charts.show(charts.sweep("Time of one gradient", x_title, variants, records, 380))
        last = {record.label: record for record in records}
        if set(variants) <= set(last):
            first, second = (last[name] for name in variants[:2])
            st.markdown(
                f"At {first.size:,}: {variants[0]} takes **{quantity(first.more['size_bytes'], 'B')}** and "
                f"**{duration(first.median_ms)}**, {variants[1]} **{quantity(second.more['size_bytes'], 'B')}** and "
                f"**{duration(second.median_ms)}**."
            )

    return draw
