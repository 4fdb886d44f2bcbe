"""A live run on a page: its buttons, its numbers, its charts."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import nullcontext
from functools import partial
from html import escape
from typing import Any

import streamlit as st

from lib.live.cluster import answer_of
from lib.live.comparison import break_even, compare_step, lines_of
from lib.live.devices import CPUS
from lib.live.engine import Unwanted, default_engine
from lib.live.feed import Feed, default_feeds
from lib.live.measurement import Measurement, default_measurements
from lib.live.run import Compilation, LiveRun, Snapshot, Spec, Status
from lib.live.worker import LocalWorker, place
from lib.measure.timing import duration
from lib.routines.problem import Problem, ProblemError
from lib.ui import charts, frame, frames, push, room_view, stage, take_home, waiting
from lib.ui.controls import Controls
from lib.ui.settings import ask, visitor
from lib.ui.style import quantity, stats

START_S = 0.05
"""A script waits so long for the picture of a start, which takes some milliseconds once its programs are there."""
TICKS_S = (0.25, 0.5, 2.0)
TICKS_PER_CPU_S = 60
"""Ticks a second that a processor core may be asked for by all tabs whose script draws: each costs some 4 ms."""
PACES: dict[str, float | None] = {"5": 5, "20": 20, "100": 100, "1000": 1000, "10000": 10000, "unlimited": None}
FAR = 3.0
"""A learning rate is far from those that suit a lesson if it is so many times as high, or as low."""
ICONS = {
    Status.READY: "○",
    Status.COMPILING: "◌",
    Status.RUNNING: "●",
    Status.PAUSED: "‖",
    Status.FINISHED: "■",
    Status.DIVERGED: "▲",
    Status.FAILED: "✕",
}

Draw = Callable[[Snapshot], Sequence[charts.Shown]]
"""What a run shows, of its snapshot alone: it is called outside of the script."""


def session_feed(name: str) -> Feed:
    """The frames of this visitor's run of that name."""
    key = f"_feed_{name}"
    kept = room_view.kept()
    if kept is not None and key in kept:
        st.session_state[key] = kept[key]
    if key not in st.session_state:
        st.session_state[key] = default_feeds().open(LiveRun(default_engine()))
    if kept is not None:
        kept[key] = st.session_state[key]
    feed: Feed = st.session_state[key]
    return feed


def live(
    problem: Problem,
    controls: Controls,
    draw: Draw,
    *,
    code: str = "",
    suits: tuple[float, float] | None = None,
    name: str | None = None,
    pace: str = "1000",
    stop_at: int | None = None,
    extra_stats: Callable[[Snapshot], dict[str, str]] | None = None,
    compares: bool = True,
    stand_in: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot,
) -> LiveRun:
    """Shows a live run of a problem with the settings of the bar: on the stage, or where it is called.

    Args:
        draw: gives what a snapshot shows, charts for one row. Called four times a second while the run is active. Behind
            it is charted what a step takes, and what it took to compile.
        code: the line that runs, with the settings put in.
        suits: the lowest and the highest learning rate that suit the problem.
        name: of a further run of a page, which has buttons of its own; what its widgets' keys begin with.
        pace: the steps a second to begin with, one of `PACES`: at full speed a small problem is over before one sees
            it, and a class that looks on leaves the processor to others.
        stop_at: the step at which Run ends.
        extra_stats: further numbers for the row of numbers.
        compares: whether the step can be measured beside the run; not where each step does more than to compute.
        stand_in: what the charts show in the place of a snapshot.
    """
    on_stage = name is None
    name = name or frame.page_name()
    feed = session_feed(name)
    run = feed.run
    with stage.buttons() if on_stage else st.container(horizontal=True, vertical_alignment="bottom"):
        _buttons(name, run, stop_at)
        compared = _compared(name, problem, controls) if compares else None
        with stage.more() if on_stage else nullcontext():
            chosen_pace: str = ask("{}_pace", "Steps a second", list(PACES), part=name, default=pace, width=150)
            take_home.buttons(name, problem, controls, timings=compares)
    with stage.below() if on_stage else st.container():
        if code:
            st.html(f"<code class='runs'>{escape(code)}</code>")
        if st.session_state.get("device", controls.device_name) != controls.device_name:
            st.caption(
                f":material/info: What this lesson shows is in the app's own process: it computes on {controls.device_name} here."
            )
        if suits is not None and not suits[0] / FAR <= controls.learning_rate <= suits[1] * FAR:
            side = "above" if controls.learning_rate > suits[1] else "below"
            st.caption(
                f":material/warning: A learning rate of {controls.learning_rate:g} is far {side} what suits this lesson, "
                f"{suits[0]:g} to {suits[1]:g}."
            )
    spec = Spec(problem, controls.device, controls.seed)
    try:
        run.configure(spec, controls.learning_rate, PACES[chosen_pace])
    except ProblemError as error:
        st.error(str(error))
        raise frame.PageEnd from None

    start = _start_picture(name, spec)

    def frame_of(snapshot: Snapshot) -> frames.LiveFrame:
        if snapshot.picture is None and start.done() and not start.exception():
            snapshot = snapshot._replace(picture=start.result())
        charted = stand_in(snapshot)
        records = compared.records if compared is not None else []
        times = charts.step_times(charted, lines_of(records), width=0.5 if on_stage else 1.0)
        return frames.LiveFrame(
            _numbers(charted, extra_stats),
            [*draw(charted), times],
            [*_worth(compared), *_notes(snapshot)],
            {Status.READY: "Press Run", Status.COMPILING: "compiling …"}.get(snapshot.status, ""),
        )

    with stage.run() if on_stage else st.container():
        if push.serves():

            def show(*_: object) -> None:
                feed.show(lambda snapshot: frames.encode(frame_of(snapshot)))

            if run.snapshot().picture is None:
                wait([start], START_S)  # most are there by then, and the first frame is whole
            if not start.done():
                start.add_done_callback(lambda _: feed.changed())
            if compared is None:
                show()
            else:
                waiting.watch(partial(_look, compared), show, endless=True)
            settings = (
                f"{stage.page().title}; {controls}, learning rate {controls.learning_rate:g}, seed {controls.seed}"
            )
            push.show(feed, f"{name}_live", settings, fills=on_stage, presenting=stage.presenting())
        else:
            _draw_here(run, frame_of, start)
    return run


