"""The charts of a training: its losses, and what the network makes of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np

from lib.lessons.training.routine import DIGITS_SHOWN, SCATTERED
from lib.live.run import Snapshot
from lib.routines import datasets
from lib.ui import charts
from lib.ui.style import SERIES, TEST, TRAIN

AXIS_TITLES = {"step": "step", "seconds": "seconds of computing", "examples": "examples seen"}
POINTS = 200
"""Examples in a picture, at the most: a frame has to stay below 10 kB."""
PIN_COLORS = (SERIES[2], SERIES[3], SERIES[1], SERIES[6])
HEIGHT = 480
LOSS_WIDTH = 0.565

Pins = Mapping[str, tuple[dict[str, np.ndarray], np.ndarray]]
"""Coordinates and losses of the runs that are kept, by name."""


def draw_run(
    dataset: datasets.Dataset, axis: str = "step", log: bool = True, pins: Pins | None = None
) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws the losses of a run against an axis, and what the network makes of the data."""
    return lambda snapshot: [losses(snapshot, axis, log, pins or {}), picture(dataset, snapshot)]


def losses(snapshot: Snapshot, axis: str, log: bool, pins: Pins) -> charts.Chart:
    """The loss of training batches, that of the test examples, and the pinned curves."""
    colors = {"train": TRAIN, "test": TEST} | dict(zip(pins, PIN_COLORS, strict=False))
    series = {name: charts.Line(coordinates[axis], values) for name, (coordinates, values) in pins.items()}
    at = snapshot.coordinates[axis]
    if snapshot.metrics:
        loss, low, high = (part["loss"] for part in (snapshot.metrics, snapshot.lows, snapshot.highs))
        series["train"] = charts.Line(at, loss, low, high)
    if snapshot.observed:
        series["test"] = charts.Line(snapshot.observed_coordinates[axis], snapshot.observed["test_loss"])
    events = [
        (float(np.interp(step, snapshot.coordinates["step"], at)), text) for step, text in snapshot.events if len(at)
    ]
    title = "Loss: training batches and test examples"
    return charts.lines(
        title, AXIS_TITLES[axis], "loss", colors, series, log, HEIGHT, LOSS_WIDTH, dotted=("test",), events=events
    )


def picture(dataset: datasets.Dataset, snapshot: Snapshot) -> charts.Chart:
    """What the network makes of its inputs, as suits the data; the data alone before the first step."""
    drawn = {"surface": surface, "curve": curve, "digits": digits, "scatter": scatter, "classes": confusion}
    return drawn[dataset.picture](dataset, snapshot.picture or {})._replace(width=1 - LOSS_WIDTH)


@cache
def _surface_spec(
    title: str,
    cells: int,
    x: tuple[float, float],
    y: tuple[float, float],
    names: tuple[str, ...],
    classes: int,
) -> charts.Spec:
    """What the network says at each place, and the training examples on it."""
    if classes == 2:
        color = alt.Color(
            "p:Q", title=f"probability of class {names[3]}" if len(names) > 3 else "probability of class 1",
            scale=alt.Scale(domain=[0, 127.5, 255], range=["#ECB740", "#FFFFFF", "#57A6D7"]), legend=None,
        )  # fmt: skip
    else:
        color = alt.Color("p:Q", scale=alt.Scale(domain=list(range(classes)), range=_palette(classes)), legend=None)
    grid = charts.grid("grid", color, cells, x, y)
    points = (
        alt.Chart(charts.named("points"))
        .mark_point(size=48, filled=True, opacity=1, stroke="black", strokeWidth=0.8, clip=True)
        .encode(
            alt.X("x:Q", title=names[0]), alt.Y("y:Q", title=names[1]),
            alt.Fill("label:N", title=names[2], scale=alt.Scale(range=_palette(classes))),
            alt.Shape("label:N", legend=None),
        )
    )  # fmt: skip
    return charts.build(alt.layer(grid, points).resolve_scale(color="independent", fill="independent"), HEIGHT, title)


