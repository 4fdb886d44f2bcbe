"""A jaxpr as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from lib.measure.jaxprs import Line

STYLE = "<style>.jaxpr .bad td { background: rgba(213, 94, 0, .28); font-weight: 600; }</style>"


def program(lines: Sequence[Line], classes: Sequence[str], sources: bool = True) -> None:
    """Shows equations, with the source they come from; a class (`new`, `changed`, `bad` or none) sets a line off."""
    rows = "".join(
        f"<tr class='{kind}'><td></td><td style='padding-left:{0.3 + 1.2 * line.depth}rem'>{escape(line.text)}</td>"
        f"<td>{escape(line.source) if sources else ''}</td></tr>"
        for line, kind in zip(lines, classes, strict=True)
    )
    heading = "comes from" if sources else ""
    st.html(
        f"{STYLE}<div class='scroll'><table class='jaxpr'><tr><th></th><th>equation</th><th>{heading}</th></tr>{rows}"
        "</table></div>"
    )
