"""The panels of the page on pytrees and keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import altair as alt
import jax
import numpy as np
import streamlit as st

from lib.lessons.pytrees import random_keys, snippet
from lib.lessons.pytrees import routine as pytrees
from lib.lessons.pytrees.measure import WAYS
from lib.lessons.pytrees.random_keys import NAMES, Tree
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure.timing import duration
from lib.ui import charts, panels
from lib.ui.controls import Controls
from lib.ui.settings import ask
from lib.ui.style import SERIES, TEST, TRAIN, quantity

STATES = {
    "not used yet": SERIES[2],
    "used up by split": SERIES[7],
    "the same as another": TEST,
}
"""What a key of the tree is good for."""


def explorer(name: str) -> Callable[[dict[str, Any]], None]:
    """Draws a report of `pytrees.leaf_report`: the leaves of the whole tree, or of a part of it.

    Args:
        name: of the tree, for the key of the choice: another tree has other parts.
    """

    def draw(report: dict[str, Any]) -> None:
        paths = report["path"]
        nodes = sorted({path[: i + 1] for path in paths for i, sign in enumerate(path) if sign == "]"})
        part = st.selectbox("Part of the tree", list(dict.fromkeys(["params", *nodes, *paths])), key=f"part_{name}")
        rows = [i for i, path in enumerate(paths) if path.startswith(part)]
        size = sum(report["size_bytes"][i] for i in rows)
        norm = float(np.sqrt(sum(report["norm"][i] ** 2 for i in rows)))
        st.dataframe(
            {
                "path": [paths[i] for i in rows],
                "shape": [report["shape"][i] for i in rows],
                "dtype": [report["dtype"][i] for i in rows],
                "bytes": [report["size_bytes"][i] for i in rows],
                "norm": [f"{report['norm'][i]:.4g}" for i in rows],
            },
            hide_index=True,
        )
        st.caption(
            f"`{part}`: {len(rows)} leaves, {size // 4:,} numbers, {quantity(size, 'B')}, norm {norm:.4g}. "
            "Its structure, a leaf at each `*`:"
        )
        st.code(report["structure"], language=None, wrap_lines=True)

    return draw


def draw_operation(text: str) -> None:
    """What an operation gives."""
    st.caption("Called with the parameters of the network, it gives:")
    st.code(text, language=None, wrap_lines=True)


SHOWN = 1.0
"""A parameter as large as this has the full colour, and a larger one no more."""
GAP = 3
"""Cells between two leaves."""


def _cells(depth: int) -> tuple[dict[str, np.ndarray], dict[str, list[Any]]]:
    """Where the numbers of all leaves are, in their order: a layer is a column, `w` above `b`; and the leaves' names."""
    params = jax.eval_shape(pytrees.start_params, 0, depth)
    x, y = [], []
    names: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    left = 0
    for number, layer in enumerate(params):
        for name, top in (("b", layer["w"].shape[0] + GAP), ("w", 0)):
            rows, columns = np.indices(np.atleast_2d(np.empty(layer[name].shape)).shape)
            x.append(left + columns.ravel())
            y.append(top + rows.ravel())
            names["x"].append(left)
            names["y"].append(top)
            names["text"].append(f"[{number}]['{name}']")
        left += layer["w"].shape[1] + GAP
    return {"x": np.concatenate(x).astype(np.int16), "y": np.concatenate(y).astype(np.int16)}, names


@cache
def _leaves_spec(title: str, depth: int) -> charts.Spec:
    """Rows `x`, `y` and `value`, in percent of `SHOWN`: cells of the size of one."""
    places, _ = _cells(depth)
    room = 9 + 2 * depth  # for the name of the last leaf, which is narrow
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, int(places["x"].max()) + room], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-2, int(places["y"].max()) + 1], nice=False, reverse=True))
    colour = alt.Color(
        "value:Q", scale=alt.Scale(domain=[-100, 0, 100], range=[TEST, "#F0F0F0", TRAIN], clamp=True), legend=None
    )
    cells = (
        alt.Chart(charts.named("leaves"))
        .transform_calculate(x2="datum.x + 0.92", y2="datum.y + 0.92")
        .mark_rect()
        .encode(x, y, colour, alt.X2("x2:Q"), alt.Y2("y2:Q"))
    )
    names = (
        alt.Chart(charts.named("names"))
        .mark_text(align="left", baseline="bottom", dy=-2, font="monospace", fontSize=12)
        .encode(x, y, text="text:N")
    )
    return charts.build(alt.layer(cells, names), 360, title)


