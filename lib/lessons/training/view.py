"""What the training page needs beside the live run: the choice of data and network, and the pins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from lib.lessons.training import presets
from lib.lessons.training.charts import PIN_COLORS, Pin
from lib.lessons.training.routine import OPTIMIZERS, Training
from lib.live.run import LiveRun
from lib.routines import datasets
from lib.routines.networks import ACTIVATIONS, INITIALISATIONS, Network
from lib.ui import stage
from lib.ui.charts import bands
from lib.ui.controls import Controls, lend
from lib.ui.settings import SETTINGS, ask
from lib.ui.style import literal

OWN = "your own CSV"
EXAMPLES = ["all", "32", "64", "256"]
WIDTHS = [1, 2, 4, 8, 10, 16, 32, 64, 128]
PIN_POINTS = 40
SUITS = {"SGD": (0.03, 1.0), "momentum": (0.003, 0.3), "Adam": (0.001, 0.1)}
"""The learning rates that suit an optimizer on the data of this page."""

DEFAULTS: dict[str, Any] = {
    name: SETTINGS[name].default for name in (*presets.SETS, *presets.SHARED) if name in SETTINGS
} | {"training_pace": presets.PACE}


def _apply_preset(run: LiveRun) -> None:
    """Sets every control to what the chosen preset says, or else to its default, and puts the run back to its start. It
    does not start it."""
    chosen = st.session_state.get("preset")
    if chosen in presets.PRESETS:
        run.reset()
        settings = DEFAULTS | presets.PRESETS[chosen].settings
        lend("training", **{name: settings.pop(name) for name in presets.SHARED})
        st.session_state.update(settings)


def choose_preset(run: LiveRun) -> None:
    """The presets."""
    labels = {name: ("✓ " if preset.good else "✗ ") + name for name, preset in presets.PRESETS.items()}
    st.selectbox(
        "Preset", list(labels), index=None, format_func=labels.__getitem__, placeholder="none", key="preset", width=190,
        help="Settings that are known to work (✓) or to fail (✗). The run goes back to its start.",
        on_change=_apply_preset, args=(run,),
    )  # fmt: skip


def expectation() -> None:
    """What to expect of the chosen preset."""
    chosen = st.session_state.get("preset")
    if chosen in presets.PRESETS:
        preset = presets.PRESETS[chosen]
        settings = DEFAULTS | preset.settings
        changed = [name for name, value in settings.items() if st.session_state.get(name, value) != value]
        st.caption(preset.expect + (f" (Changed since: {', '.join(changed)}.)" if changed else ""))


def bad_presets() -> str:
    """The presets that fail, in Markdown."""
    bad = [f"- **{name}**: {preset.expect}" for name, preset in presets.PRESETS.items() if not preset.good]
    return "\n".join(["Choose one of these presets above and press **Run**.", "", *bad])


def choose_data(controls: Controls) -> datasets.Dataset | None:
    """The data to train on, or None with a sentence that says what is missing."""
    name = ask(
        "data",
        "Data",
        [*datasets.NAMES, OWN],
        width=130,
        help="What the network learns; a table of your own is a CSV file.",
    )
    if name != OWN:
        examples = ask("examples", "Examples", EXAMPLES, width=95, help="To train on; a few are learnt by heart.")
        return datasets.load(name, controls.seed, None if examples == "all" else int(examples))
    return _own_data(controls.seed)


def _own_data(seed: int) -> datasets.Dataset | None:
    file = st.file_uploader(
        "A CSV with a row of column names and then rows of numbers; one column is the target. 5 MB at the most.",
        type=["csv", "txt", "tsv"], key="csv",
    )  # fmt: skip
    if file is None:
        st.info("Choose a CSV file above. It is read in this session's memory alone, and gone with it.")
        return None
    kept = st.session_state.setdefault("_csv", {})
    try:
        if kept.get("file") != file.file_id:
            kept.clear()
            kept["table"] = datasets.read_csv(file.getvalue())
            kept["file"] = file.file_id
        table: pd.DataFrame = kept["table"]
        target = st.selectbox("Target", list(table.columns), len(table.columns) - 1, key="csv_target")
        if kept.get("asked") != (target, seed):
            kept["dataset"] = datasets.from_table(table, target, seed, file.name)
            kept["asked"] = (target, seed)
    except datasets.DataError as error:
        st.error(literal(error))
        return None
    dataset: datasets.Dataset = kept["dataset"]
    kind = f"{dataset.classes} classes" if dataset.classes else "regression"
    st.caption(
        f"{len(dataset.train[0]):,} examples to train on, {len(dataset.test[0]):,} held out; "
        f"{dataset.features} features, {kind}."
    )
    return dataset


def choose_network(dataset: datasets.Dataset, batch_size: int) -> Training:
    """Depth, width, activation, initialisation and optimizer."""
    depth = ask("depth", "Layers", [0, 1, 2, 3, 4], width=75, help="Hidden ones; 0 makes a linear model.")
    width = ask("width", "Units", WIDTHS, width=75, help="Of each hidden layer. The picture shows eight at the most.")
    activation = ask("activation", "Activation", list(ACTIVATIONS), width=105, help="What bends a unit's sum.")
    initialisation = ask(
        "initialisation", "Initialisation", list(INITIALISATIONS), width=125,
        help="; ".join(f"{name}: {text}" for name, text in INITIALISATIONS.items()),
    )  # fmt: skip
    optimizer = ask(
        "optimizer", "Optimizer", list(OPTIMIZERS), width=125, help="Makes a step of a gradient: one of Optax."
    )
    network = Network(dataset.features, dataset.outputs, depth, width, activation, initialisation)
    return Training(network, dataset.classes, dataset.picture, optimizer, batch_size, dataset)


def pins(run: LiveRun, settings: str) -> None:
    """The buttons that keep the loss curve of a run in the chart, to compare the next ones with."""
    with stage.buttons():
        st.button(
            "Pin", key="training_pin", icon=":material/push_pin:", on_click=_pin, args=(run, settings),
            help="Keeps this run's loss curve in the chart, to compare the next one with.",
        )  # fmt: skip
    with stage.more():
        st.button("Unpin all", key="training_unpin", icon=":material/keep_off:", on_click=_unpin)


def pinned() -> dict[str, Pin]:
    """The curves that are kept, as they are now, and a line on what they are of."""
    kept: dict[str, Pin] = dict(st.session_state.get("_pins", {}))
    if kept:
        with stage.below():
            st.caption(" · ".join(f"{name}: {pin.settings}" for name, pin in kept.items()))
    return kept


def _pin(run: LiveRun, settings: str) -> None:
    kept = st.session_state.setdefault("_pins", {})
    snapshot = run.look()
    if snapshot.metrics:
        parts = (snapshot.metrics, snapshot.lows, snapshot.highs)
        losses, _, _ = bands.smoothed(*(part["loss"] for part in parts))
        # Every so many points, the last one always.
        rows = np.unique(np.linspace(0, len(losses) - 1, PIN_POINTS).astype(int))
        number = st.session_state["_pinned"] = st.session_state.get("_pinned", 0) + 1
        kept[f"pin {number}"] = Pin(
            settings, {axis: at[rows] for axis, at in snapshot.coordinates.items()}, losses[rows]
        )
        while len(kept) > len(PIN_COLORS):
            kept.pop(next(iter(kept)))


def _unpin() -> None:
    st.session_state.pop("_pins", None)
