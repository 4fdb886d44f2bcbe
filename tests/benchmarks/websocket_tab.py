"""A browser tab without the browser: speaks Streamlit's websocket protocol and draws nothing.

A hundred real tabs need more processor than the server they would measure. This one behaves as Streamlit's
frontend does where the server can tell: it asks for the page, keeps widgets' state, presses buttons, and takes the
frames of its live run.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from html import unescape

import websockets
from google.protobuf.message import Message
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

_STAT = re.compile(r'<div class="name">(.*?)</div><div class="value">(.*?)</div>')


class Tab:
    """One visitor's tab on one page. Use it as an asynchronous context manager.

    Args:
        url: of the server, such as `http://127.0.0.1:8501`.
        page: its path, empty for the first page.
        query: what follows the question mark in the address.

    Attributes:
        ages_s: for each frame with a new step in it: seconds from that step until the frame was here.
        changed_at: when the newest step that the tab shows was computed, in seconds since the epoch.
        exceptions: the exceptions that the page showed.
        frame: what the newest frame of the live run says, as JSON.
        stats: the live run's row of numbers, by name, as the page says them.
        widgets: the id of each widget that the page showed, by its label.
        labels: the labels of expanders that the page showed last.
    """

    def __init__(self, url: str, page: str = "", query: str = "") -> None:
        self._address = url.replace("http", "ws", 1) + "/_stcore/stream"
        self._page, self._query = page, query
        self._page_hash = ""
        self._socket: websockets.ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._live: asyncio.Task[None] | None = None
        self._token = ""
        self._states: dict[str, WidgetState] = {}
        self._full_runs = 0
        self._complete = False
        self._changed = asyncio.Event()
        self.ages_s: list[float] = []
        self.changed_at = 0.0
        self.exceptions: list[str] = []
        self.frame = ""
        self.stats: dict[str, str] = {}
        self.widgets: dict[str, str] = {}
        self.labels: list[str] = []
        self.open_s = 0.0

    async def __aenter__(self) -> Tab:
        begun = time.perf_counter()
        self._socket = await websockets.connect(
            self._address, subprotocols=[websockets.Subprotocol("streamlit")], compression=None, max_size=None,
            ping_interval=None, open_timeout=60,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        await self._rerun()
        await self._until(lambda: self._full_runs > 0)
        self.open_s = time.perf_counter() - begun
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the tab, as a visitor who leaves."""
        assert self._socket is not None and self._reader is not None
        if self._live is not None:
            self._live.cancel()
        await self._socket.close()
        await asyncio.wait([self._reader], timeout=5)

    @property
    def alive(self) -> bool:
        """Whether the connection stands."""
        return self._reader is not None and not self._reader.done()

    @property
    def complete(self) -> bool:
        """Whether the script has come to the end of the page."""
        return self._complete

    @property
    def step(self) -> int:
        """The live run's step, as the page says it."""
        return int(self.stats.get("Step", "0").replace(",", ""))

    async def press(self, label: str, timeout_s: float = 60.0) -> None:
        """Presses a button and waits until the page stands again."""
        before = self._full_runs
        await self._rerun(pressed=WidgetState(id=self.widgets[label], trigger_value=True))
        await self._until(lambda: self._full_runs > before, timeout_s)

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Waits for a condition on what the page says."""
        await self._until(condition, timeout_s)

    async def _until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                if not self.alive:
                    raise ConnectionError("the server has closed the connection")
                self._changed.clear()
                await self._changed.wait()

    async def _rerun(self, pressed: WidgetState | None = None) -> None:
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string = self._query
        asked.page_script_hash = self._page_hash
        asked.page_name = "" if self._page_hash else self._page
        asked.context_info.timezone = "UTC"
        asked.context_info.locale = "en"
        asked.context_info.url = self._address
        asked.widget_states.widgets.extend(self._states.values())
        if pressed is not None:
            asked.widget_states.widgets.append(pressed)
        assert self._socket is not None
        await self._socket.send(message.SerializeToString())

    async def _look(self, token: str) -> None:
        """Takes the frames of a live run, as `live.js` does."""
        address = self._address.replace("_stcore/stream", f"live/{token}")
        async with websockets.connect(address, compression=None, max_size=None, ping_interval=None) as socket:
            with suppress(websockets.ConnectionClosed):
                async for data in socket:
                    now, step = time.time(), self.step
                    assert isinstance(data, bytes)
                    (changed_at,) = struct.unpack_from("<d", data)
                    self.changed_at = changed_at
                    length = int.from_bytes(data[8:12], "little")
                    self.frame = data[12 : 12 + length].decode()
                    self._take_stats(json.loads(self.frame)["stats"])
                    if self.step != step:
                        self.ages_s.append(now - changed_at)
                    self._changed.set()

    def _take_stats(self, html: str) -> None:
        self.stats = {unescape(name): unescape(value) for name, value in _STAT.findall(html)}

    async def _read(self) -> None:
        assert self._socket is not None
        try:
            async for data in self._socket:
                self._take(ForwardMsg.FromString(data))  # type: ignore[arg-type]
                self._changed.set()
        except websockets.ConnectionClosed:
            pass
        finally:
            self._changed.set()

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "delta":
            self._take_delta(message.delta)
        elif kind == "new_session":
            self.labels = []
            self._complete = False
        elif kind == "navigation":
            self._page_hash = message.navigation.page_script_hash
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
            self._full_runs += 1
            self._complete = True

    def _take_delta(self, delta: Message) -> None:
        if delta.WhichOneof("type") == "add_block":
            if delta.add_block.HasField("expandable"):
                self.labels.append(delta.add_block.expandable.label)
            return
        if delta.WhichOneof("type") != "new_element":
            return
        element = delta.new_element
        kind = element.WhichOneof("type")
        if kind == "html" and 'class="stats"' in element.html.body:
            self._take_stats(element.html.body)
        elif (
            kind == "bidi_component"
            and (token := json.loads(element.bidi_component.json).get("token", "")) != self._token
        ):
            self._token = token
            if self._live is not None:
                self._live.cancel()
            self._live = asyncio.create_task(self._look(token))
        elif kind == "button":
            self.widgets[element.button.label] = element.button.id
        elif kind == "exception":
            self.exceptions.append(f"{element.exception.type}: {element.exception.message}")
