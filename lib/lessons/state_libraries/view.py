"""The panels of the page on the libraries that keep the state of networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.state_libraries import routine as state_libraries
from lib.lessons.state_libraries.measure import ALONE, overhead
from lib.lessons.state_libraries.routine import LIBRARIES, PLAIN, load
from lib.lessons.state_libraries.snippet import snippet, step_shown
from lib.live.engine import default_engine
from lib.live.measurement import Records
from lib.live.run import Snapshot, Status
from lib.measure.timing import duration, times_as_fast
from lib.routines.snippets import source
from lib.ui import charts, frame, panels, waiting
from lib.ui.charts.base import legend, measured_axis
from lib.ui.charts.fan import steps_axis
from lib.ui.controls import Controls
from lib.ui.live_view import session_feed
from lib.ui.settings import ask
from lib.ui.style import SERIES

COLORS = dict(zip(LIBRARIES, (SERIES[7], SERIES[0], SERIES[1], SERIES[2], SERIES[3]), strict=True))
DASH = 9
"""Pixels of a dash."""
TITLE = "Loss; stripes: libraries agree"
APART = "Weights: distance to the pytree's"
LEAST = 1e-9
"""Where 0 stands on the axis of distances."""


def usable() -> tuple[str, ...]:
    """The libraries that work here; of each other one a sentence is shown.

    Until a run was begun or a panel is open those that are installed are taken to work: so the page is there at once. They
    are imported in the background, for the picture of the start; only a panel has to wait for them.
    """
    found = {name: state_libraries.missing(name) for name in LIBRARIES}
    in_panel = st.session_state.get(f"{frame.page_name()}_panel") is not None
    if in_panel or session_feed(frame.page_name()).run.snapshot().status is not Status.READY:
        future = default_engine().answers.get(("libraries", state_libraries.defects), state_libraries.defects)
        if in_panel or future.done():
            found = waiting.result(future, "computing: the libraries are being imported")
        else:
            waiting.answer(
                future, lambda defects: None if defects == found else st.rerun(), "the libraries are being imported"
            )
    for sentence in filter(None, found.values()):
        st.warning(sentence)
    return tuple(name for name, defect in found.items() if not defect)


def line(learning_rate: float) -> str:
    """What the live run calls at each step."""
    return f"jax.jit(lambda models: {{name: step(name, models[name], batch, {learning_rate:g}) for name in models}})"


@cache
def _losses_spec(names: tuple[str, ...], log: bool) -> charts.Spec:
    """Lines of columns `c0`, `c1`, ... against `x`: thin ones, and thick dashes in places of their own on top, so that
    all are seen where they coincide."""
    scale = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    colors = alt.Scale(domain=list(names), range=[COLORS[name] for name in names])
    base = alt.Chart(charts.named("losses"))
    title = "loss, mean of 50 steps"
    # The specification goes with every frame: axes, scales and legend are said once, and hold for all layers.
    layers = [
        base.mark_line(strokeWidth=0)
        .transform_calculate(library=f"'{names[0]}'")
        .encode(
            steps_axis(),
            alt.Y("c0:Q", title=title, scale=scale, axis=measured_axis(log)),
            alt.Color("library:N", title=None, scale=colors, legend=legend(names)),
        )
    ]
    gap = DASH * (len(names) - 1)
    for style in ({"strokeWidth": 1.2}, {"strokeWidth": 3.5, "strokeDash": [DASH, gap], "strokeCap": "butt"}):
        for i, name in enumerate(names):
            offset = {"strokeDashOffset": -DASH * i} if "strokeDash" in style else {}
            line = base.mark_line(color=COLORS[name], clip=True, **style, **offset)  # type: ignore[arg-type]
            layers.append(line.encode(alt.X("x:Q", title="step"), alt.Y(f"c{i}:Q", title=title)))
    return charts.build(alt.layer(*layers), 360, TITLE)


@cache
def _apart_spec(names: tuple[str, ...]) -> charts.Spec:
    """A dot for each library but the plain pytree, its number beside it."""
    base = alt.Chart(charts.named("apart"))
    scale = alt.Scale(type="log", domain=[LEAST / 4, 1e3], nice=False, clamp=True)
    # Zero has no place on a logarithmic axis, and is what there is to see: it has one below the least number.
    label = f"datum.value < {2 * LEAST} ? '0' : format(datum.value, '~e')"
    axis = alt.Axis(values=[LEAST, 1e-6, 1e-3, 1, 1e3], labelExpr=label, labelOverlap=True)
    x = alt.X("place:Q", title="distance (log scale)", scale=scale, axis=axis)
    y = alt.Y("library:N", title=None, sort=list(names), scale=alt.Scale(domain=list(names)), axis=alt.Axis(grid=True))
    colors = alt.Scale(domain=list(names), range=[COLORS[name] for name in names])
    dots = base.mark_point(size=160, filled=True, opacity=1).encode(
        x, y, alt.Color("library:N", scale=colors, legend=None)
    )
    side = alt.ExprRef("datum.place > 1e-3 ? 'right' : 'left'")
    text = base.mark_text(fontSize=13, baseline="bottom", dy=-7, align=side).encode(x, y, text="text:N")
    return charts.build(alt.layer(dots, text), 360, APART)


def _apart(names: tuple[str, ...], picture: dict[str, np.ndarray] | None) -> charts.Chart:
    """How far each library's weights are from the plain pytree's."""
    values = [float(value) for value in picture["weights_apart"]] if picture else []
    shown = list(zip(names, values, strict=False))[1:]
    text = ["0: equal, bit for bit" if value == 0 else f"{value:.2g}" for _, value in shown]
    return charts.chart(
        _apart_spec(names[1:]), f"{APART}: " + ", ".join(f"{name} {t}" for (name, _), t in zip(shown, text, strict=True)),
        0.5,
        apart={"library": [name for name, _ in shown], "place": [max(value, LEAST) for _, value in shown], "text": text},
    )  # fmt: skip


def draw_run(names: tuple[str, ...], log: bool) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws how far the weights are apart, and the losses on top of each other."""

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        data = {"x": snapshot.coordinates["step"].astype(np.float32)}
        if snapshot.metrics:
            losses = snapshot.metrics["losses"].T
            data |= {
                f"c{i}": np.where((each > 0) | (not log), each, np.float32(np.nan)) for i, each in enumerate(losses)
            }
        drawn = charts.chart(_losses_spec(names, log), "The loss of each library against the step", 0.5, losses=data)
        return [_apart(names, snapshot.picture), drawn]

    return draw