def draw_training(depth: int) -> Callable[[Snapshot], list[charts.Shown]]:
    """Draws every number of every leaf, and the loss."""
    title = "Every leaf: orange < 0 < blue"
    places, names = _cells(depth)

    def draw(snapshot: Snapshot) -> list[charts.Shown]:
        leaves = {name: place[:0] for name, place in places.items()} | {"value": np.empty(0, np.int8)}
        if snapshot.picture:
            percent = np.nan_to_num(100 * snapshot.picture["leaves"] / SHOWN).clip(-100, 100)
            leaves = {**places, "value": np.round(percent).astype(np.int8)}
        return [
            charts.chart(
                _leaves_spec(title, depth), f"{title}: {', '.join(names['text'])}", 0.5, leaves=leaves, names=names
            ),
            charts.fan("Loss of all examples", "mean squared error", snapshot, log=True, width=0.5),
        ]

    return draw


def draw_updates(records: Records) -> None:
    """Time of an update against the number of leaves."""
    sizes = tuple(sorted({int(record.size or 0) for record in records}))
    charts.show(charts.sweep("One SGD update", "leaves (log scale)", WAYS, records, 440, columns=4, sizes=sizes))
    last = {record.label: record.median_ms for record in records if record.size == records[-1].size}
    if len(last) == len(WAYS):
        st.markdown(
            f"At {records[-1].size} leaves: `tree.map` takes **{duration(last['tree.map, eager'])}** without `jit` and "
            f"**{duration(last['tree.map, jit'])}** with it, one vector **{duration(last['vector, eager'])}** and "
            f"**{duration(last['vector, jit'])}**; the gradient **{duration(last['gradient of the batch, jit'])}**."
        )


# Keys.


