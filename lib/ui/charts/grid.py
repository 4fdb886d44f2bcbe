"""Grids of coloured cells, as layers of other charts."""

from __future__ import annotations

from typing import Any

import altair as alt

from lib.ui.charts.base import named


def grid(name: str, color: Any, cells: int, x: tuple[float, float], y: tuple[float, float]) -> alt.Chart:
    """`cells` x `cells` rectangles from one column of numbers: the row number says where each belongs."""
    dx, dy = (x[1] - x[0]) / cells, (y[1] - y[0]) / cells
    return (
        alt.Chart(named(name))
        .transform_window(n="row_number()")
        .transform_calculate(
            x=f"{x[0]} + ((datum.n - 1) % {cells}) * {dx}",
            y=f"{y[0]} + floor((datum.n - 1) / {cells}) * {dy}",
            x2=f"datum.x + {1.1 * dx}", y2=f"datum.y + {1.1 * dy}",  # no seams
        )
        .mark_rect(clip=True, strokeWidth=0)
        .encode(
            alt.X("x:Q", scale=alt.Scale(domain=list(x), nice=False)), alt.X2("x2:Q"),
            alt.Y("y:Q", scale=alt.Scale(domain=list(y), nice=False)), alt.Y2("y2:Q"),
            color=color,
        )
    )  # fmt: skip
