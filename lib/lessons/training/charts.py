"""The charts of a training: its losses, and what the network makes of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import altair as alt
import numpy as np

from lib.lessons.training.routine import DIGITS_SHOWN, SCATTERED, Training
from lib.lessons.training.seen import TILE, UNITS
from lib.live.run import Snapshot
from lib.routines import datasets
from lib.routines.networks import Network
from lib.ui import charts
from lib.ui.style import SERIES, TEST, TRAIN

AXIS_TITLES = {"step": "step", "seconds": "seconds of computing", "examples": "examples seen"}
POINTS = 150
"""Examples in a picture, at the most: a frame has to stay below 10 kB."""
PIN_COLORS = (SERIES[2], SERIES[3], SERIES[1], SERIES[6])
HEIGHT = 360
NETWORK_WIDTH, WIDTH = 0.9, 0.5
"""Shares of the row: the network with its surface is two pictures side by side."""

LOSSES = "Loss: batches and test examples"


class Pin(NamedTuple):
    """The losses of a run that are kept.

    Attributes:
        settings: of that run, in words.
        coordinates: float64[points] for each of `recorder.AXES`.
    """

    settings: str
    coordinates: dict[str, np.ndarray]
    losses: np.ndarray


def draw_run(
    task: Training, axis: str = "step", log: bool = True, pins: Mapping[str, Pin] | None = None, title: str = LOSSES
) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws what the network makes of the data, and the losses of a run against an axis."""
    kept = [charts.still(name, pin.coordinates[axis], pin.losses, log) for name, pin in (pins or {}).items()]
    return lambda snapshot: [picture(task, snapshot), losses(snapshot, axis, log, kept, title)]


def losses(
    snapshot: Snapshot, axis: str, log: bool, pins: Sequence[charts.Still] = (), title: str = LOSSES
) -> charts.Chart:
    """The loss of training batches, that of the test examples, and the pinned curves."""
    names = [pin.name for pin in pins]
    colors = {"train": TRAIN, "test": TEST} | dict(zip(names, PIN_COLORS, strict=False))
    series = {}
    at = snapshot.coordinates[axis]
    if snapshot.metrics:
        loss, low, high = (part["loss"] for part in (snapshot.metrics, snapshot.lows, snapshot.highs))
        series["train"] = charts.Line(at, loss, low, high)
    if snapshot.observed:
        series["test"] = charts.Line(snapshot.observed_coordinates[axis], snapshot.observed["test_loss"])
    events = [
        (float(np.interp(step, snapshot.coordinates["step"], at)), text) for step, text in snapshot.events if len(at)
    ]
    return charts.lines(
        title, AXIS_TITLES[axis], "loss", colors, series, log, HEIGHT, WIDTH, dotted=("test",), events=events,
        still=pins,
    )  # fmt: skip


def picture(task: Training, snapshot: Snapshot) -> charts.Chart:
    """What the network makes of its inputs, as suits the data; the data alone before the first step."""
    assert task.dataset is not None
    dataset, seen = task.dataset, snapshot.picture or {}
    if dataset.picture == "surface":
        return network(dataset, task.network, seen)
    drawn = {"curve": curve, "digits": digits, "scatter": scatter, "classes": confusion}
    return drawn[dataset.picture](dataset, seen)._replace(width=WIDTH)


NEGATIVE, POSITIVE = "#E69F00", "#1F88C9"
"""Of weights and of what units give; of the classes 0 and 1 too, since a positive output means class 1."""


def _palette(classes: int) -> list[str]:
    """The colours of the classes."""
    if classes == 2:
        return [NEGATIVE, POSITIVE]
    return [SERIES[i % len(SERIES)] for i in range(classes)]


GAP = 0.14
"""Between the network, which is 1 wide, and the surface, which is as wide."""
SURFACE = 1 + GAP