def key_tree(controls: Controls) -> None:
    """A tree of keys that grows at the press of a button, the program that makes it, and what each key is."""
    st.markdown(
        "`split` makes two new keys of one, `fold_in` makes one for each number, such as that of a step. Both are functions: "
        "the same call gives **the same key**. Press **fold_in** with the key `a` and the number 0: you get `b` again."
    )
    tree: Tree = st.session_state.setdefault("_key_tree", random_keys.FIRST_TREE)
    place = {NAMES[i]: i for i in range(len(tree) + 1)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        # Widgets of changing choices would lose their value; the names stay, and those that are not there are told.
        name = st.selectbox("Key", list(place), key="key_of_tree", width=90)
        number = ask("fold_in_number", "Number to fold in", 0, 99, width=170)
        st.button(
            "split", key="key_split", on_click=_grow, args=(place[name], "split", 0), icon=":material/call_split:"
        )
        st.button("fold_in", key="key_fold_in", on_click=_grow, args=(place[name], "fold_in", int(number)), icon=":material/input:")  # fmt: skip
        st.button("Start over", key="key_start", on_click=st.session_state.pop, args=("_key_tree", None), icon=":material/replay:")  # fmt: skip
    if random_keys.grown(tree, 0, "split", 0) == tree:
        st.caption(f"The tree is full, {random_keys.MAX_KEYS} keys at the most: Start over.")
    drawn, code = st.columns([1.5, 1], gap="large")
    with code:
        st.markdown("**The program that you have written**")
        panels.snippet(snippet.keys(tree, controls.seed), controls)
    with drawn:
        panels.answer(
            lambda report: _draw_keys(tree, report), controls.device, random_keys.key_report, tree, controls.seed
        )


def _grow(parent: int, how: str, number: int) -> None:
    tree = st.session_state.get("_key_tree", random_keys.FIRST_TREE)  # Start over may have been pressed just before
    st.session_state["_key_tree"] = random_keys.grown(tree, parent, how, number)


def _draw_keys(tree: Tree, report: dict[str, np.ndarray]) -> None:
    """Each key in a row below its parent, as far to the right as it is from the first."""
    order, depth = _rows(tree)
    row = {key: number for number, key in enumerate(order)}
    data = [tuple(int(part) for part in key) for key in report["data"]]
    split = {node.parent for node in tree if node.how == "split"}
    states = list(STATES)
    state = [
        states[2] if data.count(data[key]) > 1 else states[1] if key in split else states[0] for key in range(len(data))
    ]
    how = ["key(seed)"] + [
        f"split({NAMES[n.parent]})[{n.number}]" if n.how == "split" else f"fold_in({NAMES[n.parent]}, {n.number})"
        for n in tree
    ]
    keys = range(len(data))
    drawn = charts.chart(
        _keys_spec(len(order), max(depth)), "; ".join(f"{NAMES[key]} = {how[key]}" for key in keys),
        nodes={
            "x": [depth[key] for key in keys], "y": [row[key] for key in keys], "state": [state[key] for key in keys],
            "code": [f"{NAMES[key]} = {how[key]}" for key in keys],
            "bits": [f"{data[key][0]:08x} {data[key][1]:08x}  normal {report['normal'][key]:+.2f}" for key in keys],
        },
        joints={
            # Down from the parent, then across to the key.
            "x": [depth[node.parent] for node in tree] * 2, "x2": [depth[node.parent] for node in tree] + depth[1:],
            "y": [row[node.parent] for node in tree] + [row[key] for key in keys[1:]], "y2": [row[key] for key in keys[1:]] * 2,
        },
    )  # fmt: skip
    charts.show(drawn)


def _rows(tree: Tree) -> tuple[list[int], list[int]]:
    """The keys in the order of their rows, children below their parent, and how far each is from the first."""
    depth = [0]
    for node in tree:
        depth.append(depth[node.parent] + 1)

    def below(key: int) -> list[int]:
        children = [place for place, node in enumerate(tree, 1) if node.parent == key]
        return [key, *(other for child in children for other in below(child))]

    return below(0), depth


@cache
def _keys_spec(rows: int, depth: int) -> charts.Spec:
    """Keys as dots, `rows` of them in `depth` generations, joined to their parents; two lines of text at each."""
    y_scale = alt.Scale(domain=[-0.6, max(rows, 6) - 0.4], reverse=True, nice=False)
    x_scale = alt.Scale(domain=[-0.25, max(12, depth + 6)], nice=False)
    base = alt.Chart(charts.named("nodes"))
    x, y = alt.X("x:Q", scale=x_scale, axis=None), alt.Y("y:Q", scale=y_scale, axis=None)
    lines = (
        alt.Chart(charts.named("joints"))
        .mark_rule(strokeWidth=2, color=SERIES[7])
        .encode(x, y, alt.X2("x2"), alt.Y2("y2"))
    )
    scale = alt.Scale(domain=list(STATES), range=list(STATES.values()))
    color = alt.Color("state:N", title=None, scale=scale, legend=alt.Legend(columns=2))
    dots = base.mark_point(size=260, filled=True, opacity=1).encode(x, y, color)
    text: dict[str, Any] = {"align": "left", "dx": 14, "font": "monospace"}
    code = base.mark_text(**text, dy=-8, fontSize=15, fontWeight="bold").encode(x, y, color, text="code:N")
    bits = base.mark_text(**text, dy=9, fontSize=14).encode(x, y, color, text="bits:N")
    return charts.build(alt.layer(lines, dots, code, bits), 44 * max(rows, 6) + 60, "Keys, and what each one is")


def draw_dropout(snapshot: Snapshot) -> list[charts.Shown]:
    """The losses of both trainings, and the curves that they have learnt."""
    colors = dict(zip(random_keys.WAYS, (TRAIN, TEST), strict=True))
    step, picture = snapshot.coordinates["step"], snapshot.picture or {}
    named = zip(random_keys.WAYS, ("loss", "the same key"), strict=True)
    losses = {way: (step, snapshot.metrics[name]) for way, name in named if name in snapshot.metrics}
    inputs = np.sort(random_keys.curve_data()[0])
    curves = {"data": (inputs, np.sin(3 * inputs))}
    curves |= {way: (inputs, picture[way]) for way in random_keys.WAYS if way in picture}
    return [
        charts.lines("Loss with every unit on", "step", "mean squared error", colors, losses, True, 300, 0.5),
        charts.lines("What was learnt", "x", "y", {"data": SERIES[7], **colors}, curves, False, 300, 0.5),
    ]


def draw_checks(report: dict[str, str]) -> None:
    """What the checker says of each way of stepping."""
    for way in random_keys.WAYS:
        st.markdown(f"with {way}:")
        st.code(report[way], language=None, wrap_lines=True)


def draw_calls(rows: list[dict[str, str]]) -> None:
    """What was said at each call."""
    columns = ("call", "without jit", "jit", "jit, debug.callback", "jit, pure: calls so far")
    st.dataframe({name: [row[name] for row in rows] for name in columns}, hide_index=True)
