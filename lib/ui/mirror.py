"""What the lecturer's page shows, as the messages of Streamlit's own that draw it in the browsers of those who follow.

A script run of the lecturer draws for all: what it sends to his browser is kept, place by place, and sent on as it is.
Nobody's script runs for a follower. What is the lecturer's alone is left out: the sidebar, the address, his session.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from streamlit.proto.BidiComponent_pb2 import BidiComponent
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import app_session
from streamlit.runtime.scriptrunner import get_script_run_ctx

from lib.live.room import Place, Room

MAIN, EVENT = 0, 2
"""Streamlit's places for a page, and for the rules of its style."""
WIDGETS = {"selectbox", "slider", "number_input", "text_input", "checkbox", "button_group", "radio", "multiselect"}
FIELDS = ("raw_value", "raw_values", "value")
"""The fields of widgets that hold what they show."""
VALUES = {
    "string_value": ("raw_value", "value"),
    "string_array_value": ("raw_value", "raw_values"),
    "double_value": ("value",),
    "double_array_value": ("value",),
    "int_value": ("value",),
    "bool_value": ("value",),
}
"""By the kind of a widget's state, the fields of its element that may take it."""


class Mirror:
    """What one run of the lecturer's script draws.

    Attributes:
        settings: what its widgets say in an address.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._messages: dict[Place, ForwardMsg] = {}
        self._shown = False
        self._private = False
        self._closed: set[Place] = set()
        self.settings: dict[str, list[str]] = {}

    def take(self, message: ForwardMsg) -> None:
        """One message on its way to the lecturer's browser. Any thread of his session."""
        path = tuple(message.metadata.delta_path)
        if self._private or message.WhichOneof("type") != "delta" or path[0] not in (MAIN, EVENT):
            return
        if any(path[:depth] in self._closed for depth in range(1, len(path))):
            return
        if message.delta.WhichOneof("type") == "add_block" and message.delta.add_block.HasField("popover"):
            self._closed.add(path)  # it is closed for those who look on, and what is in it need not be sent
        copy = ForwardMsg()
        copy.CopyFrom(message)
        if path[0] == MAIN:  # its first place is the overlay's
            copy.metadata.delta_path[1] = path[1] + 1
        copy.metadata.cacheable = False
        alone = copy.delta.WhichOneof("type") == "new_element"
        if self._shown:
            self._room.put(path, self._finished(copy, {}), alone)
            return
        if alone:
            for inside in [p for p in self._messages if p[: len(path)] == path and p != path]:
                del self._messages[inside]
        self._messages[path] = copy

    def show(self, page: str, path: str, query: dict[str, list[str]]) -> None:
        """The page stands: what was drawn is shown, and what is drawn from now on at once.

        Args:
            path: of the page in the address.
            query: what is in the address beside what widgets say.
        """
        states = _widget_states()
        messages = {place: self._finished(message, states) for place, message in self._messages.items()}
        settings = urlencode(query | self.settings, doseq=True)
        self._room.show(page, messages, path + (f"?{settings}" if settings else ""))
        self._shown = True

    @contextmanager
    def private(self) -> Iterator[None]:
        """What is drawn inside is the lecturer's alone. It has to be the last of its container."""
        self._private = True
        try:
            yield
        finally:
            self._private = False

    def _finished(self, message: ForwardMsg, states: dict[str, Any]) -> bytes:
        """A message with the values that widgets have in the lecturer's browser, and bound to no address."""
        delta = message.delta
        part: Any = delta.new_element if delta.WhichOneof("type") == "new_element" else delta.add_block
        kind = part.WhichOneof("type")
        if kind is None:
            return message.SerializeToString()
        element = getattr(part, kind)
        if kind in WIDGETS:
            state = None if element.set_value else (states or _widget_states()).get(element.id)
            if state is not None:
                _set(element, state)
                # A browser keeps what it has under the same hash.
                message.hash = hashlib.blake2b(delta.SerializeToString(), digest_size=16).hexdigest()
            if element.set_value and element.query_param_key:
                self.settings[element.query_param_key] = _in_address(element)
        if "query_param_key" in element.DESCRIPTOR.fields_by_name:
            element.ClearField("query_param_key")
        return message.SerializeToString()


