"""The losses of a run."""

from __future__ import annotations

from functools import cache

import altair as alt
import numpy as np

from lib.live.run import Snapshot
from lib.ui.charts.base import Chart, Spec, build, chart, named
from lib.ui.style import SERIES, TRAIN


@cache
def _spec(title: str, y_title: str, curves: int, log: bool, reference: bool, height: int) -> Spec:
    x = alt.X("x:Q", title="step", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(format="~s", tickCount=6))
    y_scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    y_axis = alt.Axis(tickCount=6)
    base = alt.Chart(named("fan"))
    layers = [
        base.mark_line(strokeWidth=3, color=TRAIN, clip=True).encode(
            x, alt.Y("loss:Q", title=y_title, scale=y_scale, axis=y_axis)
        )
    ]
    if curves:
        layers = [
            base.mark_area(opacity=0.15, color=TRAIN, clip=True).encode(
                x, alt.Y("lowest:Q", title=y_title, scale=y_scale, axis=y_axis), alt.Y2("highest:Q")
            ),
            base.transform_fold([f"c{i}" for i in range(curves)], as_=["model", "value"])
            .mark_line(strokeWidth=1, opacity=0.55, color=SERIES[4], clip=True)
            .encode(x, alt.Y("value:Q", title=y_title, scale=y_scale), alt.Detail("model:N")),
            *layers,
        ]
    if reference:
        layers.append(
            alt.Chart(named("reference")).mark_rule(strokeDash=[6, 4], strokeWidth=2, color=SERIES[2])
            .encode(alt.Y("reference:Q", title=y_title, scale=y_scale))
        )  # fmt: skip
    return build(alt.layer(*layers), height, title)


def fan(
    title: str,
    y_title: str,
    snapshot: Snapshot,
    log: bool,
    curves: int = 0,
    reference: float | None = None,
    height: int = 360,
    width: float = 1.0,
) -> Chart:
    """The history of a run: its `loss`, and where there are many models, a band from `lowest` to `highest` and thin
    curves, one for each model in `each`.

    Args:
        curves: how many thin curves there may be; 0 for one model, and no band.
        reference: where to draw a horizontal line.
    """
    floor = np.float32(1e-12 if log else -np.inf)
    metrics = {name: np.maximum(values, floor) for name, values in snapshot.metrics.items()}
    data = {"x": snapshot.coordinates["step"].astype(np.float32)}
    data |= {name: metrics[name] for name in ("loss", "lowest", "highest") if name in metrics}
    if curves and "each" in metrics:
        data |= {f"c{i}": each for i, each in enumerate(metrics["each"].T[:curves])}
    datasets = {} if reference is None else {"reference": {"reference": [reference]}}
    spec = _spec(title, y_title, curves, log, reference is not None, height)
    return chart(spec, f"{title}, against the step", width, fan=data, **datasets)