def _palette(classes: int) -> list[str]:
    if classes == 2:
        return ["#E69F00", "#1F88C9"]
    return [SERIES[i % len(SERIES)] for i in range(classes)]


def surface(dataset: datasets.Dataset, picture: dict[str, Any]) -> charts.Chart:
    """What the network predicts at each place of the `grid`, and training examples."""
    _, x, y = dataset.grid
    grid = picture.get("grid", np.empty(0))
    inputs, targets = (a[:POINTS] for a in dataset.train)
    codes = np.asarray(dataset.labels, dtype=object)[targets.astype(int)]
    names = (*dataset.names[:3], *dataset.labels)
    cells = 255 * grid if dataset.classes == 2 else grid
    return charts.chart(
        _surface_spec("Decision surface", datasets.GRID, x, y, names, dataset.classes),
        "What the network predicts at each place, with training examples on it",
        grid={"p": np.round(cells).astype(np.uint8)},
        points={"x": inputs[:, 0], "y": inputs[:, 1], "label": charts.words(codes)},
    )


@cache
def _fit_spec(title: str, x: tuple[float, float], names: tuple[str, str]) -> charts.Spec:
    """A curve through points."""
    x_axis = alt.X("x:Q", title=names[0], scale=alt.Scale(domain=list(x), nice=False))
    points = (
        alt.Chart(charts.named("points")).mark_point(size=50, filled=True, opacity=0.6)
        .encode(x_axis, alt.Y("y:Q", title=names[1]), alt.Color(
            "part:N", title=None, scale=alt.Scale(domain=["train", "test"], range=[TRAIN, TEST])))
    )  # fmt: skip
    curve = alt.Chart(charts.named("curve")).mark_line(strokeWidth=3, color=SERIES[2]).encode(x_axis, alt.Y("y:Q"))
    return charts.build(alt.layer(points, curve), HEIGHT, title)


def curve(dataset: datasets.Dataset, picture: dict[str, Any]) -> charts.Chart:
    """The `curve` that is learnt, and training and test examples."""
    grid, x, _ = dataset.grid
    train, test = ([a[: POINTS // 2] for a in part] for part in (dataset.train, dataset.test))
    fitted = picture.get("curve", np.empty(0, np.float32))
    return charts.chart(
        _fit_spec("The curve that the network has learnt", x, dataset.names[:2]),
        "The learnt curve through the training and test examples",
        points={
            "x": np.concatenate([train[0][:, 0], test[0][:, 0]]), "y": np.concatenate([train[1], test[1]]),
            "part": charts.repeated(("train", "test"), (len(train[1]), len(test[1]))),
        },
        curve={"x": grid[: len(fitted), 0], "y": fitted},
    )  # fmt: skip


@cache
def _digits_spec(title: str, shown: int, columns: int = 8) -> charts.Spec:
    """Images of 8 x 8 pixels from one column of numbers, each with what the network takes it for."""
    side = 10.0
    rows = -(-shown // columns)
    pixels = (
        alt.Chart(charts.named("pixels"))
        .transform_window(n="row_number()")
        .transform_calculate(image="floor((datum.n - 1) / 64)", pixel="(datum.n - 1) % 64")
        .transform_calculate(
            x=f"(datum.image % {columns}) * {side} + datum.pixel % 8",
            y=f"floor(datum.image / {columns}) * {side + 3} + floor(datum.pixel / 8)",
        )
        .transform_calculate(x2="datum.x + 1", y2="datum.y + 1")
        .mark_rect(strokeWidth=0)
        .encode(
            alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-1, columns * side - 1], nice=False)), alt.X2("x2:Q"),
            alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[rows * (side + 3) - 1, -1], nice=False)), alt.Y2("y2:Q"),
            alt.Color("ink:Q", scale=alt.Scale(domain=[0, 16], range=["#FFFFFF", "#000000"]), legend=None),
        )
    )  # fmt: skip
    text = (
        alt.Chart(charts.named("labels"))
        .mark_text(fontSize=20, fontWeight="bold", baseline="top")
        .encode(
            alt.X("x:Q"), alt.Y("y:Q"), text="label:N",
            color=alt.Color("verdict:N", title=None, scale=alt.Scale(domain=["right", "wrong"], range=[SERIES[2], TEST])),
        )
    )  # fmt: skip
    return charts.build(alt.layer(pixels, text).resolve_scale(color="independent"), HEIGHT, title)


