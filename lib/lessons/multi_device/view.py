"""The panels of the page on many devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import altair as alt
import jax
import numpy as np
import streamlit as st

from lib.lessons.multi_device import routine as sharding
from lib.lessons.multi_device.many_devices import Held, ManyDevices
from lib.lessons.multi_device.measure import VARIANTS, CompiledStep
from lib.lessons.multi_device.routine import BATCH_AXES, HIDDEN_AXES, PMAP, SINGLE, WAYS, Layout
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure.timing import duration
from lib.ui import charts
from lib.ui.charts import bands, marks
from lib.ui.charts.base import measured_axis
from lib.ui.charts.fan import steps_axis
from lib.ui.settings import ask
from lib.ui.style import SERIES, TEST, quantity

COLORS = dict(zip(WAYS, ("#B0B0B0", SERIES[6], SERIES[4], SERIES[5]), strict=True))
"""Of the ways. The devices of a small mesh have the other colours."""
WIDTHS = (14.0, 9.0, 5.0, 1.5)
"""The lines lie upon one another: the lower, the wider. Fewer lines are the upper ones."""
TOLERANCE = 1e-5
HEIGHT = 300


def choose_layout(device: jax.Device) -> Layout:
    """The shape of the mesh, and what is split along which of its axes."""
    shapes = {
        f"{data} × {model}": (data, model) for data, model in sharding.mesh_shapes(jax.device_count(device.platform))
    }
    shape = ask(
        "mesh",
        "Mesh: data × model",
        list(shapes),
        width=170,
        help="The devices in rows and columns, beginning with the one that is chosen as Device.",
    )
    batch = ask(
        "batch_axes",
        "Batch",
        list(BATCH_AXES),
        width=250,
        help="Along which axis of the mesh the examples are divided.",
    )
    hidden = ask(
        "hidden_axis",
        "Parameters",
        list(HIDDEN_AXES),
        width=250,
        help="Along which axis of the mesh the hidden units are divided.",
    )
    return Layout(shapes[shape], BATCH_AXES[batch], HIDDEN_AXES[hidden])


def advice(task: ManyDevices, platform: str) -> str:
    """What keeps a run from being one on several devices, and what to do; empty if nothing does."""
    if jax.device_count(platform) == 1 < jax.device_count("cpu"):
        return (
            f"There is one device of this kind. Choose cpu:0 as **Device**: this machine's processor stands for "
            f"{jax.device_count('cpu')} devices."
        )
    missing = [name for name in WAYS if name not in task.ways]
    if not missing:
        return ""
    only_pmap = missing == [PMAP]
    pieces = task.layout.size if only_pmap else task.layout.batch_pieces
    whole = "" if only_pmap else ", or keep the batch whole on every device"
    return (
        f"A batch of {task.batch_size} does not divide among {pieces} devices, so {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} left out. Choose a larger batch or a smaller mesh{whole}."
    )


# Who holds what.


BOXES = {
    "inputs": (0.0, 0.38, 0.0, 0.86),
    "w1": (0.46, 1.0, 0.6, 0.91),
    "b1": (0.46, 1.0, 0.4, 0.5),
    "w2": (0.46, 1.0, 0.2, 0.3),
    "b2": (0.46, 1.0, 0.0, 0.1),
}
"""Where each array is drawn: left, right, bottom and top, as parts of the picture."""
CARD = 0.012
"""From one copy of a piece to the next."""


def cards(arrays: Sequence[Held]) -> dict[str, list]:
    """Every copy of every piece of an array as a rectangle, the ones behind first: `x` to `x2`, `y` to `y2`, `device`.

    Pieces of a split array lie side by side; copies of one piece lie upon each other like cards.
    """
    columns: dict[str, list] = {"x": [], "x2": [], "y": [], "y2": [], "device": []}
    for held in arrays:
        for (left, right, bottom, top), devices in _pieces(held):
            for place, device in reversed(list(enumerate(devices))):
                behind, before = CARD * place, CARD * (len(devices) - 1 - place)
                corners = (left + behind, right - before, bottom + behind, top - before, str(device % len(SERIES)))
                for column, value in zip(columns.values(), corners, strict=True):
                    column.append(value)
    return columns


def _pieces(held: Held) -> list[tuple[tuple[float, float, float, float], list[int]]]:
    """Where each piece of an array is drawn, and the devices that have it."""
    holders: dict[tuple, list[int]] = {}
    for device, bounds in held.pieces:
        holders.setdefault(bounds, []).append(device)
    left, right, bottom, top = BOXES[held.name]
    found = []
    for bounds, devices in holders.items():
        spans = [(start / size, stop / size) for (start, stop), size in zip(bounds, held.shape, strict=True)]
        rows = spans[0] if len(spans) > 1 else (0.0, 1.0)  # a vector lies along the axis that it shares with a matrix
        columns = spans[-1] if spans else (0.0, 1.0)
        x, x2 = (left + part * (right - left) for part in columns)
        y2, y = (top - part * (top - bottom) for part in rows)
        found.append(((x, x2, y, y2), devices))
    return found


def _label(held: Held) -> str:
    """The shape of an array, and of the piece that each device has."""
    whole, piece = list(held.shape), [stop - start for start, stop in held.pieces[0][1]]
    return f"{piece} of {whole}" if piece != whole else f"{whole or 'a number'}, whole"


@cache
def _placement_spec() -> charts.Spec:
    def x(column: str) -> alt.X:
        return alt.X(column, axis=None, scale=alt.Scale(domain=[0, 1], nice=False))

    def y(column: str) -> alt.Y:
        return alt.Y(column, axis=None, scale=alt.Scale(domain=[0, 1], nice=False))

    devices = list(map(str, range(len(SERIES))))
    color = alt.Color("device:N", legend=None, scale=alt.Scale(domain=devices, range=SERIES))
    rects = alt.Chart(charts.named("cards")).mark_rect(stroke="#FFFFFF", strokeWidth=1, opacity=1)
    numbers = alt.Chart(charts.named("numbers")).mark_text(fontSize=13, fontWeight="bold", color="#111111")
    labels, names = (
        alt.Chart(charts.named(name)).mark_text(fontSize=13, align="left", baseline="bottom", dy=dy)
        for name, dy in (("labels", -2), ("names", -17))
    )
    return charts.build(
        alt.layer(
            rects.encode(x("x:Q"), y("y:Q"), alt.X2("x2:Q"), alt.Y2("y2:Q"), color),
            numbers.encode(x("x:Q"), y("y:Q"), text="text:N"),
            labels.encode(x("x:Q"), y("y:Q"), text="text:N"),
            names.encode(x("x:Q"), y("y:Q"), text="text:N"),
        ),
        HEIGHT, "Which device holds which piece",
    )  # fmt: skip


def placement(arrays: Sequence[Held]) -> charts.Chart:
    """The arrays, cut into their pieces, with the numbers of the devices that hold each."""
    arrays = [held for held in arrays if held.name in BOXES]
    numbers: dict[str, list] = {"x": [], "y": [], "text": []}
    for held in arrays:
        for (x, x2, y, y2), devices in _pieces(held):
            shift = CARD * (len(devices) - 1) / 2  # to the middle of the first card
            for column, value in zip(numbers.values(), ((x + x2) / 2 - shift, (y + y2) / 2 - shift), strict=False):
                column.append(value)
            numbers["text"].append(" ".join(map(str, devices)))
    narrow = [held for held in arrays if held.name == "inputs"]  # no room for name and shape in one line
    labels = {
        "x": [BOXES[held.name][0] for held in arrays],
        "y": [BOXES[held.name][3] for held in arrays],
        "text": [_label(held) if held in narrow else f"{held.name}: {_label(held)}" for held in arrays],
    }
    names = {
        "x": [BOXES[held.name][0] for held in narrow],
        "y": [BOXES[held.name][3] for held in narrow],
        "text": [held.name for held in narrow],
    }
    told = "; ".join(f"{held.name}: {_label(held)}" for held in arrays) or "nothing is placed"
    return charts.chart(
        _placement_spec(), f"Which device holds which piece. {told}", 0.5,
        cards=cards(arrays), numbers=numbers, labels=labels, names=names,
    )  # fmt: skip


# The live run.


@cache
def _overlaid_spec(
    title: str,
    lines: tuple[str, ...],
    colors: tuple[str, ...],
    widths: tuple[float, ...],
    log: bool,
    height: int,
    domain: tuple[int, int] | None,
) -> charts.Spec:
    y = alt.Scale(type="log" if log else "linear", zero=alt.Undefined if log else False, nice=not log)
    x = steps_axis().scale(domain=list(domain)) if domain else steps_axis()
    scale = alt.Scale(domain=list(lines), range=list(colors))
    base, band = alt.Chart(charts.named("lines")), alt.Chart(charts.named("band"))
    layers = [
        band.mark_area(opacity=0.3, color=COLORS[SINGLE], clip=True).encode(
            x, alt.Y("low:Q", title="mean squared error", scale=y, axis=measured_axis(log)), alt.Y2("high:Q")
        )
    ]
    layers += [
        base.mark_line(strokeWidth=width, clip=True, strokeJoin="round").transform_calculate(line=f"{line!r}")
        .transform_filter(f"isValid(datum[{line!r}])")
        .encode(
            x,
            alt.Y(f"{line}:Q", title="mean squared error"),
            alt.Color("line:N", title=None, scale=scale, legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=5, columns=2)),
        )
        for line, width in zip(lines, widths, strict=True)
    ]  # fmt: skip
    return charts.build(alt.layer(*layers, *marks.layers("step")), height, title)


def overlaid(
    title: str,
    x: np.ndarray,
    columns: Mapping[str, np.ndarray],
    colors: Mapping[str, str],
    widths: Sequence[float],
    log: bool,
    height: int,
    domain: tuple[int, int] | None = None,
    width: float = 1.0,
    band: tuple[np.ndarray, np.ndarray] | None = None,
    events: Sequence[marks.Event] = (),
) -> charts.Chart:
    """Columns against `x` that may coincide: each line lies on the one before, and is narrower.

    Args:
        colors: of every line that there may be.
        domain: of the axis of `x`, if it is known.
        band: the lowest and the highest behind a line of means.
        events: marks, each a place on the axis and its text.
    """
    spec = _overlaid_spec(title, tuple(colors), tuple(colors.values()), tuple(widths), log, height, domain)
    end = float(x[-1]) if len(x) else 1.0
    data = marks.data(events, domain[1] if domain else end)
    data |= {"lines": {"x": x, **columns}, "band": {"x": x[:0], "low": x[:0], "high": x[:0]}}
    if band is not None:
        data["band"] = {"x": x, "low": band[0], "high": band[1]}
    return charts.chart(spec, f"{title}, against the step", width, **data)


@cache
def _difference_spec() -> charts.Spec:
    # Linear up to 1e-8, so that no difference at all has its place; logarithmic above.
    y = alt.Y(
        "apart:Q", title="difference", scale=alt.Scale(type="symlog", constant=1e-8, domain=[0, 1e-1], nice=False),
        axis=alt.Axis(values=[0, 1e-7, 1e-5, 1e-3, 1e-1], labelExpr="datum.value ? format(datum.value, '.0e') : '0'"),
    )  # fmt: skip
    line = alt.Chart(charts.named("apart")).mark_line(strokeWidth=2.5, color=SERIES[0], clip=True)
    rule = alt.Chart(charts.named("bound")).mark_rule(strokeDash=[6, 4], strokeWidth=2, color=TEST)
    layers = alt.layer(line.encode(steps_axis(), y), rule.encode(alt.Y("apart:Q", title="difference")))
    return charts.build(layers, 400, "Largest difference from the single device")


def draw_difference(snapshot: Snapshot) -> None:
    """How far the losses are from the single device's, step by step."""
    x = snapshot.coordinates["step"].astype(np.float32)
    apart = snapshot.metrics["difference"] if set(WAYS[1:]) & set(snapshot.metrics) else np.full_like(x, np.nan)
    told = "The largest difference from the single device's loss, against the step"
    charts.show(charts.chart(_difference_spec(), told, apart={"x": x, "apart": apart}, bound={"apart": [TOLERANCE]}))
    st.caption(
        "Sums are taken in another order, so the last digits differ. The scale is linear below 1e-8 and logarithmic above; "
        "the dashed line is at 1e-5."
    )


