"""Colours, one for one meaning through the whole app, and the few rules of CSS there are.

The colours are from the palette of Okabe and Ito (2008), made for all kinds of colour vision, with a
brown and a grey added; they hold on a light and on a dark ground.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

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
html { font-size: clamp(14px, .95vw, 26px) !important; }
/* The header floats over the page's first line, which leaves room for its menu. */
[data-testid="stHeader"] { background: none; pointer-events: none; } [data-testid="stHeader"] * { pointer-events: auto; }
[data-testid="stHeader"]:not(:has(button)) { display: none; }
[data-testid="stSidebar"][data-collapsed="false"] { width: 15.5rem !important; min-width: 15.5rem !important; }
.stMainBlockContainer { padding: 1rem 1.6rem 1.5rem; }
.stMainBlockContainer h1 { font-size: 1.7rem; line-height: 1.2; padding: 0 3rem 0 0; }
.st-key-stage, .st-key-stage_run { gap: .5rem; }
.st-key-stage [data-testid="stMarkdownContainer"] { margin: 0; } .st-key-stage p { line-height: 1.4; margin: 0; }
:is(.st-key-stage_settings, .st-key-stage_below):not(:has(*)) { display: none; }
/* What was waited for has left an empty place. */
.st-key-stage_below > [data-testid="stLayoutWrapper"]:not(:has([data-testid="stElementContainer"] > :not(.stEmpty))) { display: none; }
:is(.st-key-stage_bar, .st-key-stage_settings) { row-gap: .4rem; }
.st-key-stage [data-testid="stWidgetLabel"] { min-height: 0; margin-bottom: .15rem; }
.st-key-stage_shared { flex-wrap: nowrap; }
/* The name, the value and the ends of the slider, none over another. */
.st-key-learning_rate [data-testid="stSliderThumbValue"] { transform: translateY(.2rem); }
.st-key-learning_rate [data-testid="stSliderTickBar"] { opacity: 1; } .st-key-learning_rate [data-testid="stSliderTickBar"] p { font-size: .75rem; }
[data-testid="stTooltipIcon"] svg { width: 1rem; height: 1rem; }
.st-key-learning_rate { flex: 1 1 8rem !important; min-width: 7rem; max-width: 16rem; }
/* With less room it has no buttons. */
.st-key-seed { flex: 0 0 8rem !important; width: 8rem !important; max-width: none !important; }
/* Where there is little room the names of buttons stand below their icons, small; on a phone they are only read aloud. */
@media (max-width: 1700px) {
  .st-key-stage_bar button:not([kind="primary"]) > div:first-child > span { display: flex; flex-direction: column;
    align-items: center; line-height: 1; gap: 0; }
  .st-key-stage_bar button:not([kind="primary"]) [data-testid="stMarkdownContainer"] p { font-size: .68rem; line-height: 1; }
  .st-key-stage_bar button:not([kind="primary"]) { padding: .1rem .35rem; min-width: 2.9rem; }
}
/* The bar in two rows, before anything in it is cut. */
@media (max-width: 1240px) {
  .stApp:has([data-testid="stSidebar"][data-collapsed="false"]) .st-key-stage_bar > :has(> .st-key-stage_shared) {
    order: 2; flex: 1 0 100% !important; }
}
@media (max-width: 1000px) {
  .st-key-stage_bar > :has(> .st-key-stage_shared) { order: 2; flex: 1 0 100% !important; }
}
@media (min-width: 641px) {
  .stApp:has([data-testid="stExpandSidebarButton"]) h1 { padding-left: 1.2rem; }  /* beside the button of the sidebar */
}
@media (max-width: 640px) {
  .st-key-stage_bar button:not([kind="primary"]) [data-testid="stMarkdownContainer"] {
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
}
code.runs { display: block; font-size: 1.05rem; padding: .25rem .6rem; border-radius: .4rem; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere; background: rgba(128, 128, 128, .12); color: inherit; }
.st-key-panel [data-testid="stCode"] pre { max-height: 72vh; }
.stats { display: grid; grid-template-columns: repeat(auto-fill, minmax(4.8rem, 1fr)); gap: .2rem .7rem; }
.stats .wide { grid-column: span 2; }
.stats .name { font-size: .8rem; opacity: .8; white-space: nowrap; }
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
.ladder th { font-size: .85rem; opacity: .8; font-weight: 600; }
.ladder tr { border-bottom: 1px solid rgba(128, 128, 128, .25); } .ladder td { white-space: nowrap; }
.ladder .refused { background: rgba(213, 94, 0, .12); }
.jaxpr { font-family: "Source Code Pro", monospace; font-size: .95rem; }
.jaxpr td, .jaxpr th { white-space: pre; font-weight: 400; padding: .05rem .9rem .05rem .3rem; }
.jaxpr td:nth-child(2) { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 16rem; }
.jaxpr td:nth-child(n + 3), .jaxpr th { opacity: .8; }
.jaxpr .new td:nth-child(-n + 2), .legend .new { background: rgba(0, 158, 115, .22); }
.jaxpr .bad td { background: rgba(213, 94, 0, .28); font-weight: 600; }
.jaxpr .changed td:nth-child(-n + 2), .legend .changed { background: rgba(31, 136, 201, .16); }
.legend span { padding: 0 .4rem; }
.map { min-height: 6rem; } .map svg { width: 100%; max-height: 18rem; font: 600 18px monospace; }
.map a { cursor: pointer; } .map a:hover rect, .map a:focus rect { filter: brightness(1.15); }
.live .items { display: flex; flex-wrap: wrap; gap: 0 1.2rem; margin-top: .3rem; }
.live .items.stands .chart { flex: var(--share) 1 0; min-width: 0; }
.live .chart { flex: 1 1 calc(100% * var(--share) - 1.2rem); min-width: min(100%, 18rem); position: relative; }
.live .chart.empty::after { content: var(--hint); position: absolute; inset: 45% 0 auto 12%; text-align: center; opacity: .85; }
.live .text { flex: 1 0 100%; order: 1; }
.live .chart .save { position: absolute; top: 0; right: 0; z-index: 2; text-align: right; font-size: .95rem; }
.live .chart .save summary { cursor: pointer; list-style: none; padding: .1rem .4rem; opacity: .85; }
.live .chart .save button { display: block; width: 100%; padding: .2rem .7rem; cursor: pointer; color: inherit;
  background: var(--st-secondary-background-color, Canvas); border: 1px solid rgba(128, 128, 128, .4); }
.saves button { padding: .25rem .7rem; margin-right: .6rem; cursor: pointer; color: inherit; font: inherit; border-radius: .5rem;
  background: var(--st-background-color, Canvas); border: 1px solid rgba(128, 128, 128, .4); }
.live .caption, .live details { font-size: .9rem; line-height: 1.4; opacity: .9; }
.live .notes { min-height: 2.55rem; }  /* two lines: what follows stays where it is */
.live .warning, .live .error, .live .info { padding: .5rem .9rem; border-radius: .5rem; margin: .3rem 0; }
.live .warning { background: rgba(230, 159, 0, .18); }
.live .error { background: rgba(213, 94, 0, .18); }
.live .info { background: rgba(31, 136, 201, .14); }
.live pre { font-size: .9rem; white-space: pre-wrap; margin: .3rem 0; }
/* Streamlit's own greys are too pale for the back row: all text has a contrast of 4.5 to 1 at least. */
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p { opacity: 1; color: inherit; }
[data-testid="stCaptionContainer"] { opacity: .85; font-size: .9rem; }
[data-testid="stWidgetLabel"] p { opacity: 1; }
.token:is(.keyword, .function, .builtin, .class-name) { color: light-dark(#0B5CAD, #6CB6F5) !important; }
.token:is(.punctuation, .comment, .interpolation) { color: light-dark(#5A5E69, #A9ADBA) !important; }
.token:is(.string, .triple-quoted-string) { color: light-dark(#06702F, #6FD08C) !important; }
.token.operator { color: light-dark(#9C3F00, #F2A673) !important; }
.token:is(.boolean, .number) { color: light-dark(#00695C, #6FD3C4) !important; }
.stApp button[kind="primary"] { color: light-dark(#FFF, #0B1A24); }
:is(button, a, input, summary, [role="slider"], [role="radio"], [tabindex="0"]):focus-visible {
  outline: 3px solid #D55E00 !important; outline-offset: 2px; }
/* A phone: the bar in two rows that stay in sight, the lesson's own settings below the charts. */
@media (max-width: 640px) {
  html { font-size: 15px !important; }
  .stMainBlockContainer { padding: 2.9rem .8rem 2rem; } .stMainBlockContainer h1 { font-size: 1.35rem; }
  [data-testid="stHeader"] { background: var(--st-background-color, Canvas); height: 2.8rem; min-height: 0; }
  .st-key-stage > :has(> .st-key-stage_bar) { position: sticky; top: 2.8rem; z-index: 5; padding-bottom: .3rem;
    background: var(--st-background-color, Canvas); }
  /* Seven buttons in one row. */
  .st-key-stage_bar, .st-key-stage_buttons { gap: .45rem !important; }
  .st-key-stage_bar button:not([role]) { padding-inline: .55rem; min-width: 0; }
  .st-key-stage_shared > * { flex: 1 1 0 !important; min-width: 0; width: auto !important; }
  .st-key-stage_shared > .st-key-learning_rate { flex-grow: 1.5 !important; } .st-key-seed button { display: none; }
  .st-key-stage_bar [data-testid="stTooltipIcon"] { display: none; }
  .st-key-stage_bar [role="group"] input { padding-right: 0; }
  .st-key-stage_bar [role="group"] input + button { padding-inline: .2rem; }
  .st-key-stage_bar [data-testid="stSlider"] [data-testid="stWidgetLabel"] { margin-bottom: .4rem; }
  .st-key-stage > :has(> .st-key-stage_settings) { order: 1; }
  .stats { grid-template-columns: repeat(5, 1fr); }
  .live .stats > div:nth-child(n + 5), .live .stats > .wide:nth-child(n + 2) { display: none; }
}
</style>
"""

