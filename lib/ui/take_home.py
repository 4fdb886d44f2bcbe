"""Take it home: what runs on a page, as a script and as a notebook; what was measured, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from functools import partial
from typing import Any
from urllib.parse import urlencode

import jax
import streamlit as st

from lib.live.measurement import Measurement
from lib.measure import export
from lib.measure.timing import Record, Rows
from lib.routines.problem import Problem
from lib.routines.specialise import CannotWriteError
from lib.ui import stage
from lib.ui.controls import Controls
from lib.ui.settings import PAGE

_whole: ContextVar[dict[str, Any]] = ContextVar("the run of the page that is taken home")
CHARTS = (
    '<div class="saves"><button data-save="png">PNG</button><button data-save="svg">SVG</button> of the charts</div>'
)
"""`frame.js` saves what is drawn in the panel that is open."""
HIDDEN = ("present", "embed", "room", "teach")
"""Of the address, what is not the lesson's."""


Settings = tuple[Callable[..., Rows], tuple[Hashable, ...], Any]
"""What is measured: the experiment, its arguments, the device."""


def buttons(name: str, problem: Problem, controls: Controls, timings: bool) -> None:
    """Downloads of a run. Nothing is written before one is pressed.

    Args:
        name: of the run; what the widgets' keys and the files begin with.
        timings: whether a step can be measured by itself.
    """
    said = _said(f"{controls}, learning rate {controls.learning_rate:g}, seed {controls.seed}")
    whole: dict[str, Any] = {
        "page": PAGE.get(),
        "notice": "",
    }  # what follows the stage says it, before a button can be pressed

    def take() -> export.TakenHome:
        about = said._replace(notice=whole["notice"])
        device = _here(controls.device)
        return export.take_run(problem, controls.seed, controls.learning_rate, about, device, timings)

    if name == PAGE.get():
        whole["make"] = partial(_written, take)
        _whole.set(whole)
    st.markdown("Take it home")
    _downloads(name, take, "This run with these settings, free of this app: it gives the same losses.")


def _said(settings: str) -> export.Page:
    """What the page says of itself."""
    page = stage.page()
    return export.Page(page.title, _address(), page.task, page.idea, settings=settings)


def _here(device: Any) -> jax.Device:
    """The device, or for one of a cluster the first of this machine."""
    return device if isinstance(device, jax.Device) else jax.devices()[0]


def _written(take: Callable[[], export.TakenHome], kind: str) -> str:
    try:
        taken = take()
    except CannotWriteError as error:
        return f"# This has no form as code: {error}. Choose another function or other data.\n"
    return taken.script() if kind == "py" else taken.notebook()


def _downloads(name: str, take: Callable[[], export.TakenHome], about: str) -> None:
    for label, kind, mime, icon in (
        ("Script", "py", "text/x-python", "code"),
        ("Notebook", "ipynb", "application/x-ipynb+json", "menu_book"),
    ):
        st.download_button(
            label, partial(_written, take, kind), f"{name}.{kind}", mime, key=f"{name}_{kind}", on_click="ignore",
            icon=f":material/{icon}:", help=about,
        )  # fmt: skip


def _of_this_page() -> dict[str, Any] | None:
    whole = _whole.get(None)
    return whole if whole is not None and whole["page"] == PAGE.get() else None


def notice(text: str) -> None:
    """What there is to notice on the page, for the notebook."""
    if (whole := _of_this_page()) is not None:
        whole["notice"] = text


def code() -> None:
    """The whole run as the script has it, to be copied. It is written when it is opened."""
    whole = _of_this_page()
    if whole is None:
        return
    opened = st.expander("The run above as a script of its own", key="whole_run", on_change="rerun")
    if opened.open:
        with opened:
            st.code(whole["make"]("py"), language="python", height=480)


def measured(name: str, measurement: Measurement, settings: Settings) -> None:
    """Downloads of a measurement of `panels.measure`: its records, a row each, and the code that takes it anew.

    Args:
        settings: the visitor's own, by which the code is written. Others may have asked for what equals them, with
            another name for their columns.
    """
    experiment, args, device = settings
    records = tuple(measurement.records)
    said = _said(measurement.about)
    sweep = any(record.size is not None for record in records)

    def take() -> export.TakenHome:
        return export.take_measurement(experiment, args, said, _here(device), sweep)

    with st.popover("Take it home", icon=":material/download:"):
        _downloads(name, take, "This measurement with these settings, free of this app, to be taken on your machine.")
        st.download_button(
            "CSV", partial(_csv, records), f"{name}.csv", "text/csv", key=f"{name}_csv", on_click="ignore",
            icon=":material/table:", help="All that was measured here, in milliseconds.",
        )  # fmt: skip
        st.html(CHARTS)


def _csv(measured: tuple[Record, ...]) -> str:
    more = sorted({name for record in measured for name in record.more})
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*(field for field in Record._fields if field != "more"), *more])
    for record in measured:
        table.writerow([*record[:-1], *(record.more.get(name) for name in more)])
    return text.getvalue()


def _address() -> str:
    """The link that restores the page with its settings."""
    lesson = [(key, value) for key in st.query_params if key not in HIDDEN for value in st.query_params.get_all(key)]
    where = (st.context.url or "").partition("?")[0]
    return f"{where}?{urlencode(lesson)}" if lesson else where