def digits(dataset: datasets.Dataset, picture: dict[str, Any]) -> charts.Chart:
    """Test images, and the `labels` that they are given."""
    inputs, targets = (a[:DIGITS_SHOWN] for a in dataset.test)
    taken_for = picture.get("labels")
    right = np.ones(len(targets), bool) if taken_for is None else taken_for == targets
    words = [""] * len(targets) if taken_for is None else [str(label) for label in taken_for]
    place = np.arange(len(targets))
    return charts.chart(
        _digits_spec("Unseen digits, and what the network takes them for", len(targets)),
        "Handwritten digits with the network's predictions",
        pixels={"ink": np.round(16 * inputs).astype(np.uint8).ravel()},
        labels={
            "x": (place % 8) * 10.0 + 4, "y": (place // 8) * 13.0 + 8.6, "label": words,
            "verdict": charts.words(np.where(right, "right", "wrong")),
        },
    )  # fmt: skip


@cache
def _scatter_spec(title: str, name: str) -> charts.Spec:
    """Predictions against targets: on the diagonal is right."""
    points = (
        alt.Chart(charts.named("points")).mark_point(size=50, filled=True, opacity=0.6, color=TEST)
        .encode(alt.X("target:Q", title=f"{name}, standardised"), alt.Y("pred:Q", title="prediction"))
    )  # fmt: skip
    diagonal = (
        alt.Chart(charts.named("points"))
        .mark_line(strokeDash=[6, 4], color=SERIES[7])
        .encode(x="target:Q", y="target:Q")
    )
    return charts.build(alt.layer(diagonal, points), HEIGHT, title)


def scatter(dataset: datasets.Dataset, picture: dict[str, Any]) -> charts.Chart:
    """The `preds` of test examples against their targets."""
    preds = picture.get("preds", np.empty(0, np.float32))
    return charts.chart(
        _scatter_spec("Test examples: prediction against target", dataset.names[-1]), "Predictions against targets",
        points={"target": dataset.test[1][:SCATTERED][: len(preds)], "pred": preds},
    )  # fmt: skip


@cache
def _confusion_spec(title: str, labels: tuple[str, ...]) -> charts.Spec:
    """How many test examples of each class were taken for which."""
    x = alt.X(
        "pred:N",
        title="prediction",
        sort=list(labels),
        scale=alt.Scale(domain=list(labels)),
        axis=alt.Axis(labelAngle=0),
    )
    y = alt.Y("target:N", title="class", sort=list(labels), scale=alt.Scale(domain=list(labels)))
    base = alt.Chart(charts.named("counts"))
    cells = base.mark_rect().encode(x, y, alt.Color("count:Q", title="test examples", scale=alt.Scale(scheme="blues")))
    text = base.mark_text(fontSize=15).encode(x, y, text="count:Q", color=alt.value("black"))
    return charts.build(alt.layer(cells, text), HEIGHT, title)


def confusion(dataset: datasets.Dataset, picture: dict[str, Any]) -> charts.Chart:
    """The `counts` of test examples, by class and prediction."""
    counts = picture.get("counts", np.zeros((dataset.classes, dataset.classes), int))
    labels = np.array(dataset.labels, dtype=object)
    targets, preds = np.meshgrid(labels, labels, indexing="ij")
    return charts.chart(
        _confusion_spec("Test examples: class against prediction", dataset.labels),
        "How many test examples of each class were taken for which",
        counts={"target": list(targets.ravel()), "pred": list(preds.ravel()), "count": counts.ravel()},
    )
