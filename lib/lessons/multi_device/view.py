"""The panels of the page on many devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from math import prod

import altair as alt
import jax
import numpy as np
import streamlit as st

from lib.lessons.multi_device import many_devices
from lib.lessons.multi_device import routine as sharding
from lib.lessons.multi_device.many_devices import Held, ManyDevices
from lib.lessons.multi_device.measure import VARIANTS, CompiledStep
from lib.lessons.multi_device.routine import BATCH_AXES, HIDDEN_AXES, SINGLE, WAYS, Layout
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.routines.mistakes import Outcome
from lib.ui import charts, panels
from lib.ui.settings import ask
from lib.ui.style import SERIES, TEST, duration, quantity

COLORS = dict(zip(WAYS, ("#B0B0B0", "#E69F00", "#009E73", "#F2A6D0"), strict=True))
WIDTHS = (14.0, 9.0, 5.0, 1.5)
"""The lines lie upon one another: the lower, the wider. Fewer lines are the upper ones."""
TOLERANCE = 1e-5


def choose_layout(device: jax.Device) -> Layout:
    """The shape of the mesh, and what is cut along which of its axes."""
    shapes = {
        f"{data} × {model}": (data, model) for data, model in sharding.mesh_shapes(jax.device_count(device.platform))
    }
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shape = ask(
            "mesh",
            "Mesh: data × model",
            list(shapes),
            width=170,
            help="The devices in rows and columns. The names of the axes are ours; what they mean is what is cut along them.",
        )
        batch = ask("batch_axes", "Batch", list(BATCH_AXES), width=260)
        hidden = ask("hidden_axis", "Parameters", list(HIDDEN_AXES), width=260)
    return Layout(shapes[shape], BATCH_AXES[batch], HIDDEN_AXES[hidden])


def show_refusal(task: ManyDevices, device: jax.Device) -> None:
    """Which ways a batch size leaves out, and what JAX says to it."""
    missing = [name for name in WAYS if name not in task.ways]
    if not missing:
        return
    pieces = max(task.layout.batch_pieces, task.layout.size if missing == ["pmap"] else 1)
    st.warning(
        f"A batch of {task.batch_size} cannot be divided among {pieces} devices, so {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} left out below. Take a larger Batch size, a smaller mesh, or a batch "
        "that is whole on every device."
    )

    def draw(outcome: Outcome) -> None:
        if outcome.error:
            st.markdown(f"**{outcome.error}**, in JAX's own words:")
            st.code(outcome.text, language=None, wrap_lines=True)

    panels.answer(draw, device, many_devices.refusal, task.layout, device, task.batch_size)


# Who holds what.


def _color(device: int) -> str:
    return SERIES[device % len(SERIES)]


def _box(held: Held) -> str:
    """An array as a rectangle of its pieces, each in the colours of the devices that hold it."""
    holders: dict[tuple, list[int]] = {}
    for device, bounds in held.pieces:
        holders.setdefault(bounds, []).append(device)
    upright = held.name in ("inputs", "targets")
    cells = []
    for bounds, devices in holders.items():
        # (top, height), (left, width) in hundredths; a vector lies along the axis that it shares with a matrix.
        spans = [(100 * a / n, 100 * (b - a) / n) for (a, b), n in zip(bounds, held.shape, strict=True)]
        if len(spans) < 2:
            full = (0.0, 100.0)
            spans = [*spans, full] if upright else [full, *(spans or [full])]
        (top, height), (left, width) = spans
        part = 100 / len(devices)
        stripes = ", ".join(f"{_color(d)} {i * part:.1f}% {(i + 1) * part:.1f}%" for i, d in enumerate(devices))
        cells.append(
            f"<div style='position:absolute; box-sizing:border-box; top:{top:.2f}%; left:{left:.2f}%; width:{width:.2f}%; "
            f"height:{height:.2f}%; border:2px solid #fff; background:linear-gradient(90deg, {stripes}); display:flex; "
            "align-items:center; justify-content:center; overflow:hidden'><b style='background:rgba(255,255,255,.88); "
            f"color:#111; border-radius:.3rem; padding:0 .35rem; white-space:nowrap'>{' '.join(map(str, devices))}</b></div>"
        )
    one = [b - a for a, b in held.pieces[0][1]]
    tall = "13rem" if upright else "5.2rem" if len(held.shape) > 1 else "2.2rem"
    name = f"<code>{escape(held.name)}</code> {list(held.shape)}"
    whole = len(holders) == 1
    each = "the whole on each" if whole and len(held.pieces) > 1 else f"{one} on each, {4 * prod(one):,} B"
    return (
        f"<div style='margin:.1rem 0 .5rem'><div style='font-size:.95rem; margin-bottom:.15rem'>{name}: {each}</div>"
        f"<div style='position:relative; height:{tall}'>{''.join(cells)}</div></div>"
    )


def draw_placement(arrays: tuple[Held, ...]) -> None:
    """Every array cut into its pieces, and the devices that hold each."""
    boxes = {held.name: _box(held) for held in arrays}
    devices = sorted({device for held in arrays for device, _ in held.pieces})
    legend = " ".join(
        f"<span style='white-space:nowrap'><b style='background:{_color(d)}; padding:0 .7rem; border-radius:.2rem'></b> "
        f"device {d}</span>" for d in devices
    )  # fmt: skip
    st.html(
        f"<div class='legend' style='display:flex; flex-wrap:wrap; gap:.2rem 1rem; margin-bottom:.5rem'>{legend}</div>"
        "<div style='display:flex; flex-wrap:wrap; gap:0 1.4rem'>"
        f"<div style='flex:1 1 15rem; display:flex; gap:.8rem'><div style='flex:2'>{boxes['inputs']}</div>"
        f"<div style='flex:1.5'>{boxes['targets']}</div></div>"
        f"<div style='flex:2 1 17rem'>{''.join(boxes[name] for name in ('w1', 'b1', 'w2', 'b2'))}</div></div>"
    )
    st.caption(
        "Read from `array.addressable_shards` of the placed arrays. Stripes: each of those devices holds that piece. Rows "
        "are examples; `w1`, `b1` and `w2` lie along the hidden units. `pmap` always cuts the batch among all devices."
    )


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
    x = alt.Scale(domain=list(domain) if domain else alt.Undefined, nice=False, zero=False)
    scale = alt.Scale(domain=list(lines), range=list(colors))
    base = alt.Chart(charts.named("lines"))
    layers = [
        base.mark_line(strokeWidth=width, clip=True, strokeJoin="round").transform_calculate(line=f"{line!r}")
        .transform_filter(f"isValid(datum[{line!r}])")
        .encode(
            alt.X("x:Q", title="step", scale=x, axis=alt.Axis(format="~s", tickCount=6)),
            alt.Y(f"{line}:Q", title="mean squared error", scale=y, axis=alt.Axis(tickCount=6)),
            alt.Color("line:N", title=None, scale=scale, legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=5, columns=2)),
        )
        for line, width in zip(lines, widths, strict=True)
    ]  # fmt: skip
    return charts.build(alt.layer(*layers), height, title)


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
) -> charts.Chart:
    """Columns against `x` that may coincide: each line lies on the one before, and is narrower.

    Args:
        colors: of every line that there may be.
        domain: of the axis of `x`, if it is known.
    """
    spec = _overlaid_spec(title, tuple(colors), tuple(colors.values()), tuple(widths), log, height, domain)
    return charts.chart(spec, f"{title}, against the step", width, lines={"x": x, **columns})


@cache
def _difference_spec(height: int) -> charts.Spec:
    y = alt.Y(
        "apart:Q", title="difference (log scale)", scale=alt.Scale(type="log", domain=[1e-9, 1e-1]),
        axis=alt.Axis(format=".0e", values=[1e-9, 1e-7, 1e-5, 1e-3, 1e-1]),
    )  # fmt: skip
    base = alt.Chart(charts.named("apart"))
    line = base.mark_line(strokeWidth=2.5, color=SERIES[0], clip=True).encode(
        alt.X("x:Q", title="step", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(format="~s", tickCount=5)), y
    )
    rule = (
        alt.Chart(charts.named("bound")).mark_rule(strokeDash=[6, 4], strokeWidth=2, color=TEST)
        .encode(alt.Y("apart:Q", title="difference (log scale)"))
    )  # fmt: skip
    return charts.build(alt.layer(line, rule), height, "Largest difference from the single device")


def difference(snapshot: Snapshot) -> dict[str, str]:
    """The largest difference of a loss from the single device's, over the whole run, as a number of the row."""
    if not set(WAYS[1:]) & set(snapshot.metrics):
        return {"Difference": "–"}
    return {"Difference": f"{snapshot.highs['difference'].max():.1e}"}


def draw_run(ways: tuple[str, ...], log: bool, height: int = 400) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws the loss in each of some ways, and how far they are apart."""
    colors = {way: COLORS[way] for way in ways}
    nowhere = np.float32(np.nan)

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        x, metrics = snapshot.coordinates["step"].astype(np.float32), snapshot.metrics
        losses = {way: metrics.get("loss" if way == SINGLE else way, x) for way in ways}
        losses = {way: np.where((loss > 0) | (not log), loss, nowhere) for way, loss in losses.items()}
        apart = np.maximum(metrics.get("difference", x), np.float32(1e-9))
        title = "Loss of each batch, in each way"
        return [
            overlaid(title, x, losses, colors, WIDTHS[-len(ways) :], log, height, width=0.6),
            charts.chart(
                _difference_spec(height), "The largest difference from the single device's loss against the step", 0.4,
                apart={"x": x, "apart": apart}, bound={"apart": [TOLERANCE]},
            ),
        ]  # fmt: skip

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
