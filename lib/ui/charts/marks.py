"""Marks along a horizontal axis: where something was changed, with its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from lib.ui.charts.base import named, words
from lib.ui.style import SERIES

NEWEST = 12
"""Marks that are shown, at the most: a frame has to stay small."""
ROWS = 3
"""Texts below each other, where marks stand close."""
LINE = 42
"""Characters that the width of a narrow chart has room for."""

DX: dict[Any, int] = {"left": 5, "right": -5, "center": 0}
"""From the mark to its text, by the text's alignment."""

Event = tuple[float, str]
"""Where on the axis, and what happened there."""


def layers(x_title: str) -> list[alt.Chart]:
    """Thin rules with their texts at the top, a note at the bottom, and an axis that is as long as it is said to be.

    What the axis looks like is said by the layers before these: a specification goes along with every frame.
    """
    base, span = alt.Chart(named("marks")), alt.Chart(named("span"))
    texts = [
        base.transform_filter(f"datum.side == {side!r}")
        .mark_text(fontSize=13, align=side, baseline="top", dx=dx, dy=2, lineBreak="\n", style=style)
        .encode(alt.X("at:Q", title=x_title), y=alt.value(0), text="text:N")
        for side, dx in DX.items()
        for style in ("halo", alt.Undefined)  # a rim of the ground's colour: a curve may pass behind
    ]
    return [
        base.mark_rule(strokeWidth=1.5, opacity=0.8, color=SERIES[7]).encode(alt.X("x:Q", title=x_title)),
        *texts,
        span.mark_text(fontSize=13, align="left", baseline="bottom", dx=4, dy=-20, lineBreak="\n")
        .encode(x=alt.value(0), y=alt.value("height"), text="note:N"),
        span.mark_point(opacity=0).encode(alt.X("x:Q", title=x_title)),
    ]  # fmt: skip


def data(events: Sequence[Event], end: float, note: str = "", start: float = 0.0) -> dict[str, dict[str, Any]]:
    """The data of these layers.

    The newest text has its place first, the older ones what is left: a mark without room for its text is a rule alone.
    A text stands to the left of its rule if there is room, else to the right, else across it.

    Args:
        events: in their order; the newest are shown.
        start, end: of the axis.
    """
    end = end if end > start else start + 1  # before the first step
    length = end - start
    events = events[-NEWEST:]
    taken: list[list[tuple[float, float]]] = [[] for _ in range(ROWS)]
    texts, sides, places = [], [], []
    for x, text in reversed(events):
        at, width = (x - start) / length, (len(text) + 1) / LINE
        side, begin = "right", at - width
        if begin < 0:
            side, begin = "left", at
        if begin + width > 1:
            side, begin = "center", min(max(at - width / 2, 0), 1 - width)
        stop = begin + width
        row = next((row for row in range(ROWS) if all(stop <= b or begin >= e for b, e in taken[row])), None)
        if row is not None:
            taken[row].append((begin, stop))
        texts.append("" if row is None else "\n" * row + text)  # so many lines further down, whatever the size of type
        sides.append(side)
        places.append(start + length * (begin + stop) / 2 if side == "center" else float(x))
    return {
        "marks": {
            "x": np.array([x for x, _ in events], np.float32), "at": np.array(places[::-1], np.float32),
            "text": texts[::-1], "side": words(sides[::-1]),
        },
        "span": {"x": np.array([start, end], np.float32), "note": [note, ""]},
    }  # fmt: skip