def largest_difference(snapshot: Snapshot) -> dict[str, str]:
    """A number for the row of numbers."""
    return {"Losses apart": f"{snapshot.highs['spread'].max():.2g}" if snapshot.highs else "–"}


# The panels.


def _library(names: tuple[str, ...]) -> str:
    """The library that the visitor has chosen, one choice for all panels that show one library."""
    chosen: str = ask("library", "Library", names, required=True)
    return chosen if chosen in names else names[0]


def code(names: tuple[str, ...], controls: Controls) -> None:
    """The start with a library, and when to choose it."""
    name = _library(names)
    st.markdown(
        f"**When to choose it:** {LIBRARIES[name].choose} The run above trains this network too, by plain gradient descent."
    )
    panels.snippet(snippet(name, controls.batch_size, controls.learning_rate, controls.seed), controls, beside=True)


def inside(names: tuple[str, ...], controls: Controls) -> None:
    """The step of the start with a library, compiled."""
    name = _library(names)
    title = "nnx.jit" if name == "Flax NNX" else "eqx.filter_jit" if name == "Equinox" else "jax.jit"
    panels.inside(
        "library", controls, f"{title}(train_step)",
        step_shown, name, controls.batch_size, controls.learning_rate, controls.seed,
    )  # fmt: skip


def stateful(names: tuple[str, ...], controls: Controls) -> None:
    """The dropout and the batch norm of two libraries side by side: the code, and what it gives."""
    st.markdown(
        "`dropout` of eight ones, called twice in training and once to predict; the running mean of `batch_norm` on three "
        f"batches of {controls.batch_size:,} normal numbers of mean 1."
    )
    for place, column in enumerate(st.columns(2, gap="large")):
        with column:
            side, default = ("Left", "Right")[place], names[min(1 + 2 * place, len(names) - 1)]
            name = ask("library_{}", side, names, part=place, default=default)
            panels.answer(
                _draw_stateful, controls.device,
                state_libraries.stateful_report, name, controls.batch_size, controls.seed,
            )  # fmt: skip
            library = load(name)
            st.code(source(library.dropout, library.batch_norm), language="python", wrap_lines=True, height=520)


def _draw_stateful(report: dict[str, np.ndarray]) -> None:
    def line(name: str, values: np.ndarray, digits: int) -> str:
        return f"{name:<22}" + " ".join(f"{value:.{digits}f}" for value in values)

    means = sorted((name for name in report if name.startswith("means")), reverse=True)  # ema, the default, first
    st.code(
        "\n".join(
            [
                line("dropout, call 1:", report["first"], 0), line("dropout, call 2:", report["second"], 0),
                line("to predict:", report["test"], 0), line("mean of each batch:", report["batches"], 3),
                *(line(f"running mean{name[5:].replace(' ', ', ')}:", report[name], 3) for name in means),
            ]
        ),
        language=None,
    )  # fmt: skip


def table(names: tuple[str, ...], controls: Controls) -> None:
    """When to choose each library, how it handles what changes, and what its model is as a pytree."""

    def draw(censuses: dict[str, dict[str, Any]]) -> None:
        libraries = [LIBRARIES[name] for name in names]
        st.table(
            {
                "": list(names),
                "choose it": [library.choose for library in libraries],
                "state is in": [library.state for library in libraries],
                "randomness": [library.randomness for library in libraries],
                "a stateful layer": [library.layer for library in libraries],
                "the first weights": [f"`{censuses[name]['path']}` {censuses[name]['shape']}" for name in names],
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
    ways = {way: found for way, found in ways.items() if found and len(found) == len(names)}
    for way, heading in (("own", "step, own jit"), ("pure", "step, arrays by jax.jit")):
        if way in ways:
            plain = ways[way][PLAIN]
            ratios = [1.0 if name == PLAIN else times_as_fast(plain, ways[way][name]) for name in names]
            columns[heading] = [duration(ways[way][name].median_ms) for name in names]
            columns[f"{heading}, × pytree"] = ["not distinguishable" if r is None else f"{r:.2f}" for r in ratios]
    st.dataframe(columns, hide_index=True)
    titles = {"own": "A step, jitted the library's own way", "pure": "A step, arrays in and out, by jax.jit"}
    drawn = [charts.timings(titles[way], list(found.values())) for way, found in ways.items()]
    charts.show_all([chart._replace(width=0.5) for chart in drawn])
    if any(record.more.get("way") == ALONE[-1] for record in records):
        share = overhead(records)
        ours = "too little to tell from the noise of this machine now" if share is None else f"**{100 * share:+.1f} %**"
        st.caption(
            f"Medians of {ways['own'][PLAIN].samples} samples each, taken in turns, with quartiles. What this page's own "
            f"interface adds to a step of the plain pytree: {ours}."
        )
