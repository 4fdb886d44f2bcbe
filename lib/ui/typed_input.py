"""What a visitor types: the input, and in one place what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from lib.routines.typed import MAX_LENGTH, TextError
from lib.ui.settings import SETTINGS, ask
from lib.ui.style import literal

TYPED = "type your own"
"""The choice among functions that opens the input."""

T = TypeVar("T")


def typed(label: str, key: str, read: Callable[[str], T], **options: Any) -> T:
    """A text input, and what `read` makes of the text.

    Without a sense the reason stands below the input, and the page goes on with the last text that had one.

    Args:
        key: of `settings.SETTINGS`.
        read: raises TextError if it cannot.
        options: further arguments of the input.
    """
    text = ask(key, label, max_chars=MAX_LENGTH, **options)
    return kept(key, lambda: read(text), lambda: read(SETTINGS[key].default))


def kept(key: str, make: Callable[[], T], first: Callable[[], T]) -> T:
    """What `make` gives. If it raises TextError, the reason is shown, and the last value that it gave stays.

    Args:
        key: tells this input from others.
        first: gives a value if there is no last one.
    """
    last = f"_read_{key}"
    try:
        st.session_state[last] = make()
    except TextError as error:
        refused(error)
    return st.session_state[last] if last in st.session_state else first()  # type: ignore[no-any-return]


def refused(error: TextError) -> None:
    """What is wrong with a text, and where."""
    st.error(literal(error), icon=":material/edit:")
    st.code(error.pointer(), language=None)