def ready(device: Any, fun: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """A call that gives what a function of a module gives on a device, or None until it is there.

    It is computed in the background, once for all visitors; then a frame of the page's run is due.
    """
    future = answer_of(device, fun, *args, wish=waiting.wish())
    if not future.done():
        # All visitors share the future, which keeps its callbacks: not with them this visitor's run.
        feed = weakref.ref(session_feed(frame.page_name()))

        def due(_: Future) -> None:
            if (there := feed()) is not None:
                there.changed()

        future.add_done_callback(due)
    return lambda: None if not future.done() or isinstance(future.exception(), Unwanted) else future.result()


def _start_picture(name: str, spec: Spec) -> Future:
    """What a run shows before its first step."""
    key = f"_start_{name}"
    asked: tuple[Any, Future] | None = st.session_state.get(key)
    if asked is None or asked[0] != spec.identity or not asked[1].done() or isinstance(asked[1].exception(), Unwanted):
        worker, device = place(spec.device, LocalWorker(default_engine()))
        picture = worker.picture(spec.on(device), waiting.wish())
        asked = st.session_state[key] = (spec.identity, picture)
    return asked[1]


def _buttons(name: str, run: LiveRun, stop_at: int | None) -> None:
    presents = stage.presenting()  # then the keys stand on the buttons
    st.button(
        "Run :small[Space]" if presents else "Run",
        key=f"{name}_run",
        type="primary",
        icon=":material/play_arrow:",
        on_click=run.run,
        args=(stop_at,),
    )
    for text, key, icon, press, does in (
        ("Pause", "Space", "pause", run.pause, "Stops after the steps that are being computed."),
        ("Step", "S", "skip_next", run.step, "Takes one step."),
        ("Go back", "B", "history", run.go_back, "To when the loss was last near its lowest; forgets later steps."),
        ("Reset", "R", "replay", run.reset, "Back to before the first step."),
    ):
        st.button(
            key if presents else text,
            key=f"{name}_{text.lower().replace(' ', '_')}",
            icon=f":material/{icon}:",
            on_click=press,
            help=f"{text}. {does}" if presents else does,
        )


def _compared(name: str, problem: Problem, controls: Controls) -> Measurement | None:
    """The button that measures the step without `jit` and the dispatch alone; what came of the last press."""
    name = f"{name}_compare"
    key = f"_measurement_{name}"
    settings = (compare_step, problem, controls.seed, controls.device)
    line = default_measurements()

    def press() -> None:
        device = line.placed(controls.device)
        make = partial(compare_step, device, problem, controls.seed, controls.learning_rate)
        st.session_state[key] = line.ask(visitor(), settings, device, make, str(controls))

    st.button(
        "Compare",
        key=name,
        icon=":material/compare_arrows:",
        on_click=press,
        help="Measures a step without `jit`, and the dispatch alone, and draws both into the chart of times.",
    )
    taken: Measurement | None = st.session_state.get(key)
    return taken if taken is not None and taken.key == settings else None


def _look(compared: Measurement) -> waiting.Look:
    ahead = default_measurements().look(compared, visitor())  # keeps it wanted
    return waiting.Look((len(compared.records), ahead, compared.done), compared.done)


def _worth(compared: Measurement | None) -> list[charts.Text]:
    """What compiling is worth, by what has been measured."""
    if compared is None:
        return []
    if compared.error:
        return [charts.Text(f"The comparison has ended: {compared.error}", "warning")]
    if not compared.done:
        return [charts.Text(f"A step without `jit`: {default_measurements().doing(compared)} …", "info")]
    said = break_even(compared.records)
    return [charts.Text(said, "info")] if said else []


def _draw_here(run: LiveRun, frame_of: Callable[[Snapshot], frames.LiveFrame], start: Future) -> None:
    """Has the script itself draw frame after frame, where none can be pushed."""
    newest, seen = run.look(), 0

    def look() -> waiting.Look:
        nonlocal newest, seen
        tick = int(time.monotonic() / _tick_s(newest.audience))
        if newest.active and tick != seen:
            newest, seen = run.look(), tick
        if newest.active:
            return waiting.Look(seen, False)
        return waiting.Look(("at rest", start.done()), start.done())

    def show(_: object) -> None:
        shown = frame_of(newest)
        stats(shown.stats)
        charts.show_all((*shown.shown, *shown.notes))

    waiting.watch(look, show, endless=True)


def _tick_s(audience: int) -> float:
    """How often a script draws: the more there are, the less often, so that all are answered in time."""
    due = audience / (TICKS_PER_CPU_S * CPUS)
    return next((tick for tick in TICKS_S if tick >= due), TICKS_S[-1])


def _numbers(snapshot: Snapshot, extra: Callable[[Snapshot], dict[str, str]] | None) -> dict[str, str]:
    status = f"{ICONS[snapshot.status]} {snapshot.status.value}"
    if snapshot.status is Status.COMPILING:
        status = f"{ICONS[snapshot.status]} compiling … {snapshot.since_s:.1f} s"
    elif snapshot.status is Status.FINISHED:
        status = f"{ICONS[snapshot.status]} finished"
    loss = f"{snapshot.latest['loss']:.3g}" if snapshot.latest else "–"
    return (
        {"Status": status, "Step": f"{snapshot.step:,}", "Loss": loss}
        | (extra(snapshot) if extra is not None else {})
        | {
            "Steps/s": quantity(snapshot.steps_per_s) if snapshot.steps_per_s else "–",
            "Time per step": duration(snapshot.ms_per_step) if snapshot.ms_per_step else "–",
            "Learning rate": f"{snapshot.learning_rate:g}",
        }
    )


def _notes(snapshot: Snapshot) -> list[charts.Text]:
    """What has happened, and how often the run was compiled, how long it took, and why."""
    notes = []
    if snapshot.status is Status.FAILED:
        notes += [
            charts.Text("The run has ended with this error. Change a setting and press Run, or Reset.", "error"),
            charts.Text(snapshot.message, "code"),
        ]
    elif snapshot.message:
        notes.append(charts.Text(snapshot.message, "warning" if snapshot.status is Status.DIVERGED else "info"))
    if snapshot.status is Status.COMPILING:
        text = f"Compiling a step for batch size {snapshot.batch_size} on {snapshot.device}: trace, lower, compile."
        return [*notes, charts.Text(text)]
    if not snapshot.compilations:
        text = "No step is compiled yet. The first Run compiles one, and starts slowly."
        return [*notes, charts.Text(text)]
    last = snapshot.compilations[-1]
    phases = last.steps.phases
    split = (
        f"trace {duration(phases.trace_ms)} + lower {duration(phases.lower_ms)} + compile {duration(phases.compile_ms)}"
    )
    how = "found compiled by an earlier run; then it took" if last.shared else "compiled:"
    rates = sum(text.startswith("learning rate") for _, text in snapshot.events)
    times = "time" if rates == 1 else "times"
    text = (
        f"Programs of this run: **{len(snapshot.compilations)}**. The last, for batch size "
        f"{snapshot.batch_size} on {snapshot.device}, {how} {split}. "
        f"Learning rate changed {rates} {times} on the way: **0** compilations."
    )
    if len(snapshot.compilations) == 1:
        return [*notes, charts.Text(text)]
    why = [line for compilation in snapshot.compilations for line in _why(compilation)]
    return [*notes, charts.Text("\n".join([f"{text} **Why it compiled again**", *why]), "folded")]


def _why(compilation: Compilation) -> list[str]:
    change = compilation.change or "the first program of this run"
    cost = "nothing: the program was there" if compilation.shared else duration(compilation.steps.phases.total_ms)
    said = compilation.steps.reason
    return [f"At step {compilation.step:,}: {change}; it cost {cost}.", *said.splitlines()]
