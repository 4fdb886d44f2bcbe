"""Teaching and following in a visitor's own session: the button that opens a room, and the way back to a lecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import jax
import segno
import streamlit as st

from lib.live.ballots import offer_of
from lib.live.room import Room, RoomError, code_of, default_rooms
from lib.measure.questions import Question
from lib.ui import mirror, push, room_routes
from lib.ui.settings import visitor

HIDDEN = ("teach", "left", "room", "present", "embed", "embed_options")
"""What of the lecturer's address is not a setting of his page."""


def _secret() -> str:
    """The secret of the room that this visitor teaches in; empty if he does not."""
    return str(st.session_state.get("_room", ""))


def taught() -> Room | None:
    """The room that this visitor teaches in."""
    secret = _secret()
    return default_rooms().of(secret) if secret else None


def begin() -> mirror.Mirror | None:
    """Begins a run of the script: from here on it is mirrored to the room, if this visitor teaches."""
    for name, key in (("teach", "_room"), ("left", "_left")):
        # In the address as well, so that it is there after a reload; a link to another page drops it.
        if name in st.query_params:
            st.session_state[key] = st.query_params[name][:64]
        elif st.session_state.get(key):
            st.query_params[name] = st.session_state[key]
    room = taught()
    if room is None:
        mirror.end()
        return None
    room.touch()
    room.offers = ()
    return mirror.begin(room)


def finish(reflection: mirror.Mirror | None, path: str) -> None:
    """Ends a run of the script: what it has drawn is shown in the room. The last that is drawn on a page."""
    code = st.query_params.get("room", "").strip().upper()[:8]
    if reflection is not None:
        query = {name: st.query_params.get_all(name) for name in st.query_params if name not in HIDDEN}
        reflection.show(path or "home", path, query)
        with reflection.private():
            _desk(path)
    elif _secret():
        _desk(path)
    elif code:
        _component()(key="room_door", data={"role": "door", "code": code})
    elif st.session_state.get("_left"):
        left = st.session_state["_left"].upper()
        _component()(key="room_left", data={"role": "left", "code": left[:8]}, on_stayed_change=_stay)


def offer(questions: Sequence[Question], settings: Mapping[str, Any], device: jax.Device) -> None:
    """The questions of the page, with its settings, for the lecturer to put to the room."""
    room = taught()
    if room is not None:
        room.offers = [offer_of(question, settings, device, visitor()) for question in questions]


def kept() -> dict[str, Any] | None:
    """What of this visitor's outlives his session, because a room sees it; None if he does not teach."""
    room = taught()
    return None if room is None else room.kept


def teach_button() -> None:
    """The button that opens a room."""
    if not push.serves():
        st.button("Teach", icon=":material/cast_for_education:", disabled=True, help=(
            "A room needs a server that pushes to browsers: start this app by `streamlit run dashboard.py`."
        ))  # fmt: skip
    elif not _secret():
        st.button(
            "Teach", key="teach", icon=":material/cast_for_education:", on_click=_open,
            help="Opens a room: students follow this page on their own screens, and vote.",
        )  # fmt: skip
        if refused := st.session_state.pop("_refused", ""):
            st.caption(refused)


def _open() -> None:
    try:
        st.session_state["_room"] = default_rooms().open(_secret() or None)
    except RoomError as error:
        _leave()
        st.session_state["_refused"] = str(error)


def _leave() -> None:
    default_rooms().close(_secret())
    st.session_state["_room"] = ""
    st.query_params.pop("teach", None)


def _stay() -> None:
    st.session_state["_left"] = ""
    st.query_params.pop("left", None)


@st.cache_resource
def _component() -> Any:
    return st.components.v2.component("room", js=room_routes.script(), css=room_routes.rules(), isolate_styles=False)


def _desk(path: str) -> None:
    """The lecturer's bar, and what it opens."""
    secret, room = _secret(), taught()
    try:
        code = code_of(secret)
    except RoomError as error:
        _leave()
        st.warning(str(error))
        return
    here = str(st.context.url or "").rstrip("/").removesuffix(path).rstrip("/")
    link = f"{here}/lecture?room={quote(code)}"
    data = {
        "role": "desk", "secret": secret, "code": code, "gone": room is None, "link": link,
        "qr": segno.make(link, error="m").svg_inline(border=2, omitsize=True, dark="#000", light="#fff"),
    }  # fmt: skip
    _component()(key="room_desk", data=data, on_opened_change=_open, on_ended_change=_leave)
