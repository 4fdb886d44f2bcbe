"""The panel of the processes that train together."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import streamlit as st

from lib.lessons.multi_device import many_devices
from lib.lessons.multi_device.processes import LINE, NUM_STEPS, PROCESSES, Job, Report, worker_commands
from lib.lessons.multi_device.view import overlaid
from lib.ui import charts, waiting
from lib.ui.controls import Controls
from lib.ui.live_view import ready
from lib.ui.style import SERIES

TICK_S = 0.4
COMMAND = "python -m lib.lessons.multi_device.worker --coordinator 10.0.0.1:8476 --processes 2 --process {}"


def processes(controls: Controls) -> None:
    """Buttons, progress and losses of a job of this visitor's own, or of the one that it waits for."""
    key = "_job"
    settings: tuple[Hashable, ...] = (controls.seed, controls.batch_size, controls.learning_rate)

    def start() -> None:
        stop()
        command = worker_commands(controls.batch_size, controls.learning_rate, controls.seed)
        st.session_state[key] = (Job(command), settings)

    def stop() -> None:
        if key in st.session_state:
            st.session_state[key][0].stop()

    job, taken = st.session_state.get(key, (None, settings))
    going_on = job is not None and job.look().active
    divides = controls.batch_size % PROCESSES == 0
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Start two processes",
            key="job_start",
            icon=":material/rocket_launch:",
            on_click=start,
            disabled=not divides,
        )
        st.button("Stop them", key="job_stop", icon=":material/stop:", on_click=stop, disabled=not going_on)
        st.caption(
            f"{NUM_STEPS} steps with batches of {controls.batch_size}, learning rate {controls.learning_rate:g}."
            if divides
            else f"A batch of {controls.batch_size} cannot be divided among {PROCESSES} processes; take a larger one."
        )
    in_line = f"; {_jobs(len(LINE))} running or waiting now" if len(LINE) and not going_on else ""
    st.caption(f"One job runs at a time on this machine{in_line}.")
    if job is None:
        return
    alone = ready(controls.device, many_devices.single_losses, *taken, NUM_STEPS)

    def look() -> waiting.Look:
        report, running = job.look(), LINE.running()
        shown = running.report() if report.ahead and running is not None and running is not job else report
        shown = shown._replace(elapsed_s=int(shown.elapsed_s / TICK_S) * TICK_S)
        there = alone() is not None
        return waiting.Look((report.ahead, shown, there), not report.active and there)

    def show(state: tuple[int, Report, bool]) -> None:
        ahead, shown, _ = state
        if ahead:
            st.caption(f"{_jobs(ahead)} before yours. This is the one that runs:")
        _draw_report(shown, None if ahead else alone())

    waiting.watch(look, show, endless=True)


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"


def _draw_report(report: Report, alone: np.ndarray | None) -> None:
    said = " · ".join(f"process {number}: **{words}**" for number, words in enumerate(report.progress))
    first = f" · first loss after {report.first_loss_s:.1f} s" if report.first_loss_s is not None else ""
    st.markdown(f"{said} · {report.elapsed_s:.1f} s{first}")
    if report.message:
        (st.info if report.message == "Stopped." else st.error)(report.message)
    if report.first_loss_s is None:
        return
    count = max(map(len, report.losses))
    columns = {}
    for number, losses in enumerate(report.losses):
        columns[f"process {number}"] = np.array([*losses, *[np.nan] * (count - len(losses))], np.float32)
    title = "Loss of each batch, as each process reports it"
    colors, steps = dict(zip(columns, (SERIES[1], SERIES[0]), strict=True)), np.arange(1, count + 1, dtype=np.int16)
    charts.show(overlaid(title, steps, columns, colors, (8.0, 1.5), False, 300, (0, NUM_STEPS)))
    if alone is not None:
        apart = max(
            np.abs(np.array(losses, np.float32) - alone[: len(losses)]).max(initial=0) for losses in report.losses
        )
        st.caption(f"Largest difference from a single device of this process: **{apart:.1e}**.")
