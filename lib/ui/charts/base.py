"""What a live run or a measurement shows, as values, and the one verb that shows them.

Vega draws in place as long as the specification is the same to the letter, so whatever changes from
frame to frame is data, and titles and domains hold still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import altair
import numpy as np
import pandas  # noqa: F401  Altair asks for parts of it once any thread has begun to import it: have it whole before
import pyarrow as pa
import streamlit as st

FONT = {"labelFontSize": 13, "titleFontSize": 14}
"""Of charts on the stage, which the browser makes larger where there is room."""
LARGE = {"labelFontSize": 15, "titleFontSize": 16}
HEIGHT = 300
LEGEND = 36
"""Characters that a legend has room for in a narrow chart."""
SHORT = "abs(datum.value) >= 1e4 ? format(datum.value, '.4~s') : format(datum.value, '.4~g')"
"""Labels of at most four figures; a prefix only for what is large, so that a twentieth is never "50m"."""
CODE_HEIGHT = 190
_POWER = "abs(log(datum.value) / LN10 - round(log(datum.value) / LN10)) < 1e-6"

Spec = dict[str, Any]


class Chart(NamedTuple):
    """A specification and the data that it names.

    Attributes:
        alt: what the chart shows, for those who do not see it.
        columns: the data, column by column: arrays or lists of one length. A live frame takes them as they are.
        width: its share of a row, 1 for a row of its own.
    """

    spec: Spec
    alt: str
    columns: Mapping[str, Mapping[str, Any]]
    width: float = 1.0

    @property
    def data(self) -> dict[str, pa.Table]:
        """The data as Arrow tables."""
        return {name: pa.table(dict(columns)) for name, columns in self.columns.items()}


class Text(NamedTuple):
    """A row of words: code and bold of Markdown, or for `code` text as it is; `folded` shows its first line alone."""

    body: str
    kind: Literal["caption", "info", "warning", "error", "code", "folded"] = "caption"


Shown = Chart | Text


def chart(spec: Spec, alt: str, width: float = 1.0, **datasets: Any) -> Chart:
    """A chart of data: columns by name."""
    return Chart(spec, alt, datasets, width)


def show(chart: Chart) -> None:
    """Draws a chart, with its texts in the ink of the theme: Streamlit's own are too pale to read from afar."""
    ink, ground = ("#FAFAFA", "#0E1117") if st.context.theme.type == "dark" else ("#31333F", "#FFFFFF")
    config = dict(chart.spec.get("config", {}))
    for part in ("axis", "legend"):
        config[part] = config.get(part, {}) | {"labelColor": ink, "titleColor": ink}
    config |= {"text": {"color": ink}, "style": {"halo": {"stroke": ground, "strokeWidth": 5, "strokeJoin": "round"}}}
    st.vega_lite_chart(spec={**chart.spec, "config": config, "datasets": chart.data}, width="stretch", alt=chart.alt)


def rows(shown: Sequence[Shown]) -> list[list[Shown]]:
    """Charts side by side until their row is full; each text by itself."""
    rows: list[list[Shown]] = []
    room = 0.0
    for one in shown:
        width = one.width if isinstance(one, Chart) else 1.0
        if width > room + 1e-6:
            rows.append([])
            room = 1.0
        rows[-1].append(one)
        room -= width
    return rows


def show_all(shown: Sequence[Shown]) -> None:
    """Draws charts and texts, row by row."""
    for row in rows(shown):
        charts = [one for one in row if isinstance(one, Chart)]
        if len(charts) > 1:
            for chart, column in zip(charts, st.columns([chart.width for chart in charts], gap="medium"), strict=True):
                with column:
                    show(chart)
        else:
            _show_alone(row[0])


def _show_alone(one: Shown) -> None:
    if isinstance(one, Chart):
        show(one)
    elif one.kind == "code":
        st.code(one.body, language=None, height=CODE_HEIGHT)  # holds still, however many lines there are
    elif one.kind == "folded":
        head, *lines = one.body.split("\n")
        st.expander(head).markdown("\n\n".join(lines))
    else:
        getattr(st, one.kind)(one.body)


def build(chart: Any, height: int, title: str, large: bool = False) -> Spec:
    """The specification of an Altair chart.

    Args:
        large: for a chart that is always shown by itself, with type that reads from afar.
    """
    font = LARGE if large else FONT
    return (
        chart.properties(height=height, title=title)
        .configure_axis(**font, labelLimit=320, labelFlush=False)  # a label stands at its tick
        .configure_legend(**font, orient="top", labelLimit=320, columns=4, padding=0, offset=4)
        .configure_title(fontSize=18 if large else 15, anchor="start")
        .to_dict()
    )


def measured_axis(log: bool) -> altair.Axis:
    """The axis of what is measured: labels of at most four figures; a grid of the powers of ten on a logarithmic one."""
    grid: Any = {"condition": {"test": _POWER, "value": 0.25}, "value": 0.0} if log else altair.Undefined
    return altair.Axis(tickCount=6, format=".4~g", gridOpacity=grid)


def legend(names: Sequence[str]) -> altair.Legend:
    """A legend above the chart, in as many columns as fit without one being cut off."""
    width = max(map(len, names), default=0) + 3
    return altair.Legend(
        columns=max(1, min(len(names), LEGEND // width)), symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3
    )


def named(name: str) -> altair.NamedData:
    """A reference to one of the data of a chart."""
    return altair.NamedData(name)


class Words:
    """A column of few different words: a byte a row. Not Arrow's own, which lets go of Python's lock when it is made:
    a frame would then wait for whatever else runs.

    Attributes:
        codes: int8[rows], places in `words`.
    """

    def __init__(self, codes: np.ndarray, words: list[str]) -> None:
        self.codes = codes
        self.words = words

    def __len__(self) -> int:
        return len(self.codes)

    def to_pylist(self) -> list[str]:
        """The words, row by row."""
        return [self.words[code] for code in self.codes]

    def __arrow_array__(self, type: Any = None) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(self.codes), pa.array(self.words, pa.string()))


def repeated(values: Sequence[str], counts: Sequence[int]) -> Words:
    """A column of words, each some number of times."""
    return Words(np.repeat(np.arange(len(values), dtype=np.int8), counts), list(values))


def words(values: Any) -> Words:
    """A column of few different words."""
    places: dict[str, int] = {}
    codes = [places.setdefault(str(value), len(places)) for value in values]
    return Words(np.array(codes, np.int8), list(places))
