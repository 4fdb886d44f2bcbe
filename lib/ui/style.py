"""Colours, one for one meaning through the whole app, and the few rules of CSS there are.

The colours are from the palette of Okabe and Ito (2008), made for all kinds of colour vision, with a
brown and a grey added; they hold on a light and on a dark ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import streamlit as st

PHASES = {
    "trace": "#8C8C8C",
    "lower": "#CC79A7",
    "compile": "#E69F00",
    "first run": "#56B4E9",
    "steady": "#009E73",
    "dispatch": "#A5682A",
    "eager": "#1F88C9",
    "import": "#8C8C8C",
}
TRAIN, TEST = "#1F88C9", "#D55E00"
SERIES = ["#1F88C9", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#A5682A", "#8C8C8C"]

_CSS = """
<style>
.stMainBlockContainer { padding: 3.7rem 3rem 3rem; }
.stMainBlockContainer h1 { font-size: 2.2rem; padding: 0 0 .4rem; }
.stats { display: grid; grid-template-columns: repeat(auto-fill, minmax(4.8rem, 1fr)); gap: .3rem .7rem; }
.stats .wide { grid-column: span 2; }
.stats .name { font-size: .75rem; opacity: .7; white-space: nowrap; }
.stats .value { font-size: 1.1rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
[data-testid="stSidebarNavLink"] { padding: .05rem .5rem; } [data-testid="stSidebarNavItems"] li { margin: 0; }
[data-testid="stNavSectionHeader"] { padding-top: .2rem; padding-bottom: 0; }
[data-testid="stSidebarNavItems"] { padding-top: 0; } [data-testid="stSidebarHeader"] { height: 2.2rem; margin: 0; }
.types { font-size: 1rem; line-height: 1.7; background: none; color: inherit; }
.types .batch, .types .derivative { color: #fff; border-radius: .25rem; padding: 0 .3rem; }
.types .batch { background: #1F6FA8; } .types .derivative { background: #B04A00; }
.scroll { overflow-x: auto; } .legend { font-size: .9rem; opacity: .85; margin: .3rem 0; }
.ladder, .jaxpr { border-collapse: collapse; font-size: 1rem; }
.ladder td, .ladder th, .jaxpr td, .jaxpr th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top; }
.ladder th { font-size: .85rem; opacity: .75; font-weight: 600; }
.ladder tr { border-bottom: 1px solid rgba(128, 128, 128, .25); } .ladder td { white-space: nowrap; }
.ladder .refused { background: rgba(213, 94, 0, .12); }
.jaxpr { font-family: "Source Code Pro", monospace; font-size: .95rem; }
.jaxpr td, .jaxpr th { white-space: pre; font-weight: 400; padding: .05rem .9rem .05rem .3rem; }
.jaxpr td:nth-child(n + 3), .jaxpr th { opacity: .7; }
.jaxpr .new td:nth-child(-n + 2), .legend .new { background: rgba(0, 158, 115, .22); }
.jaxpr .bad td { background: rgba(213, 94, 0, .28); font-weight: 600; }
.jaxpr .changed td:nth-child(-n + 2), .legend .changed { background: rgba(31, 136, 201, .16); }
.legend span { padding: 0 .4rem; }
.map { min-height: 6rem; } .map svg { width: 100%; max-height: 18rem; font: 600 18px monospace; }
.map a { cursor: pointer; } .map a:hover rect, .map a:focus rect { filter: brightness(1.15); }
.live .items { display: flex; flex-wrap: wrap; gap: 0 1.5rem; margin-top: .6rem; }
.live .chart { flex: 1 1 calc(100% * var(--share) - 1.5rem); min-width: min(100%, 18rem); }
.live .text { flex: 1 0 100%; }
.live .caption, .live details { font-size: .9rem; opacity: .85; }
.live .warning, .live .error, .live .info { padding: .7rem 1rem; border-radius: .5rem; margin: .4rem 0; }
.live .warning { background: rgba(230, 159, 0, .18); }
.live .error { background: rgba(213, 94, 0, .18); }
.live .info { background: rgba(31, 136, 201, .14); }
.live pre { font-size: .9rem; white-space: pre-wrap; margin: .3rem 0; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding: 4.2rem 1rem 3rem; } .stMainBlockContainer h1 { font-size: 1.6rem; }
}
</style>
"""


def inject() -> None:
    """The rules, once a page."""
    st.html(_CSS)


WIDE = ("Status", "Accuracy: train, test")
"""Numbers that need room for two. Cells of fixed widths keep the row still while the numbers change."""


def stats_html(numbers: Mapping[str, str]) -> str:
    """A row of named numbers as HTML."""
    cells = "".join(
        f'<div class="{"wide" if name in WIDE else ""}"><div class="name">{escape(name)}</div><div class="value">{escape(value)}</div></div>'
        for name, value in numbers.items()
    )
    return f'<div class="stats">{cells}</div>'


def stats(numbers: Mapping[str, str]) -> None:
    """A row of named numbers, as one element."""
    st.html(stats_html(numbers))


def quantity(value: float | None, unit: str = "") -> str:
    """Three significant digits with an SI prefix, `–` for nothing."""
    if value is None:
        return "–"
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {prefix}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()


def duration(ms: float) -> str:
    """Three significant digits in the unit that suits."""
    for unit, size in (("s", 1e3), ("ms", 1.0), ("µs", 1e-3)):
        if ms >= 0.9995 * size:
            return f"{ms / size:.3g} {unit}"
    return f"{ms * 1e6:.3g} ns"
