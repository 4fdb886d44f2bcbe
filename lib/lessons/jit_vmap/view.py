"""The chart of many models."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import altair as alt
import numpy as np

from lib.lessons.jit_vmap.routine import CURVES
from lib.ui import charts
from lib.ui.style import TEST, TRAIN


@cache
def _fits_spec(title: str, height: int) -> charts.Spec:
    """Many models' curves (columns `c0`, `c1`, ...) and the `target`, against `x`."""
    base = alt.Chart(charts.named("fits"))
    x = alt.X("x:Q", title="x", scale=alt.Scale(nice=False))
    y = alt.Y("value:Q", title="y", scale=alt.Scale(domain=[-2, 2]))
    models = (
        base.transform_fold([f"c{i}" for i in range(CURVES)], as_=["model", "value"])
        .mark_line(strokeWidth=1.5, opacity=0.5, color=TRAIN, clip=True)
        .encode(x, y, alt.Detail("model:N"))
    )
    target = base.mark_line(strokeWidth=3, strokeDash=[8, 5], color=TEST).encode(x, alt.Y("target:Q", title="y"))
    return charts.build(alt.layer(models, target), height, title)


def fits(
    title: str, x: np.ndarray, target: np.ndarray, preds: Iterable[np.ndarray], height: int, width: float
) -> charts.Chart:
    """The predictions of some models, float32[examples] each, and what they are to predict."""
    columns = {f"c{i}": pred for i, pred in enumerate(preds)}
    return charts.chart(_fits_spec(title, height), title, width, fits={"x": x, "target": target, **columns})
