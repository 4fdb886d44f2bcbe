"""A browser tab without the browser: speaks Streamlit's websocket protocol and draws nothing.

A hundred real tabs need more processor than the server they would measure. This one behaves as Streamlit's
frontend does where the server can tell: it asks for the page, keeps widgets' state, presses buttons, and sends a
rerun of each fragment at the interval that the server has asked for, whether or not the last one has been answered.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
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
        answers_s: for each rerun of a fragment that a timer asked for: seconds until the server had finished it.
        unanswered: how many of those were dropped or are under way.
        exceptions: the exceptions that the page showed.
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
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._sent: dict[str, list[float]] = {}
        self._running: dict[str, list[float]] = {}
        self._states: dict[str, WidgetState] = {}
        self._full_runs = 0
        self._changed = asyncio.Event()
        self.answers_s: list[float] = []
        self.exceptions: list[str] = []
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
        self.stop_timers()
        assert self._socket is not None and self._reader is not None
        await self._socket.close()
        await asyncio.wait([self._reader], timeout=5)

    @property
    def alive(self) -> bool:
        """Whether the connection stands."""
        return self._reader is not None and not self._reader.done()

    @property
    def ticking(self) -> bool:
        """Whether the server wants a fragment of the page rerun from time to time."""
        return bool(self._timers)

    @property
    def unanswered(self) -> int:
        return sum(map(len, (*self._sent.values(), *self._running.values())))

    @property
    def oldest_unanswered_s(self) -> float:
        """For how long the oldest rerun has been waiting for its answer."""
        waiting = [at for times in (*self._sent.values(), *self._running.values()) for at in times]
        return time.perf_counter() - min(waiting) if waiting else 0.0

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

    def stop_timers(self) -> None:
        """Sends no more reruns of fragments."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def _until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                if not self.alive:
                    raise ConnectionError("the server has closed the connection")
                self._changed.clear()
                await self._changed.wait()

    async def _rerun(self, fragment: str = "", pressed: WidgetState | None = None) -> None:
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string = self._query
        asked.page_script_hash = self._page_hash
        asked.page_name = "" if self._page_hash else self._page
        asked.fragment_id = fragment
        asked.is_auto_rerun = bool(fragment)
        asked.context_info.timezone = "UTC"
        asked.context_info.locale = "en"
        asked.context_info.url = self._address
        asked.widget_states.widgets.extend(self._states.values())
        if pressed is not None:
            asked.widget_states.widgets.append(pressed)
        assert self._socket is not None
        await self._socket.send(message.SerializeToString())

    async def _tick(self, fragment: str, interval_s: float) -> None:
        due = time.perf_counter()
        while True:
            due = max(due + interval_s, time.perf_counter() - interval_s)
            await asyncio.sleep(due - time.perf_counter())
            self._sent.setdefault(fragment, []).append(time.perf_counter())
            await self._rerun(fragment)

    async def _read(self) -> None:
        assert self._socket is not None
        try:
            async for data in self._socket:
                self._take(ForwardMsg.FromString(data))  # type: ignore[arg-type]
                self._changed.set()
        except websockets.ConnectionClosed:
            pass
        finally:
            self.stop_timers()
            self._changed.set()

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "delta":
            self._take_delta(message.delta)
        elif kind == "new_session":
            fragments = message.metadata.run.fragment_ids
            for fragment in fragments:
                # The server merges requests that wait: this run answers all that were sent before it began.
                self._running.setdefault(fragment, []).extend(self._sent.pop(fragment, []))
            if not fragments:
                self.stop_timers()
                self._sent.clear()
                self._running.clear()
                self.labels = []
        elif kind == "navigation":
            self._page_hash = message.navigation.page_script_hash
        elif kind == "auto_rerun":
            fragment, interval_s = message.auto_rerun.fragment_id, message.auto_rerun.interval
            if fragment not in self._timers:
                self._timers[fragment] = asyncio.create_task(self._tick(fragment, interval_s))
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                if fragment in self._timers:
                    self._timers.pop(fragment).cancel()
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "script_finished":
            self._take_finished(message)

    def _take_finished(self, message: ForwardMsg) -> None:
        now = time.perf_counter()
        if message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
            self._full_runs += 1
        elif message.script_finished == ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY:
            for times in self._running.values():
                self.answers_s.extend(now - at for at in times)
            self._running.clear()

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
            self.stats = {unescape(name): unescape(value) for name, value in _STAT.findall(element.html.body)}
        elif kind == "button":
            self.widgets[element.button.label] = element.button.id
        elif kind == "exception":
            self.exceptions.append(f"{element.exception.type}: {element.exception.message}")
