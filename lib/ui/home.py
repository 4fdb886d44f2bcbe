"""The home page: which lesson teaches which nesting, and what machine this is."""

from __future__ import annotations

import os
import platform

import altair as alt
import jax
import streamlit as st

from lib.live.devices import devices
from lib.ui import charts
from lib.ui.frame import page_of
from lib.ui.style import PHASES, SERIES

# Column and row of each nesting; what lies inside stands on the left.
NODES = {
    "f": (0.0, 1.0, "", SERIES[7]),
    "grad(f)": (1.0, 0.0, "", SERIES[1]),
    "vmap(f)": (1.0, 2.0, "", SERIES[3]),
    "jit(grad(f))": (2.0, 0.0, "jit_grad", SERIES[0]),
    "jit(vmap(f))": (2.0, 2.0, "jit_vmap", SERIES[0]),
    "grad(vmap(f))": (2.0, 1.0, "", SERIES[1]),
    "jit(grad(vmap(f)))": (3.3, 1.0, "jit_grad_vmap", SERIES[0]),
    "training": (4.4, 1.0, "training", PHASES["steady"]),
}
EDGES = [
    ("f", "grad(f)"),
    ("f", "vmap(f)"),
    ("grad(f)", "jit(grad(f))"),
    ("vmap(f)", "jit(vmap(f))"),
    ("vmap(f)", "grad(vmap(f))"),
    ("grad(vmap(f))", "jit(grad(vmap(f)))"),
    ("jit(grad(vmap(f)))", "training"),
]


def _map_spec() -> charts.Spec:
    """The nestings as a picture; those that have a page can be selected."""
    nodes = [
        {
            "name": name,
            "x": x,
            "y": y,
            "page": page,
            "color": color,
            "size": 900 if page else 260,
            "text_y": y + (0.36 if y == 2 else -0.36),
        }
        for name, (x, y, page, color) in NODES.items()
    ]
    edges = [{"x": NODES[a][0], "y": NODES[a][1], "x2": NODES[b][0], "y2": NODES[b][1]} for a, b in EDGES]
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.45, 4.75], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[2.6, -0.6], nice=False))
    lines = (
        alt.Chart(alt.Data(values=edges)).mark_rule(strokeWidth=3, opacity=0.45, color=SERIES[7])
        .encode(x, y, x2="x2:Q", y2="y2:Q")
    )  # fmt: skip
    picked = alt.selection_point(name="lesson", fields=["page"], on="click", clear=False)
    base = alt.Chart(alt.Data(values=nodes))
    dots = (
        base.mark_point(filled=True, opacity=1, cursor="pointer")
        .encode(
            x, y, alt.Color("color:N", scale=None),
            size=alt.Size("size:Q", scale=None),
            tooltip=alt.Tooltip("name:N", title="opens"),
        )
        .add_params(picked)
    )  # fmt: skip
    text = base.mark_text(fontSize=16, fontWeight="bold", font="monospace").encode(
        x, alt.Y("text_y:Q", axis=None), text="name:N", color=alt.Color("color:N", scale=None)
    )
    return charts.build(alt.layer(lines, dots, text), 330, "What nests in what: click a large dot to open its lesson")


def composition_map() -> None:
    """The map, and the same links as a list for keyboards and screen readers."""
    chosen = st.vega_lite_chart(
        spec=_map_spec(), width="stretch", key="map", on_select="rerun", alt="Which lesson teaches which nesting"
    )
    for point in chosen.get("selection", {}).get("lesson", []):
        if point.get("page"):
            st.switch_page(page_of(point["page"]))
    with st.container(horizontal=True):
        for name, (_, _, page, _) in NODES.items():
            if page:
                st.page_link(page_of(page), label=name, icon=":material/arrow_forward:")


def machine() -> None:
    """What computes here."""
    st.markdown("**This machine**")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    st.dataframe(
        {
            "what": ["JAX", "Python", "CPU cores", "Devices"],
            "value": [jax.__version__, platform.python_version(), str(cores), ", ".join(devices())],
        },
        hide_index=True,
    )
    st.caption(
        "Several CPU devices are simulated on the same cores, so that placing arrays is real on any machine; they are not "
        "faster than one. Everybody on this page shares the machine in fair turns."
    )