def difference(snapshot: Snapshot) -> dict[str, str]:
    """The largest difference of a loss from the single device's, over the whole run, as a number of the row."""
    if not set(WAYS[1:]) & set(snapshot.metrics):
        return {"Difference": "–"}
    return {"Difference": f"{snapshot.highs['difference'].max():.1e}"}


def draw_run(ways: tuple[str, ...], log: bool, arrays: Sequence[Held]) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws who holds which piece, and the loss in each of some ways.

    Args:
        arrays: of a step in their places; none if the batch cannot be divided.
    """
    colors = {way: COLORS[way] for way in ways}

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        x, alone = snapshot.coordinates["step"].astype(np.float32), np.empty(0, np.float32)
        parts = (snapshot.metrics, snapshot.lows, snapshot.highs)
        mean, low, high = bands.smoothed(*(part.get("loss", alone) for part in parts))
        limits = bands.limits(mean, low, high, log)
        losses = {}
        for way in ways:
            loss, *_ = bands.smoothed(*(part.get("loss" if way == SINGLE else way, x) for part in parts))
            losses[way] = bands.within(loss, limits, log)
        band = (bands.cut(low, limits), bands.cut(high, limits))
        return [
            placement(arrays),
            overlaid(
                "Loss in each way: mean, range",
                x,
                losses,
                colors,
                WIDTHS[-len(ways) :],
                log,
                HEIGHT,
                width=0.5,
                band=band,
                events=snapshot.events,
            ),
        ]

    return draw


# The compiled programs, and their time.


def draw_programs(programs: tuple[CompiledStep, ...]) -> None:
    """The collectives of each way, counted."""
    rows: dict[str, list] = {"way": [], "operation": [], "how many": [], "arrays": [], "bytes on each device": []}
    for program in programs:
        kinds = dict.fromkeys(collective.kind for collective in program.collectives)
        for kind in kinds or ["none"]:
            of_kind = [collective for collective in program.collectives if collective.kind == kind]
            values = (
                program.way, kind, len(of_kind), sum(c.arrays for c in of_kind),
                quantity(sum(c.size_bytes for c in of_kind), "B") if of_kind else "0 B",
            )  # fmt: skip
            for column, value in zip(rows.values(), values, strict=True):
                column.append(value)
    st.dataframe(rows, hide_index=True, height="content")
    st.caption(
        "In the compiler's last word, the optimised HLO of one step. Bytes are those of the results. Compiled when this page "
        "asked for it: a run above finds these programs."
    )


def draw_times(records: Records, platform: str) -> None:
    """Time of a step against the number of devices."""
    sizes = sharding.device_counts(platform)
    x_title = "devices (each takes its part of the same batch)"
    charts.show(charts.sweep("One step on ever more devices", x_title, VARIANTS, records, sizes=sizes))
    last = records[-1].size
    ms = {(record.label, record.size): record.median_ms for record in records}
    if last == 1:
        return
    told = [
        f"{variant}: {duration(ms[variant, 1])} on 1, {duration(ms[variant, last])} on {last}"
        for variant in VARIANTS if (variant, last) in ms and (variant, 1) in ms
    ]  # fmt: skip
    st.caption(". ".join(told) + ". Medians, blocked, in turns, with quartiles.")
