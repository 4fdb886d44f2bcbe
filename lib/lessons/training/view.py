"""What the training page needs beside the live run: the choice of data, and the pictures of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from lib.lessons.training import presets
from lib.lessons.training.routine import DIGITS_SHOWN, OPTIMIZERS, SCATTERED, Training
from lib.live.run import AXES, LiveRun, Snapshot
from lib.routines import datasets
from lib.routines.networks import ACTIVATIONS, INITIALISATIONS, Network
from lib.ui import charts
from lib.ui.controls import Controls
from lib.ui.style import SERIES, TEST, TRAIN

OWN = "your own CSV"
EXAMPLES = ["all", "32", "64", "256"]
WIDTHS = [1, 2, 4, 8, 10, 16, 32, 64, 128]
POINTS = 200
"""Examples in a picture, at the most: a frame has to stay below 10 kB."""
MAX_PINS = 4
PIN_POINTS = 100
HEIGHT = 480


def apply_preset() -> None:
    """Sets every control to what the chosen preset says, or else its default."""
    chosen = st.session_state.get("preset")
    if chosen in presets.PRESETS:
        for name, value in (presets.DEFAULTS | presets.PRESETS[chosen].settings).items():
            st.session_state[name] = value


def choose_preset() -> None:
    """The presets, and what to expect of the chosen one."""
    labels = {name: ("✓ " if preset.good else "✗ ") + name for name, preset in presets.PRESETS.items()}
    chosen = st.selectbox(
        "Preset (✓ known to be good, ✗ known to be bad)", list(labels), index=None, format_func=labels.__getitem__,
        placeholder="set everything below by hand, or choose", key="preset", on_change=apply_preset,
    )  # fmt: skip
    if chosen is not None:
        preset = presets.PRESETS[chosen]
        settings = presets.DEFAULTS | preset.settings
        changed = [name for name, value in settings.items() if st.session_state.get(name, value) != value]
        st.caption(preset.expect + (f" (Changed since: {', '.join(changed)}.)" if changed else ""))


def choose_data(controls: Controls) -> datasets.Dataset | None:
    """The data to train on, or None with a sentence that says what is missing."""
    with st.container(horizontal=True):
        name = st.selectbox("Data", [*datasets.NAMES, OWN], key="data", bind="query-params", width=200)
        if name != OWN:
            examples = st.selectbox("Examples", EXAMPLES, key="examples", bind="query-params", width=110)
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
            kept["dataset"] = datasets.from_table(table, target, seed)
            kept["asked"] = (target, seed)
    except datasets.DataError as error:
        st.error(str(error))
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
    with st.container(horizontal=True):
        depth = st.select_slider("Hidden layers", [0, 1, 2, 3, 4], 2, key="depth", bind="query-params", width=155)
        width = st.select_slider("Units a layer", WIDTHS, 8, key="width", bind="query-params", width=155)
    with st.container(horizontal=True):
        activation = st.selectbox("Activation", list(ACTIVATIONS), key="activation", bind="query-params", width=150)
        initialisation = st.selectbox(
            "Initialisation", list(INITIALISATIONS), key="initialisation", bind="query-params", width=190,
            help="; ".join(f"{name}: {text}" for name, text in INITIALISATIONS.items()),
        )  # fmt: skip
        optimizer = st.selectbox("Optimizer", list(OPTIMIZERS), 2, key="optimizer", bind="query-params", width=150)
    network = Network(dataset.features, dataset.outputs, depth, width, activation, initialisation)
    return Training(network, dataset.classes, dataset.picture, optimizer, batch_size)


def pins(run: LiveRun, label: str) -> None:
    """The buttons that keep the loss curve of a run in the chart, to compare the next ones with."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Pin", key="training_pin", icon=":material/push_pin:", on_click=_pin, args=(run, label))
        st.button("Unpin all", key="training_unpin", on_click=_unpin)
        st.caption("Pin keeps this run's loss curve in the chart, to compare the next one with.")


def _pin(run: LiveRun, label: str) -> None:
    kept = st.session_state.setdefault("_pins", {})
    snapshot = run.look()
    if len(snapshot.values):
        # Every so many points, the last one always.
        rows = np.unique(np.linspace(0, len(snapshot.values) - 1, PIN_POINTS).astype(int))
        number = st.session_state["_pinned"] = st.session_state.get("_pinned", 0) + 1
        kept[f"{number}: {label}"] = (snapshot.coordinates[rows], snapshot.values[rows, 0])
        while len(kept) > MAX_PINS:
            kept.pop(next(iter(kept)))


def _unpin() -> None:
    st.session_state.pop("_pins", None)


