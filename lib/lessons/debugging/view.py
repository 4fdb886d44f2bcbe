"""The panels of the page on debugging."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.debugging.measure import run_in_a_terminal, use_tool_alone
from lib.lessons.debugging.mistakes import MISTAKES
from lib.lessons.debugging.nan_hunt import Found, Step, hunt
from lib.lessons.debugging.routine import BOARD, GRID
from lib.lessons.debugging.tools import TOOLS, use_tool
from lib.live.run import LiveRun, Snapshot, Status
from lib.routines.snippets import source
from lib.ui import charts, panels
from lib.ui.controls import Controls
from lib.ui.jaxpr_table import jaxpr_html
from lib.ui.settings import ask
from lib.ui.style import TEST, TRAIN

SHOWN = 160
"""Examples in the picture of the fit."""
MESSAGES = 2
"""Messages that are shown, the newest."""
WEIGHTS = ("w1", "b1", "w2", "b2")


def ticket(run: LiveRun, seed: int) -> np.int32:
    """The number under which the messages of this visitor's run are kept.

    A run that has not begun gets another one: a step of the run before may still be on its way, and speak.
    """
    kept: tuple[int, np.int32] | None = st.session_state.get("_ticket")
    if kept is None or kept[0] != seed or run.snapshot().status is Status.READY:
        kept = st.session_state["_ticket"] = (seed, BOARD.ticket())
    return kept[1]


@cache
def _fit_spec(title: str, height: int) -> charts.Spec:
    """Points, a mean, and a band of one standard deviation to each side."""
    x = alt.X("x:Q", title="x", scale=alt.Scale(domain=[-1, 1], nice=False), axis=alt.Axis(tickCount=4))
    y = alt.Y("y:Q", title="y", scale=alt.Scale(domain=[-3, 3]))
    points = alt.Chart(charts.named("points")).mark_point(size=40, filled=True, opacity=0.4, color=TEST).encode(x, y)
    band = alt.Chart(charts.named("fit")).mark_area(opacity=0.25, color=TRAIN, clip=True)
    mean = alt.Chart(charts.named("fit")).mark_line(strokeWidth=3, color=TRAIN, clip=True)
    return charts.build(
        alt.layer(points, band.encode(x, alt.Y("low:Q", title="y"), alt.Y2("high:Q")), mean.encode(x, y)), height, title
    )


def draw_run(
    data: tuple[np.ndarray, np.ndarray], every: int, ticket: np.int32
) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws what the network says of the data, the loss, and what the steps have said, newest first."""
    nothing = "Press Run: what the step says stands here." if every else "This step has no callback."

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        fit = {}
        if snapshot.picture is not None:
            mean, scale = (np.clip(snapshot.picture[name], -1e3, 1e3) for name in ("means", "scales"))
            fit = {"x": GRID, "y": mean, "low": mean - scale, "high": mean + scale}
        said = BOARD.read(ticket, snapshot.step)[:MESSAGES] or [nothing]
        return [
            charts.chart(
                _fit_spec("Mean, one deviation to each side", 300), "The data, and the fit", 0.5,
                points={"x": data[0][:SHOWN], "y": data[1][:SHOWN]}, fit=fit,
            ),
            charts.fan("Loss: mean, range", "negative log-likelihood", snapshot, log=False, width=0.5),
            charts.Text("\n".join(said + [" "] * (MESSAGES - len(said))), "code"),  # as many lines: charts hold still
        ]  # fmt: skip

    return draw


def find_the_nan(run: LiveRun, controls: Controls) -> None:
    """A button that runs the next step of a run under the tools, and what they found."""

    def press() -> None:
        picture = run.look().picture
        if picture is not None:
            st.session_state["_nan_step"] = Step(
                {name: picture[name] for name in WEIGHTS}, int(picture["step"]), controls.batch_size,
                controls.learning_rate, controls.seed,
            )  # fmt: skip

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Find the NaN", key="find_nan", icon=":material/search:", on_click=press)
        st.caption(
            "Let the run diverge, then press: the step after the last finite one runs again, under `debug_nans`, under "
            "`checkify`, and equation by equation."
        )
    step: Step | None = st.session_state.get("_nan_step")
    if step is not None and run.look().picture is not None:
        panels.answer(lambda found: _draw_found(found, step), controls.device, hunt, step)


def _draw_found(found: Found, step: Step) -> None:
    st.code(
        f"step {step.number + 1:,}\nloss        {found.loss}\ndebug_nans  {found.debug_nans}\ncheckify    {found.checkify}",
        language=None, wrap_lines=True,
    )  # fmt: skip
    if found.place is None:
        st.markdown("All numbers of this step are finite: there is nothing to find yet.")
        return
    st.markdown(
        f"**The equation that made it**, number {found.place + 1} of {len(found.program)}: what went in is finite, what came "
        "out is not."
    )
    shown = slice(max(0, found.place - 4), found.place + 3)
    places = range(len(found.program))[shown]
    st.html(jaxpr_html(found.program[shown], ["bad" if place == found.place else "" for place in places]))
    st.code("\n".join(["in:  " + text for text in found.took] + ["out: " + text for text in found.gave]), language=None)


def tools(controls: Controls) -> None:
    """One tool at a time: its code, and what it says."""
    name = ask("debug_tool", "Tool", list(TOOLS), default=next(iter(TOOLS)), required=True)
    tool = TOOLS[name]
    code, said = st.columns([1.15, 1], gap="medium")
    with code:
        st.code(source(tool.use), wrap_lines=True)
    with said:
        st.markdown(tool.about)
        use = use_tool_alone if tool.alone else use_tool
        panels.answer(
            _draw_said, controls.device, use, name, controls.batch_size, controls.learning_rate, controls.seed
        )


def _draw_said(said: dict[str, list[str]]) -> None:
    for heading, lines in said.items():
        st.markdown(f"**{heading}**")
        st.code("\n".join(lines), language=None, wrap_lines=True)


def terminal(controls: Controls) -> None:
    """A button that runs a program in a process of its own, and what it printed."""
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Run it in a terminal", key="terminal", icon=":material/terminal:")
        st.caption("A new process, two or three seconds. Its standard output is read here; the server's is left alone.")
    if pressed:
        st.session_state["_terminal"] = True
    if st.session_state.get("_terminal"):
        panels.answer(_draw_terminal, controls.device, run_in_a_terminal)


def _draw_terminal(text: str) -> None:
    st.code(text, language=None)


def gallery() -> None:
    """All the mistakes at once: a press on one provokes it."""
    chosen = ask("gallery", "Provoke one", list(MISTAKES))
    if chosen is None:
        st.caption("Press one: the wrong version and the mended one run side by side, on the server, for real.")
        return
    panels.sources(MISTAKES[chosen])
    panels.provoked(MISTAKES[chosen])
