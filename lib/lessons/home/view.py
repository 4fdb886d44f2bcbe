"""The home page: which lesson teaches which nesting, and what machine this is."""

from __future__ import annotations

import json
import platform

import jax
import streamlit as st

from lib.live.devices import CPUS, devices
from lib.ui.style import SERIES, TRAIN

# Streamlit leaves no SVG in HTML that it shows, so a script puts the picture in. The navigation's own links change
# the page within the session; where there are none (sidebar closed) the link's address does.
DRAW = """
<div class="map"></div>
<script>
for (const map of document.querySelectorAll(".map")) {
  map.innerHTML = %s;
  for (const link of map.querySelectorAll("a")) link.addEventListener("click", (event) => {
    const entry = [...document.querySelectorAll("[data-testid=stSidebarNavLink]")]
      .find((other) => other.pathname.endsWith("/" + link.getAttribute("href")));
    if (entry) { event.preventDefault(); entry.click(); }
  });
}
</script>
"""

# Name: centre in the picture, the lesson's address, colour of the outermost transformation.
NODES = {
    "f": ((60, 150), "", SERIES[7]),
    "grad(f)": ((235, 60), "", SERIES[1]),
    "vmap(f)": ((235, 240), "", SERIES[3]),
    "jit(grad(f))": ((455, 60), "jit_grad", TRAIN),
    "jit(vmap(f))": ((455, 240), "jit_vmap", TRAIN),
    "grad(vmap(f))": ((455, 150), "", SERIES[1]),
    "jit(grad(vmap(f)))": ((715, 150), "jit_grad_vmap", TRAIN),
    "any nesting": ((715, 60), "composition", TRAIN),
    "the program": ((715, 240), "compilation", TRAIN),
    "training": ((935, 150), "training", SERIES[2]),
}
EDGES = [
    ("f", "grad(f)"),
    ("f", "vmap(f)"),
    ("grad(f)", "jit(grad(f))"),
    ("vmap(f)", "jit(vmap(f))"),
    ("vmap(f)", "grad(vmap(f))"),
    ("grad(vmap(f))", "jit(grad(vmap(f)))"),
    ("jit(grad(f))", "any nesting"),
    ("jit(vmap(f))", "the program"),
    ("jit(grad(vmap(f)))", "training"),
]


def _half_width(name: str) -> float:
    return 5.6 * len(name) + 16


def _map() -> str:
    """The nestings as SVG; the filled ones are links to lessons."""
    parts = []
    for start, end in EDGES:
        (x1, y1), (x2, y2) = NODES[start][0], NODES[end][0]
        parts.append(
            f"<line x1='{x1 + _half_width(start)}' y1='{y1}' x2='{x2 - _half_width(end) - 4}' y2='{y2}' "
            "stroke='currentColor' stroke-opacity='.45' stroke-width='2.5' marker-end='url(#tip)'/>"
        )
    for name, ((x, y), path, color) in NODES.items():
        half = _half_width(name)
        fill, ink = (color, "#fff") if path else ("none", "currentColor")
        node = (
            f"<rect x='{x - half}' y='{y - 23}' width='{2 * half}' height='46' rx='10' fill='{fill}' stroke='{color}' "
            f"stroke-width='2.5'/><text x='{x}' y='{y + 6}' text-anchor='middle' fill='{ink}'>{name}</text>"
        )
        parts.append(f"<a href='{path}' aria-label='Open the lesson {name}'>{node}</a>" if path else f"<g>{node}</g>")
    tip = "<marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='6' markerHeight='6' orient='auto'>"
    return (
        "<svg viewBox='0 20 1020 260' role='img' aria-label='Which lesson teaches which nesting'>"
        f"<defs>{tip}<path d='M0 0 8 4 0 8z' fill='currentColor' fill-opacity='.55'/></marker></defs>"
        f"{''.join(parts)}</svg>"
    )


def composition_map() -> None:
    """Which lesson teaches which nesting, as a picture that links to the lessons."""
    st.markdown("**What nests in what.** Each filled box is a lesson: press it.")
    # A script with markup in it would be taken for an attack and left out.
    st.html(DRAW % json.dumps(_map()).replace("<", "\\u003c"), unsafe_allow_javascript=True)


def machine() -> None:
    """What computes here."""
    st.markdown("**This machine**")
    st.dataframe(
        {
            "what": ["JAX", "Python", "CPU cores", "Devices"],
            "value": [jax.__version__, platform.python_version(), str(CPUS), ", ".join(devices())],
        },
        hide_index=True,
    )
    st.caption(
        "Several CPU devices are simulated on the same cores, so that placing arrays is real on any machine; they are not "
        "faster than one. Everybody on this page shares the machine in fair turns."
    )