def draw_loss(snapshot: Snapshot, axis: str, log: bool) -> None:
    """The loss of training batches, that of the test examples, and the pinned curves."""
    title, column = "Loss: each training batch, and the test examples", AXES.index(axis)
    if not len(snapshot.values):
        charts.nothing_yet(title, HEIGHT)
        return
    series = {"train": (snapshot.coordinates[:, column], snapshot.values[:, 0])}
    colors = {"train": TRAIN, "test": TEST}
    series["test"] = (np.empty(0), np.empty(0))
    if "test_loss" in snapshot.seen_series:
        at = snapshot.seen_series.index("test_loss")
        series["test"] = (snapshot.seen_coordinates[:, column], snapshot.seen_values[:, at])
    for i, (name, (coordinates, values)) in enumerate(st.session_state.get("_pins", {}).items()):
        series[name] = (coordinates[:, column], values)
        colors[name] = [SERIES[2], SERIES[3], SERIES[1], SERIES[6]][i % MAX_PINS]
    spec = charts.lines_spec(
        title, charts.AXIS_TITLES[axis], "loss", log, tuple(series),
        tuple(colors[name] for name in series), HEIGHT,
    )  # fmt: skip
    charts.show(spec, "Training and test loss", lines=charts.lines(series, log))


def draw_picture(dataset: datasets.Dataset, snapshot: Snapshot) -> None:
    """What the network makes of its inputs, as suits the data; the data alone before the first step."""
    picture = snapshot.picture or {}
    drawn = {"surface": _surface, "curve": _curve, "digits": _digits, "scatter": _scatter, "classes": _classes}
    drawn[dataset.picture](dataset, picture)


def _surface(dataset: datasets.Dataset, picture: dict[str, Any]) -> None:
    _, x, y = dataset.grid
    grid = picture.get("grid", np.empty(0))
    inputs, targets = (a[:POINTS] for a in dataset.train)
    codes = np.asarray(dataset.labels, dtype=object)[targets.astype(int)]
    spec = charts.surface_spec(
        "Decision surface", datasets.GRID, x, y, (*dataset.names[:3], *dataset.labels), dataset.classes, HEIGHT
    )
    cells = 255 * grid if dataset.classes == 2 else grid
    charts.show(
        spec, "What the network predicts at each place, with training examples on it",
        grid={"p": np.round(cells).astype(np.uint8)},
        points={"x": inputs[:, 0], "y": inputs[:, 1], "label": charts.words(codes)},
    )  # fmt: skip


def _curve(dataset: datasets.Dataset, picture: dict[str, Any]) -> None:
    grid, x, _ = dataset.grid
    train, test = ([a[: POINTS // 2] for a in part] for part in (dataset.train, dataset.test))
    spec = charts.fit_spec("The curve that the network has learnt", x, dataset.names[:2], HEIGHT)
    fitted = picture.get("curve", np.empty(0, np.float32))
    charts.show(
        spec, "The learnt curve through the training and test examples",
        points={
            "x": np.concatenate([train[0][:, 0], test[0][:, 0]]), "y": np.concatenate([train[1], test[1]]),
            "part": charts.repeated(("train", "test"), (len(train[1]), len(test[1]))),
        },
        curve={"x": grid[: len(fitted), 0], "y": fitted},
    )  # fmt: skip


def _digits(dataset: datasets.Dataset, picture: dict[str, Any]) -> None:
    inputs, targets = (a[:DIGITS_SHOWN] for a in dataset.test)
    taken_for = picture.get("labels")
    right = np.ones(len(targets), bool) if taken_for is None else taken_for == targets
    words = [""] * len(targets) if taken_for is None else [str(label) for label in taken_for]
    place = np.arange(len(targets))
    charts.show(
        charts.digits_spec("Unseen digits, and what the network takes them for", len(targets), height=HEIGHT),
        "Handwritten digits with the network's predictions",
        pixels={"ink": np.round(16 * inputs).astype(np.uint8).ravel()},
        labels={
            "x": (place % 8) * 10.0 + 4, "y": (place // 8) * 13.0 + 8.6, "label": words,
            "verdict": charts.words(np.where(right, "right", "wrong")),
        },
    )  # fmt: skip


def _scatter(dataset: datasets.Dataset, picture: dict[str, Any]) -> None:
    preds = picture.get("preds", np.empty(0, np.float32))
    spec = charts.scatter_spec("Test examples: prediction against target", dataset.names[-1], HEIGHT)
    charts.show(
        spec, "Predictions against targets", points={"target": dataset.test[1][:SCATTERED][: len(preds)], "pred": preds}
    )


def _classes(dataset: datasets.Dataset, picture: dict[str, Any]) -> None:
    counts = picture.get("counts", np.zeros((dataset.classes, dataset.classes), int))
    spec = charts.confusion_spec("Test examples: class against prediction", dataset.labels, HEIGHT)
    labels = np.array(dataset.labels, dtype=object)
    targets, preds = np.meshgrid(labels, labels, indexing="ij")
    charts.show(
        spec, "How many test examples of each class were taken for which",
        counts={"target": list(targets.ravel()), "pred": list(preds.ravel()), "count": counts.ravel()},
    )  # fmt: skip