@cache
def _network_spec(title: str, shape: Network, names: tuple[str, ...], labels: tuple[str, ...]) -> charts.Spec:
    """The network at the left and the surface at the right, in one system of coordinates from 0 to 1 each, whose unit
    is as long across as up."""
    drawn = [min(size, UNITS) for size in shape.sizes]  # the last are the outputs, which the surface shows
    hidden = drawn[:-1]
    columns, rows = len(hidden), max(hidden)
    half = min(0.36 / columns, 0.42 / max(rows, 3))
    at = [(column + 0.5) / columns for column in range(columns)] + [SURFACE]

    def scale(low: float, high: float, more: str) -> alt.Scale:
        middle, reach = (low + high) / 2, f"{(high - low) / 2} * max(1, {more})"
        return alt.Scale(
            domain=[alt.ExprRef(f"{middle} - {reach}"), alt.ExprRef(f"{middle} + {reach}")], nice=False, zero=False
        )

    across, up = (0.0, SURFACE + 1.06), (-0.09, 1.1)
    wide = f"(width / {across[1] - across[0]}) / (height / {up[1] - up[0]})"
    x = alt.X("x:Q", axis=None, scale=scale(*across, wide))
    y = alt.Y("y:Q", axis=None, scale=scale(*up, f"1 / ({wide})"))
    x2, y2 = alt.X2("x2:Q"), alt.Y2("y2:Q")

    def layer_of(number: str, starts: list[int]) -> str:
        return " + ".join(["0", *(f"({number} >= {start})" for start in starts[1:-1])])

    # Which layer and which of its units a row belongs to follows from its number alone.
    first_unit = np.cumsum([0, *hidden]).tolist()
    pairs = [a * b for a, b in pairwise(drawn)]
    first_weight = np.cumsum([0, *pairs]).tolist()
    centre = "1 - (datum.{unit} + 0.5) / {drawn}[datum.{layer}]"

    weights = (
        alt.Chart(charts.named("weights"))
        .transform_window(n="row_number()")
        .transform_calculate(layer=layer_of("datum.n - 1", first_weight))
        .transform_calculate(k=f"datum.n - 1 - {first_weight}[datum.layer]", next="datum.layer + 1")
        .transform_calculate(start=f"floor(datum.k / {drawn}[datum.next])", end=f"datum.k % {drawn}[datum.next]")
        .transform_calculate(
            x=f"{at}[datum.layer]", y=centre.format(unit="start", layer="layer", drawn=drawn),
            x2=f"{at}[datum.next]", y2=centre.format(unit="end", layer="next", drawn=drawn), size="abs(datum.w)",
        )
        .mark_rule(opacity=0.85)
        .encode(
            x, y, x2, y2,
            alt.StrokeWidth("size:Q", scale=alt.Scale(domain=[0, 127], range=[0.2, 7]), legend=None),
            alt.Color("w:Q", scale=alt.Scale(type="threshold", domain=[0], range=[NEGATIVE, POSITIVE]), legend=None),
        )
    )  # fmt: skip
    boxes = (
        alt.Chart(alt.sequence(0, first_unit[-1], as_="unit"))
        .transform_calculate(layer=layer_of("datum.unit", first_unit))
        .transform_calculate(row=f"datum.unit - {first_unit}[datum.layer]")
        .transform_calculate(
            x=f"{at}[datum.layer] - {half}", x2=f"{at}[datum.layer] + {half}",
            y=centre.format(unit="row", layer="layer", drawn=drawn) + f" - {half}",
            y2=centre.format(unit="row", layer="layer", drawn=drawn) + f" + {half}",
        )
        .mark_rect(fill="#FFFFFF", stroke="#8C8C8C", strokeWidth=1)
        .encode(x, y, x2, y2)
    )  # fmt: skip
    cell = 2 * half / TILE
    tiles = (
        alt.Chart(charts.named("tiles"))
        .transform_window(n="row_number()")
        .transform_calculate(unit=f"floor((datum.n - 1) / {TILE**2})", cell=f"(datum.n - 1) % {TILE**2}")
        .transform_calculate(layer=layer_of("datum.unit", first_unit))
        .transform_calculate(row=f"datum.unit - {first_unit}[datum.layer]")
        .transform_calculate(
            x=f"{at}[datum.layer] - {half} + (datum.cell % {TILE}) * {cell}",
            y=centre.format(unit="row", layer="layer", drawn=drawn)
            + f" - {half} + floor(datum.cell / {TILE}) * {cell}",
        )
        .transform_calculate(x2=f"datum.x + {1.04 * cell}", y2=f"datum.y + {1.04 * cell}")
        .mark_rect(strokeWidth=0)
        .encode(x, y, x2, y2, alt.Color("v:Q", scale=alt.Scale(
            domain=[0, 127.5, 255], range=[NEGATIVE, "#FFFFFF", POSITIVE], interpolate="rgb"), legend=None))
    )  # fmt: skip
    surface = _cells(len(labels), x, y)
    # The same for both, so that they are one legend, of shapes in their colours.
    legend = alt.Legend(title=names[2], titleOrient="left", titlePadding=12)
    points = (
        alt.Chart(charts.named("points"))
        .transform_calculate(x=f"{SURFACE} + datum.px / 255", y="datum.py / 255")
        .mark_point(size=30, filled=True, opacity=1, stroke="black", strokeWidth=0.7)
        .encode(
            x, y,
            alt.Fill("label:N", scale=alt.Scale(domain=list(labels), range=_palette(len(labels))), legend=legend),
            alt.Shape("label:N", scale=alt.Scale(domain=list(labels)), legend=legend),
        )
    )  # fmt: skip
    heads = [_size(size, "inputs" if i == 0 else "units") for i, size in enumerate(shape.sizes[:-1])]
    texts = [{"x": place, "y": 1.055, "text": head} for place, head in zip(at, heads, strict=False)]
    says = f"probability of {names[2]} {labels[1]}" if len(labels) == 2 else f"the likeliest {names[2]}"
    texts += [{"x": SURFACE + 0.5, "y": 1.055, "text": says}, {"x": SURFACE + 0.5, "y": -0.05, "text": f"{names[0]} →"}]
    words = alt.Chart(alt.Data(values=texts)).mark_text(fontSize=12).encode(x, y, alt.Text("text:N"))
    beside = (
        alt.Chart(alt.Data(values=[{"x": SURFACE + 1.02, "y": 0.5, "text": f"{names[1]} →"}]))
        .mark_text(fontSize=12, angle=270, baseline="top")
        .encode(x, y, alt.Text("text:N"))
    )
    whole = alt.layer(weights, boxes, tiles, surface, points, words, beside)
    return charts.build(
        whole.resolve_scale(color="independent", fill="independent", shape="independent"), HEIGHT, title
    )