_PRESENTING = """
<style>
[data-testid="stHeader"], [data-testid="stSidebar"], [data-testid="stExpandSidebarButton"] { display: none !important; }
.stMainBlockContainer { padding: .7rem 1.2rem .3rem; max-width: none; }
code.runs { font-size: 1.45rem; font-weight: 600; }
.stats { grid-template-columns: repeat(auto-fill, minmax(6.6rem, 1fr)); }
.stats .name { font-size: .95rem; } .stats .value { font-size: 1.45rem; }
.live .notes { min-height: 0; } .live .notes .caption, .live .notes details, .live .chart .save { display: none; }
html { font-size: clamp(13px, 1.1vw, 30px) !important; }
.st-key-stage_buttons [class*="_compare"] [data-testid="stMarkdownContainer"] { display: none; }
.st-key-seed { flex-basis: 6rem !important; width: 6rem !important; }
.st-key-lesson_back, .st-key-lesson_forward { padding-bottom: .95rem; }
</style>
"""

# Streamlit keeps its scroll position from page to page, and on a phone its sidebar stays over the lesson.
_SCRIPT = (Path(__file__).parent / "frame.js").read_text(encoding="utf-8")


# In a frame of another page there is room for one thing.
_EMBEDDED = "<style>body:has(.st-key-panel) .st-key-stage { display: none; }</style>"


def inject(page: str, presenting: bool) -> None:
    """The rules, and the script of the frame, once a page."""
    call = f"atTop({json.dumps(page)}); presenting({json.dumps(presenting)});"
    with st.container(key="rules"):
        st.html(_CSS + _PRESENTING * presenting + _EMBEDDED * bool(st.context.is_embedded))
        st.html(f"<script>(() => {{{_SCRIPT}\n{call}}})()</script>", unsafe_allow_javascript=True)


WIDE = ("Status", "Accuracy: train, test", "Above minimum")
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


def literal(text: object) -> str:
    """Markdown that shows a text as it is: what a visitor has typed or uploaded may have markup, formulas and links in it."""
    return re.sub(r"([\\`*_{}\[\]<>~$:|^#&@]|(?<=www)\.)", r"\\\1", str(text), flags=re.IGNORECASE)


def quantity(value: float | None, unit: str = "") -> str:
    """Three significant digits with an SI prefix, `–` for nothing."""
    if value is None:
        return "–"
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {prefix}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()
