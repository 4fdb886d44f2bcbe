"""Times against a size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import altair as alt

from lib.measure.timing import Record
from lib.ui.charts.base import Chart, Spec, build, chart, measured_axis, named
from lib.ui.style import SERIES


@cache
def _spec(
    title: str, x_title: str, variants: tuple[str, ...], height: int, columns: int, sizes: tuple[int, ...]
) -> Spec:
    scale = alt.Scale(domain=list(variants), range=SERIES[: len(variants)])
    base = alt.Chart(named("sweep"))
    x_axis = alt.Axis(values=list(sizes), format="d") if sizes else alt.Axis(format=",")
    x = alt.X("size:Q", title=x_title, scale=alt.Scale(type="log", base=2), axis=x_axis)
    y = alt.Y("median_ms:Q", title="milliseconds (log scale)", scale=alt.Scale(type="log"), axis=measured_axis(True))
    color = alt.Color("variant:N", title=None, scale=scale, legend=alt.Legend(columns=columns, symbolOpacity=1))
    shape = alt.Shape("variant:N", title=None, scale=alt.Scale(domain=list(variants)))
    line = base.mark_line(strokeWidth=2.5).encode(x, y, color)
    dots = base.mark_point(size=90, filled=True, opacity=1).encode(x, y, color, shape)
    spread = base.mark_rule(strokeWidth=4, opacity=0.35).encode(
        x, alt.Y("low_ms:Q", title="milliseconds (log scale)"), color, y2="high_ms:Q"
    )
    return build(alt.layer(spread, line, dots), height, title, large=True)


def sweep(
    title: str,
    x_title: str,
    variants: tuple[str, ...],
    records: Sequence[Record],
    height: int = 420,
    columns: int = 2,
    sizes: tuple[int, ...] = (),
) -> Chart:
    """Time against size, both logarithmic, one line a variant, with quartiles.

    Args:
        columns: of the legend.
        sizes: where the axis of sizes has its numbers, if these are to be shown alone.
    """
    data = {
        "size": [record.size for record in records], "variant": [record.label for record in records],
        "median_ms": [record.median_ms for record in records], "low_ms": [record.low_ms for record in records],
        "high_ms": [record.high_ms for record in records],
    }  # fmt: skip
    spec = _spec(title, x_title, variants, height, columns, sizes)
    return chart(spec, f"{title}, against {x_title}", sweep=data)
