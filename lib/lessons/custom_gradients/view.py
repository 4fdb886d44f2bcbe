"""The panels of the page on custom derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.custom_gradients.routine import PAIRS, TOLERANCE, VERSIONS
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure.timing import duration, times_as_fast
from lib.ui import charts
from lib.ui.charts.base import legend
from lib.ui.style import SERIES, TEST, quantity

COLORS = dict(zip(VERSIONS, (TEST, SERIES[2]), strict=True))
"""Of the naive version and of the mended one."""
HEIGHT = 360


@lru_cache(maxsize=64)
def _curves_spec(title: str, y_title: str, low: float, high: float) -> charts.Spec:
    """The naive curve, wide and pale, below the mended one; examples on it, and a cross for each that is `bad`."""
    x = alt.X("x:Q", title="x", scale=alt.Scale(domain=[low, high], nice=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("y:Q", title=y_title, axis=alt.Axis(tickCount=5))
    scale = partial(alt.Scale, domain=list(VERSIONS))
    curves = (
        alt.Chart(charts.named("curves"))
        .transform_fold(list(VERSIONS), as_=["version", "y"])
        .mark_line(clip=True)
        .encode(
            x, y,
            alt.Color("version:N", title=None, scale=scale(range=list(COLORS.values())), legend=legend(VERSIONS)),
            alt.StrokeWidth("version:N", scale=scale(range=[9, 3]), legend=None),
            alt.Opacity("version:N", scale=scale(range=[0.45, 1.0]), legend=None),
        )
    )  # fmt: skip
    dots = alt.Chart(charts.named("examples")).mark_point(size=60, filled=True, opacity=0.7, clip=True)
    bad = alt.Chart(charts.named("bad"))  # they have no value, so they stand above the chart's values
    crosses = bad.mark_point(shape="cross", angle=45, size=110, filled=True, opacity=0.8)
    return charts.build(
        alt.layer(
            curves,
            dots.encode(x, y, color=alt.value(COLORS["mended"])),
            bad.mark_rule(strokeDash=[2, 4], opacity=0.5).encode(alt.X("x:Q"), color=alt.value(COLORS["naive"])),
            crosses.encode(alt.X("x:Q"), y=alt.value(0), color=alt.value(COLORS["naive"])),
        ),
        HEIGHT, title,
    )  # fmt: skip


def curves_chart(
    name: str, key: str, report: dict[str, np.ndarray] | None, picture: dict[str, np.ndarray] | None = None
) -> charts.Chart:
    """The functions of a pair, key `f`, or their derivatives, key `df`; where one is infinite or NaN it has no line.

    Args:
        report: of `curves`; None as long as there is none: then there is nothing to see.
        picture: of `PairTraining.observe`: each example where it is, and a cross at the top if its naive derivative
            is infinite or NaN. A cross outside of the domain stands at its edge, an example is left out.
    """
    title, y_title = {"f": ("f(x)", "f"), "df": ("The derivative, by grad", "f '")}[key]
    domain = PAIRS[name].domain
    lines = {"x": np.empty(0)} | dict.fromkeys(VERSIONS, np.empty(0))
    if report is not None:
        lines = {"x": report["x"][::2]} | {version: _finite(report[f"{key} {version}"][::2]) for version in VERSIONS}
    examples, bad = {"x": np.empty(0), "y": np.empty(0)}, {"x": np.empty(0)}
    if picture is not None:
        x = picture["x mended"]
        inside = (domain[0] <= x) & (x <= domain[1])
        examples = {"x": x[inside], "y": picture["df mended"][inside]}
        bad = {"x": picture["x naive"][~np.isfinite(picture["df naive"])].clip(*domain)}
    spec = _curves_spec(title, y_title, *domain)
    return charts.chart(spec, f"{title}, naive and mended", 0.5, curves=lines, examples=examples, bad=bad)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def draw_curves(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    """Draws both functions of a pair and their derivatives."""

    def draw(report: dict[str, np.ndarray]) -> None:
        charts.show_all([curves_chart(name, key, report) for key in ("f", "df")])

    return draw


def draw_checks(name: str) -> Callable[[list[dict[str, str]]], None]:
    """Draws what `check_grads` says of a pair."""

    def draw(rows: list[dict[str, str]]) -> None:
        heads = {
            "x": "x", "grad naive": "gradient, naive", "naive": "check_grads, naive", "grad mended": "gradient, mended",
            "mended": "check_grads, mended",
        }  # fmt: skip
        st.dataframe({head: [row[key] for row in rows] for key, head in heads.items()}, hide_index=True)
        said = f"`check_grads` compares the gradient with central differences of the function, to within {TOLERANCE:g}."
        if not PAIRS[name].exact:
            said += " Here the mended gradient differs from them on purpose: `check_grads` should refuse it."
        st.caption(said)

    return draw


# The live run.


def draw_run(name: str, report: Callable[[], dict[str, np.ndarray] | None]) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws the derivatives with the examples on them, and the losses of both versions.

    Args:
        report: gives what `curves` says, or None until it is there.
    """

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        losses: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        events = list(snapshot.events)
        broken_at = _broken_at(snapshot)
        if broken_at:
            events.append((broken_at, "naive: inf or NaN"))
        if snapshot.metrics:
            step, mended, naive = snapshot.coordinates["step"], snapshot.metrics["loss"], snapshot.metrics["naive"]
            shown = (step < broken_at) | (broken_at == 0)
            shown &= naive < 1e4 * mended.max()  # beyond that, the picture would be of nothing else
            losses = {"naive": (step[shown], naive[shown]), "mended": (step, mended)}
        return [
            curves_chart(name, "df", report(), snapshot.picture),
            charts.lines(
                "Loss of all examples",
                "step",
                "loss",
                COLORS,
                losses,
                True,
                width=0.5,
                dotted=("naive",),
                events=events,
            ),
        ]

    return draw


def _broken_at(snapshot: Snapshot) -> int:
    return int(snapshot.picture["broken_at"]) if snapshot.picture else 0


def run_stats(snapshot: Snapshot) -> dict[str, str]:
    """The loss of the naive version, and the step after which it was infinite or NaN."""
    broken_at = _broken_at(snapshot)
    naive = f"{snapshot.latest['naive']:.3g}" if snapshot.latest and not broken_at else "–"
    return {"Naive loss": naive, "NaN at step": f"{broken_at:,}" if broken_at else "–"}


def draw_gradients(records: Records) -> None:
    """The time of both gradients of a batch."""
    charts.show(charts.timings("The gradients of a batch, compiled", records))
    if len(records) == len(VERSIONS):
        naive, mended = records
        ratio = times_as_fast(mended, naive)
        st.markdown(
            "The two are not distinguishable: their quartiles overlap."
            if ratio is None
            else f"The mended gradient is **{ratio:.3g}** times as fast as the naive one."
        )


# Memory and time.


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
                f"At {first.size:,} {x_title.partition(' (')[0]}: {variants[0]} takes **{quantity(first.more['size_bytes'], 'B')}** and "
                f"**{duration(first.median_ms)}**, {variants[1]} **{quantity(second.more['size_bytes'], 'B')}** and "
                f"**{duration(second.median_ms)}**."
                + (" The two times are not distinguishable." if times_as_fast(first, second) is None else "")
            )

    return draw
