"""The panels of the page on the libraries that keep the state of networks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.state_libraries import routine as state_libraries
from lib.lessons.state_libraries.measure import ALONE, overhead
from lib.lessons.state_libraries.routine import LIBRARIES, PLAIN, load
from lib.live.engine import default_engine
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure.timing import times_as_fast
from lib.ui import charts, panels, waiting
from lib.ui.controls import Controls
from lib.ui.settings import ask
from lib.ui.style import SERIES, duration

COLORS = dict(zip(LIBRARIES, (SERIES[7], SERIES[0], SERIES[1], SERIES[2], SERIES[3]), strict=True))
DASH = 9
"""Pixels of a dash."""
HEIGHT = 420
TITLE = "Loss of each library"


def usable() -> tuple[str, ...]:
    """The libraries that work here; of each other one a sentence is shown. Until that is known, the page waits.

    They are imported and tried in the background, once for all visitors.
    """
    future = default_engine().answers.get(("libraries", state_libraries.defects), state_libraries.defects)
    defects: dict[str, str] = waiting.result(future, "computing: the libraries are being imported")
    for sentence in filter(None, defects.values()):
        st.warning(sentence)
    return tuple(name for name, defect in defects.items() if not defect)


@cache
def _losses_spec(names: tuple[str, ...], log: bool) -> charts.Spec:
    """Lines of columns `c0`, `c1`, ... against `x`: thin ones, and thick dashes in places of their own on top, so that
    all are seen where they coincide."""
    scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    colors = alt.Scale(domain=list(names), range=[COLORS[name] for name in names])
    legend = alt.Legend(symbolType="stroke", symbolDash=[1, 0], symbolStrokeWidth=4, columns=3)
    base = alt.Chart(charts.named("losses"))
    x, title = alt.X("x:Q", title="step"), "loss, mean of 50 steps"
    # The specification goes with every frame: axes, scales and legend are said once, and hold for all layers.
    layers = [
        base.mark_line(strokeWidth=0)
        .transform_calculate(library=f"'{names[0]}'")
        .encode(
            x.scale(nice=False, zero=False).axis(format="~s", tickCount=6),
            alt.Y("c0:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6)),
            alt.Color("library:N", title=None, scale=colors, legend=legend),
        )
    ]
    gap = DASH * (len(names) - 1)
    for style in ({"strokeWidth": 1.2}, {"strokeWidth": 3.5, "strokeDash": [DASH, gap], "strokeCap": "butt"}):
        for i, name in enumerate(names):
            offset = {"strokeDashOffset": -DASH * i} if "strokeDash" in style else {}
            line = base.mark_line(color=COLORS[name], clip=True, **style, **offset)  # type: ignore[arg-type]
            layers.append(line.encode(x, alt.Y(f"c{i}:Q", title=title)))
    return charts.build(alt.layer(*layers), HEIGHT, TITLE)


def draw_run(names: tuple[str, ...], log: bool) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws the losses on top of each other, and says how far they are apart."""

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        data = {"x": snapshot.coordinates["step"].astype(np.float32)}
        if snapshot.metrics:
            losses = snapshot.metrics["losses"].T
            data |= {
                f"c{i}": np.where((each > 0) | (not log), each, np.float32(np.nan)) for i, each in enumerate(losses)
            }
        picture = (snapshot.picture or {}).get("weights_apart")
        values = () if picture is None else picture[1:]
        apart = [f"{name} {value:.2g}" for name, value in zip(names[1:], values, strict=False)]
        return [
            charts.chart(_losses_spec(names, log), "The loss of each library against the step", losses=data),
            charts.Text(
                "Where curves coincide, the line has a stripe of each one's colour. Largest difference of any weight from "
                f"the plain pytree's, now: {', '.join(apart) or '–'}."
            ),
        ]

    return draw


def largest_difference(snapshot: Snapshot) -> dict[str, str]:
    """A number for the row of numbers."""
    return {"Losses apart": f"{snapshot.highs['spread'].max():.2g}" if snapshot.highs else "–"}


