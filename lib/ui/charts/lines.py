"""Lines of numbers against a number."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import altair as alt
import numpy as np

from lib.ui.charts.base import Chart, Spec, build, chart, named, repeated


@cache
def _spec(
    title: str, x_title: str, y_title: str, names: tuple[str, ...], colors: tuple[str, ...], log: bool, height: int
) -> Spec:
    y_scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    chart = (
        alt.Chart(named("lines"))
        .mark_line(strokeWidth=2.5, interpolate="linear", clip=True)
        .encode(
            alt.X("x:Q", title=x_title, scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(format="~s", tickCount=6)),
            alt.Y("y:Q", title=y_title, scale=y_scale, axis=alt.Axis(tickCount=6)),
            alt.Color("series:N", title=None, scale=alt.Scale(domain=list(names), range=list(colors))),
        )
    )  # fmt: skip
    return build(chart, height, title)


def lines(
    title: str,
    x_title: str,
    y_title: str,
    colors: Mapping[str, str],
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    log: bool = False,
    height: int = 360,
    width: float = 1.0,
) -> Chart:
    """A line for each series.

    Args:
        colors: of every series that there may be; the legend has them all, in this order.
        series: x and y of those there are. A logarithm has no place for zeros: they are left out.
    """
    kept = {name: (x[y > 0], y[y > 0]) if log else (x, y) for name, (x, y) in series.items()}
    none = [np.empty(0)]
    return chart(
        _spec(title, x_title, y_title, tuple(colors), tuple(colors.values()), log, height),
        f"{title}: {', '.join(colors)}, against {x_title}", width,
        lines={
            "x": np.concatenate([x for x, _ in kept.values()] or none).astype(np.float32),
            "y": np.concatenate([y for _, y in kept.values()] or none).astype(np.float32),
            "series": repeated(list(kept) or [""], [len(x) for x, _ in kept.values()] or [0]),
        },
    )  # fmt: skip