def _widget_states() -> dict[str, Any]:
    """What the widgets are set to, by id."""
    context = get_script_run_ctx()
    return {} if context is None else {state.id: state for state in context.session_state.get_widget_states()}


def _set(element: Any, state: Any) -> None:
    kind = state.WhichOneof("value")
    fields = element.DESCRIPTOR.fields_by_name
    field = next((name for name in VALUES.get(kind, ()) if name in fields), None)
    if field is None:
        return
    value = getattr(state, kind)
    value = list(value.data) if kind.endswith("_array_value") else value
    old = getattr(element, field)
    if isinstance(old, (str, int, float)):
        setattr(element, field, value)
    else:  # repeated
        del old[:]
        old.extend(value if isinstance(value, list) else [value])
    element.set_value = True


def _in_address(element: Any) -> list[str]:
    """A widget's value as Streamlit writes it into an address."""
    there = [name for name in FIELDS if name in element.DESCRIPTOR.fields_by_name]
    value = getattr(element, next((name for name in there if getattr(element, name)), there[-1]))
    values = [value] if isinstance(value, (str, int, float)) else list(value)
    return [str(v).lower() if isinstance(v, bool) else f"{v:.12g}" if isinstance(v, float) else str(v) for v in values]


def begin(room: Room) -> Mirror:
    """From here on everything that this run of the script draws is mirrored."""
    mirror = Mirror(room)
    context = get_script_run_ctx()
    assert context is not None
    end()  # one context serves several runs of a script
    plain = context.enqueue

    def enqueue(message: ForwardMsg) -> None:
        plain(message)
        mirror.take(message)

    context.__dict__["enqueue"] = enqueue  # before the method of its class
    return mirror


def end() -> None:
    """Nothing is mirrored any more."""
    context = get_script_run_ctx()
    if context is not None:
        context.__dict__.pop("enqueue", None)


# What a follower's browser is told beside the page.


def opening(page: str, run: str, session: str) -> bytes:
    """The message that begins a page, as Streamlit's server would for a session of its own.

    Args:
        run: tells what is drawn from now on from what was there before.
        session: what the browser says of itself when it connects again.
    """
    message = _of_run(run)
    new = message.new_session
    new.name = new.main_script_path = "lecture"
    new.main_script_hash = "lecture"
    new.page_script_hash = page or "door"
    app_session._populate_config_msg(new.config)
    app_session._populate_theme_msg(new.custom_theme)
    for name, theme in (("light", new.custom_theme.light), ("dark", new.custom_theme.dark)):
        app_session._populate_theme_msg(theme, f"theme.{name}")
    new.initialize.environment_info.streamlit_version = app_session.STREAMLIT_VERSION_STRING
    new.initialize.session_id = session
    for part in (new.initialize.user_info, new.initialize.session_status, new.config):
        part.SetInParent()
    return message.SerializeToString()


def layout() -> bytes:
    """The page is as wide as the lecturer's."""
    from streamlit.proto.PageConfig_pb2 import PageConfig

    message = ForwardMsg()
    message.page_config_changed.layout = PageConfig.Layout.WIDE
    message.page_config_changed.title = "Lecture"
    return message.SerializeToString()


def ending(run: str) -> bytes:
    """The message that ends a page: what was there before the run and is not any more goes."""
    message = _of_run(run)
    message.script_finished = ForwardMsg.FINISHED_SUCCESSFULLY
    return message.SerializeToString()


def overlay(data: dict[str, Any], js: str, css: str) -> bytes:
    """What lies over a follower's page: a component with its data."""
    message = ForwardMsg()
    message.metadata.delta_path.extend((MAIN, 0))
    component: BidiComponent = message.delta.new_element.bidi_component
    component.id = "room"
    component.component_name = "room"
    component.js_content = js
    component.css_content = css
    component.isolate_styles = False
    component.json = json.dumps(data)
    return message.SerializeToString()


def _of_run(run: str) -> ForwardMsg:
    message = ForwardMsg()
    message.metadata.run.script_run_id = run
    return message
