"""The frame around every page: navigation, title, shared controls.

Streamlit serves `pages/` by itself until some script has called `st.navigation`: a process that is first
asked for `/training` would run that file bare. So each page begins with `begin`, which, outside the
frame, registers the navigation and starts over inside it.
"""

from __future__ import annotations

from contextlib import nullcontext
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from lib.ui import room_view, session_lock, settings, stage, style, waiting
from lib.ui.controls import Controls
from lib.ui.panels import compile_log_panel
from lib.ui.settings import PAGE

PAGES = Path(__file__).parents[2] / "pages"
SECTIONS = {"0": "The core", "1": "Compose and compile", "2": "Next steps"}
"""The first digit of a file's number says which section it belongs to. Page 00 is the home page."""

ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
    "<path d='M9 0 2 9h5l-1 7 8-10H9z' fill='%230072B2'/></svg>"
)
"""Drawn here: Streamlit's own icons for browser tabs come from another server, which a laptop may not reach."""

session_lock.share()
_controls: ContextVar[Controls] = ContextVar("controls")


class PageEnd(Exception):
    """A page has shown what is wrong with its input, and nothing more makes sense. `st.stop` would end the frame too."""


def page_files() -> list[Path]:
    """Every lesson, in teaching order."""
    return sorted(PAGES.glob("[0-9][0-9]_*.py"))


@cache
def docstring_of(file: Path) -> str:
    """A page's docstring."""
    # Not by `ast`: two threads in it at once can make Python 3.11 raise a SystemError.
    return file.read_text(encoding="utf-8").split('"""')[1]


def title_of(file: Path) -> str:
    """The first line of a page's docstring."""
    return docstring_of(file).partition("\n")[0].strip()


def _pages() -> dict[str, list[Any]]:
    sections: dict[str, list[Any]] = {}
    for number, file in enumerate(page_files()):
        # The path in the address comes from the file's name, as in Streamlit's own router.
        page = st.Page(file, title=title_of(file).partition(": ")[0], default=number == 0)
        sections.setdefault(SECTIONS[file.name[0]] if number else "", []).append(page)
    return sections


def run() -> None:
    """The whole of `dashboard.py`."""
    reflection = room_view.begin()
    presenting = stage.presenting()
    st.set_page_config(page_icon=ICON, layout="wide")
    page = st.navigation(_pages(), expanded=True, position="hidden" if presenting else "sidebar")
    style.inject(page.url_path, presenting)
    waiting.begin()
    settings.begin()
    token = PAGE.set(page.url_path or "home")
    try:
        # Here, not in the page: a widget's identity has the page in it that draws it, and these are all pages'.
        links = partial(_lesson_links, page.url_path, named=False)
        _controls.set(stage.begin(docstring_of(_file_of(page.url_path)), links))
        page.run()
    except PageEnd:
        pass  # the way to the other pages stands all the same
    finally:
        settings.tell()
        PAGE.reset(token)
    if not presenting:
        with reflection.private() if reflection else nullcontext():  # who follows goes where the lecturer goes
            _footer(page.url_path)
    room_view.finish(reflection, page.url_path)
    waiting.finish()


def page_name() -> str:
    """Of the page that is running: its path in the address, `home` for the first."""
    return PAGE.get()


def _file_of(path: str) -> Path:
    """The file of a page, by its path in the address, which is empty for the first."""
    files = page_files()
    return next((file for file in files if file.stem[3:] == path), files[0])


def _lesson_links(path: str, named: bool) -> None:
    """The lesson before and the lesson after."""
    files = page_files()
    here = files.index(_file_of(path))
    sides: tuple[tuple[int, str, Literal["left", "right"]], ...] = (
        (here - 1, "back", "left"), (here + 1, "forward", "right")
    )  # fmt: skip
    for there, way, side in sides:
        if 0 <= there < len(files):
            with st.container(key=f"lesson_{way}", width="content"):
                label = title_of(files[there]) if named else " "
                st.page_link(files[there], label=label, icon=f":material/arrow_{way}:", icon_position=side)


def _footer(path: str) -> None:
    """The lesson before, the lesson after, and what this process has compiled."""
    st.divider()
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        _lesson_links(path, named=True)
    compile_log_panel()
    with st.sidebar:
        stage.present_switch()
        room_view.teach_button()


def begin() -> Controls:
    """The first call of each page; the shared controls as they are set.

    The frame has shown what the page's docstring says: title, an empty line, the task in one paragraph. The idea in
    others and `References:` are for the panel `Notice`.
    """
    if not PAGE.get():
        st.navigation(_pages())
        st.rerun()
    return _controls.get()
