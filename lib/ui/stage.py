"""The first screen of a page: what it shows and what to do, the settings, one bar, and below it the live run.

While presenting, only the bar and the run are left: no sidebar, no words, type that reads from the back row.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import streamlit as st

from lib.ui.controls import Controls, shared_controls
from lib.ui.settings import ask


class Page(NamedTuple):
    """What a page says in its docstring.

    Attributes:
        task: its first paragraph: what the page shows, what to do, what to look for.
        idea: the other paragraphs.
        links: Markdown for each reference.
    """

    title: str
    task: str
    idea: str
    links: str


class Places(NamedTuple):
    """Where the parts of the stage go, made once a run of the script."""

    page: Page
    settings: Any
    buttons: Any
    more: Any
    below: Any
    run: Any


_places: ContextVar[Places] = ContextVar("places of the stage")


def presenting() -> bool:
    """Whether this visitor presents: by the switch, by `?present=1`, or because the page is embedded in another."""
    if "present" not in st.session_state and st.query_params.get("present") == "1":
        st.session_state["present"] = True
    return bool(st.session_state.get("present", False) or st.context.is_embedded)


def read(docstring: str) -> Page:
    """Takes a page's docstring apart."""
    title, _, rest = inspect.cleandoc(docstring).partition("\n")
    words, _, references = rest.partition("References:")
    task, _, idea = words.strip().partition("\n\n")
    links = re.findall(r"(\S[^\n]*?): (https?://\S+)", references)
    return Page(title, task.strip(), idea.strip(), " · ".join(f"[{text}]({url})" for text, url in links))


def begin(docstring: str, lessons: Callable[[], None]) -> Controls:
    """Draws everything above the live run.

    Args:
        lessons: draws links to the lesson before and after; called while presenting, where there is no navigation.
    """
    page = read(docstring)
    presents = presenting()
    with st.container(key="stage", gap="small"):
        if not presents:
            st.title(page.title, anchor=False)
            st.markdown(page.task)
            settings = st.container(horizontal=True, vertical_alignment="bottom", key="stage_settings", gap="small")
        with st.container(horizontal=True, vertical_alignment="bottom", key="stage_bar", gap="small"):
            buttons = st.container(horizontal=True, key="stage_buttons", width="content", gap="small")
            shared = st.container(horizontal=True, key="stage_shared", vertical_alignment="bottom", gap="small")
            more = st.popover("More", icon=":material/tune:", key="stage_more")
            if presents:
                settings = more
                if not st.context.is_embedded:
                    present_switch()
                    lessons()
        with shared:
            controls = shared_controls(more)
        places = Places(
            page, settings, buttons, more, st.container(key="stage_below", gap="small"), st.container(key="stage_run")
        )
    _places.set(places)
    return controls


def present_switch() -> None:
    """The switch that begins and ends presenting."""
    ask(
        "present",
        "Present",
        help="The run alone, in large type. Space: Run and Pause. S: Step. B: Go back. R: Reset. ↑ ↓: panels. ← →: lessons.",
    )


def settings() -> Any:
    """Where the lesson's own settings go: a row above the bar; behind a button while presenting."""
    return _places.get().settings


def buttons() -> Any:
    """Where the buttons of the page's run go."""
    return _places.get().buttons


def more() -> Any:
    """What is rarely changed: behind a button at the end of the bar."""
    return _places.get().more


def below() -> Any:
    """Below the bar, above the run."""
    return _places.get().below


def run() -> Any:
    """Where the numbers and charts of the page's run go."""
    return _places.get().run


def page() -> Page:
    """What the page that is running says in its docstring."""
    return _places.get().page
