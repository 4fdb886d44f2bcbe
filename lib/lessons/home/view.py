"""The home page: a run that is finished, which lesson teaches which nesting, and what machine this is."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import streamlit as st

from lib.lessons.home import routine
from lib.live.cluster import default_cluster
from lib.live.devices import CPUS, devices
from lib.live.run import Snapshot
from lib.ui import frame
from lib.ui.live_view import ready
from lib.ui.style import SERIES

LESSON, LAST = "#1F6FA8", "#007A5A"
"""Dark enough for white words."""

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
    "jit(grad(f))": ((455, 60), "jit_grad", LESSON),
    "jit(vmap(f))": ((455, 240), "jit_vmap", LESSON),
    "mean(vmap(f))": ((415, 150), "", SERIES[7]),
    "jit(grad(mean(vmap(loss))))": ((695, 150), "jit_grad_vmap", LESSON),
    "any nesting": ((695, 60), "composition", LESSON),
    "the program": ((695, 240), "compilation", LESSON),
    "training": ((945, 150), "training", LAST),
}
EDGES = [
    ("f", "grad(f)"),
    ("f", "vmap(f)"),
    ("grad(f)", "jit(grad(f))"),
    ("vmap(f)", "jit(vmap(f))"),
    ("vmap(f)", "mean(vmap(f))"),
    ("mean(vmap(f))", "jit(grad(mean(vmap(loss))))"),
    ("jit(grad(f))", "any nesting"),
    ("jit(vmap(f))", "the program"),
    ("jit(grad(mean(vmap(loss))))", "training"),
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
    # A script with markup in it would be taken for an attack and left out.
    st.html(DRAW % json.dumps(_map()).replace("<", "\\u003c"), unsafe_allow_javascript=True)


class Lesson(NamedTuple):
    """A lesson in the list.

    Attributes:
        minutes: to read it and try each of its panels once.
    """

    shows: str
    minutes: int


LESSONS: dict[str, Lesson] = {
    "home": Lesson("Train a small network; get to know the bar and the charts.", 2),
    "jit_grad": Lesson("Differentiate a function, compile it, and descend along its gradient.", 10),
    "jit_vmap": Lesson("Write a function for one example and run it for a batch.", 10),
    "jit_grad_vmap": Lesson("Fit a linear model with the gradient of a batch.", 10),
    "training": Lesson("Train a network and see what each of its units sees.", 15),
    "composition": Lesson("Nest transformations in any order; see type and program of each level.", 15),
    "compilation": Lesson("See what `jit` traces and compiles, and when it compiles again.", 15),
    "pytrees": Lesson("Keep parameters in nested containers, and random keys apart.", 10),
    "state_libraries": Lesson("Train one network with Flax, Haiku and Equinox, and compare.", 15),
    "custom_gradients": Lesson("Define a derivative yourself where the automatic one fails.", 10),
    "control_flow": Lesson("Put branches and loops into the compiled program.", 10),
    "multi_device": Lesson("Split arrays over devices and see what the devices exchange.", 15),
    "debugging": Lesson("Print from compiled code, and find where a NaN comes from.", 10),
}
"""By path, in teaching order."""
START = "jit_grad"


def lessons() -> None:
    """The map, and a line for each lesson."""
    composition_map()
    st.markdown(
        f"New to JAX? Begin with **{frame.title_of(_file(START))}** and go on in this order. "
        "The minutes are for reading a page and trying each of its panels once."
    )
    columns = st.columns(3, gap="medium")
    rows = -(-len(LESSONS) // len(columns))
    for number, (path, lesson) in enumerate(LESSONS.items()):
        file = _file(path)
        with columns[number // rows], st.container(gap=None):
            st.page_link(file, label=f"**{number + 1}. {frame.title_of(file).partition(': ')[0]}**")
            st.caption(f"{lesson.shows} {lesson.minutes} min")


def _file(path: str) -> Path:
    return next(file for file in frame.page_files() if file.stem[3:] == path)


def finished(device: jax.Device, seed: int) -> Callable[[Snapshot], Snapshot]:
    """Puts a finished run in the place of one of the same data that is not begun.

    Until it is there nothing is drawn: the picture of a start would be taken for what the page says of the finished run.
    """
    run = ready(device, routine.finished_run)

    def stand_in(snapshot: Snapshot) -> Snapshot:
        if snapshot.step > 0 or snapshot.active or seed != routine.SEED:
            return snapshot
        return snapshot._replace(**(run() or {"picture": None}))

    return stand_in


def machine() -> None:
    """What computes here."""
    st.dataframe(
        {
            "what": ["JAX", "Python", "CPU cores", "Devices"],
            "value": [jax.__version__, platform.python_version(), str(CPUS), ", ".join(devices())],
        },
        hide_index=True,
    )
    _cluster()
    st.caption(
        "Several CPU devices are simulated on the same cores, so that placing arrays is real on any machine; they are not "
        "faster than one. All visitors share the machine in fair turns."
    )


def _cluster() -> None:
    """The workers elsewhere, if this app has any."""
    cluster = default_cluster()
    if cluster is None:
        return
    rows = cluster.rows()
    if not rows and not cluster.trouble:
        st.caption("No worker has joined the scheduler yet: this machine computes.")
    if rows:
        st.dataframe(
            {
                "worker": [row.worker for row in rows],
                "devices": [row.devices for row in rows],
                "runs": [row.runs for row in rows],
            },
            hide_index=True,
        )
    for sentence in filter(None, [cluster.trouble, *cluster.refused.values()]):
        st.warning(sentence)
