"""The one way to wait: the script goes on to the end of the page, and then fills the places that are still empty.

No fragment and no timer of the browser's is involved. A rerun that overlaps with another run can leave a page without
elements, or white (tests/test_streamlit_defect.py); a script that waits is simply ended by the next press.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

import streamlit as st

from lib.live.engine import Unwanted, Wish

WAIT_S = 0.12
"""So long a script waits for an answer before it shows that it is being worked on."""
TICK_S = 0.05
SPOKEN_S = 0.5
"""At least so often the script calls Streamlit, which ends it there if the visitor has pressed something."""
SPARE = 3
"""So many elements a state may have less than the one before."""
ENDLESS_S = float("inf")
"""So long a script goes on for what may take for ever."""


class Look(NamedTuple):
    """What there is at one moment.

    Attributes:
        state: drawn anew when it is another one than before.
        done: whether it stays so.
    """

    state: Any
    done: bool


class _Place:
    """A place on the page whose content is on its way."""

    def __init__(self, look: Callable[[], Look], draw: Callable[[Any], None], endless: bool) -> None:
        self._look, self._draw, self.endless = look, draw, endless
        self._place = st.container()
        # What is drawn late is drawn as here: a widget's identity has the page in it, which may be over by then.
        self._context = copy_context()
        self._state: Any = self  # nothing is drawn yet
        self._hole: Any = None
        self._spoken = time.monotonic()

    def visit(self) -> bool:
        """Draws what is new; whether there will be more."""
        state, done = self._look()
        now = time.monotonic()
        if state != self._state or now > self._spoken + SPOKEN_S:
            self._state, self._spoken = state, now
            if done and self._hole is None:
                target = self._place
            else:
                self._hole = self._hole or self._place.empty()
                target = self._hole.container()
            self._context.run(self._draw_in, target, state)
        return not done

    def _draw_in(self, target: Any, state: Any) -> None:
        with target:
            self._draw(state)
            # What was drawn there before in this run, and was longer, would stay below.
            for _ in range(SPARE if self._hole is not None else 0):
                st.empty()


_places: ContextVar[list[_Place]] = ContextVar("places")


def begin() -> None:
    """Begins a run of the script."""
    _places.set([])
    st.session_state["_wish"] = Wish()


def wish() -> Wish | None:
    """What this run of the script asks with for what it shows: what it does not ask for again need not be computed."""
    return st.session_state.get("_wish")


def watch(look: Callable[[], Look], draw: Callable[[Any], None], endless: bool = False) -> None:
    """Draws here what `look` gives, and again whenever it gives another state, until it is done.

    Args:
        look: returns at once.
        draw: draws one state.
        endless: whether it may take long or for ever, as a run that goes on.
    """
    place = _Place(look, draw, endless)
    if place.visit():
        _places.get().append(place)


def finish() -> None:
    """Waits until everything on the page is there. Called once, when the rest of the page stands."""
    places = _places.get()
    begun = time.monotonic()
    while not all(place.endless for place in places) or (places and time.monotonic() < begun + ENDLESS_S):
        visited = places[:]
        places.clear()  # what is drawn may have places of its own
        places += [place for place in visited if place.visit()]
        if places:
            time.sleep(TICK_S)


def answer(future: Future, draw: Callable[[Any], None], doing: str = "computing") -> None:
    """Draws a future's result when it is there; raises what it raises."""
    with suppress(TimeoutError):
        future.exception(timeout=WAIT_S)
    begun = time.monotonic()

    def look() -> Look:
        return Look(True, True) if future.done() else Look(f"{time.monotonic() - begun:.1f}", False)

    def show(state: Any) -> None:
        if state is True and isinstance(future.exception(), Unwanted):  # the next run of the script has begun
            st.rerun()
        elif state is True:
            draw(future.result())
        else:
            st.caption(f"{doing} … {state} s")

    watch(look, show)


def result(future: Future, doing: str = "computing") -> Any:
    """A future's result, for what decides how the page goes on; the script waits here."""
    with suppress(TimeoutError):
        future.exception(timeout=WAIT_S)
    place, hole, begun = st.container(), None, time.monotonic()
    while not future.done():
        hole = hole or place.empty()
        hole.caption(f"{doing} … {time.monotonic() - begun:.1f} s")
        with suppress(TimeoutError):
            future.exception(timeout=0.2)
    if hole is not None:
        hole.empty()
    return future.result()