def code(names: tuple[str, ...], controls: Controls) -> None:
    """Two libraries' files side by side, what their stateful layers give, and their steps compiled."""
    chosen = []
    for place, column in enumerate(st.columns(2, gap="medium")):
        with column:
            label = "Right" if place else "Left"
            name = ask("library_{}", label, names, part=place, default=names[min(place, len(names) - 1)])
            chosen.append(name)
            st.code(inspect.getsource(load(name)), language="python", height=620)
    st.markdown(
        "**The stateful layers of these files, run:** `dropout` of eight ones, called twice in training and once to "
        f"predict; `batch_norm` on three batches of {controls.batch_size:,} normal numbers of mean 1."
    )
    for name, column in zip(chosen, st.columns(2, gap="medium"), strict=True):
        with column:
            panels.answer(
                _draw_stateful,
                controls.device,
                state_libraries.stateful_report,
                name,
                controls.batch_size,
                controls.seed,
            )

    for place, name in enumerate(chosen):
        panels.inside(
            f"library_{place}",
            controls,
            f"jit(train_step)` of `{name}",
            state_libraries.routine,
            name,
            controls.batch_size,
        )


def _draw_stateful(report: dict[str, np.ndarray]) -> None:
    def line(name: str, values: np.ndarray, digits: int) -> str:
        return f"{name:<18}" + " ".join(f"{value:.{digits}f}" for value in values)

    st.code(
        "\n".join(
            [
                line("dropout, call 1:", report["first"], 0), line("dropout, call 2:", report["second"], 0),
                line("to predict:", report["test"], 0),
                line("mean of batches:", report["batches"], 3), line("running mean:", report["means"], 3),
            ]
        ),
        language=None,
    )  # fmt: skip


def table(names: tuple[str, ...], controls: Controls) -> None:
    """How each library handles what changes, and what its model is as a pytree."""

    def draw(censuses: dict[str, dict[str, Any]]) -> None:
        libraries = [LIBRARIES[name] for name in names]
        st.table(
            {
                "": list(names),
                "state is": [library.state for library in libraries],
                "randomness": [library.randomness for library in libraries],
                "a stateful layer": [library.layer for library in libraries],
                "leaves": [censuses[name]["leaves"] for name in names],
                "parameters": [censuses[name]["parameters"] for name in names],
                "the first weights": [f"`{censuses[name]['path']}`" for name in names],
                "their shape": [str(censuses[name]["shape"]) for name in names],
            },
            hide_index=True,
        )

    panels.answer(draw, controls.device, state_libraries.censuses, names)


def draw_costs(records: Records) -> None:
    """What a step takes to compile and to call, as a table and as dots."""
    took = {(record.label, record.phase): record.median_ms for record in records}
    names = [name for name, phase in took if phase == "compile"]
    columns: dict[str, list[str]] = {"library": names}
    for phase in ("trace", "lower", "compile"):
        columns[phase] = [duration(took[name, phase]) for name in names]
    ways = {way: {r.label: r for r in records if r.more.get("way") == way} for way in ("own", "pure")}
    for way, heading in (("own", "step, own jit"), ("pure", "step, arrays by jax.jit")):
        if len(ways[way]) == len(names):
            plain = ways[way][PLAIN]
            ratios = [1.0 if name == PLAIN else times_as_fast(plain, ways[way][name]) for name in names]
            columns[heading] = [duration(ways[way][name].median_ms) for name in names]
            columns[f"{heading}, × pytree"] = ["not distinguishable" if r is None else f"{r:.2f}" for r in ratios]
    st.dataframe(columns, hide_index=True)
    titles = {"own": "A step, jitted the library's own way", "pure": "A step, arrays in and out, by jax.jit"}
    drawn = [charts.timings(titles[way], list(ways[way].values())) for way in ways if len(ways[way]) == len(names)]
    charts.show_all([chart._replace(width=0.5) for chart in drawn])
    if any(record.more.get("way") == ALONE[-1] for record in records):
        share = overhead(records)
        ours = "too little to tell from the noise of this machine now" if share is None else f"**{100 * share:+.1f} %**"
        st.caption(
            f"Medians of {ways['own'][PLAIN].samples} samples each, taken in turns, with quartiles. What this page's own "
            f"interface adds to a step of the plain pytree: {ours}."
        )