def _size(size: int, of: str) -> str:
    return f"{size} {of if size > 1 else of[:-1]}" if size <= UNITS else f"{UNITS} of {size}"


def _cells(classes: int, x: alt.X, y: alt.Y) -> alt.Chart:
    """What the network says at each place: a probability in the colours of two classes, or the likeliest class."""
    cells = datasets.GRID
    if classes == 2:
        scale = alt.Scale(domain=[0, 127.5, 255], range=["#ECB740", "#FFFFFF", "#57A6D7"], interpolate="rgb")
    else:
        scale = alt.Scale(domain=list(range(classes)), range=_palette(classes))
    return (
        alt.Chart(charts.named("grid"))
        .transform_window(n="row_number()")
        .transform_calculate(
            x=f"{SURFACE} + ((datum.n - 1) % {cells}) / {cells}", y=f"floor((datum.n - 1) / {cells}) / {cells}"
        )
        .transform_calculate(x2=f"min(datum.x + {1.1 / cells}, {SURFACE + 1})", y2=f"min(datum.y + {1.1 / cells}, 1)")
        .mark_rect(strokeWidth=0)
        .encode(x, y, alt.X2("x2:Q"), alt.Y2("y2:Q"), alt.Color("p:Q", scale=scale, legend=None))
    )


def network(dataset: datasets.Dataset, shape: Network, picture: dict[str, Any]) -> charts.Chart:
    """The network and its decision surface, with training examples on it; these alone before the first step."""
    _, *ranges = dataset.grid
    inputs, targets = (a[:POINTS] for a in dataset.train)
    places = [
        np.round(255 * (column - low) / (high - low)).astype(np.uint8)
        for column, (low, high) in zip(inputs.T, ranges, strict=True)
    ]
    codes = targets.astype(np.int8)
    grid = picture.get("grid", np.empty(0))
    cells = np.round(255 * grid if dataset.classes == 2 else grid).astype(np.uint8)
    return charts.chart(
        _network_spec("The network and its decision surface", shape, dataset.names, dataset.labels),
        "The network: each unit as a tile of what it gives over the plane, each weight as a line, wider where it is "
        "larger; blue is positive, orange negative. Beside it, what the network predicts at each place, with examples.",
        NETWORK_WIDTH,
        weights={"w": picture.get("weights", np.empty(0, np.int8))},
        tiles={"v": picture.get("units", np.empty(0, np.uint8))},
        grid={"p": cells},
        points={"px": places[0], "py": places[1], "label": charts.Words(codes, list(dataset.labels))},
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
        _fit_spec("The curve that is learnt", x, dataset.names[:2]),
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
        _digits_spec("Unseen digits and predictions", len(targets)),
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
        _scatter_spec("Test: prediction against target", dataset.names[-1]), "Predictions against targets",
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
        _confusion_spec("Test: class against prediction", dataset.labels),
        "How many test examples of each class were taken for which",
        counts={"target": list(targets.ravel()), "pred": list(preds.ravel()), "count": counts.ravel()},
    )
