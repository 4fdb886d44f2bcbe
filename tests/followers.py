"""A lecturer and his followers without browsers, as the server knows them: for the tests and the benchmark."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import websockets
from google.protobuf.message import Message
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from tests.benchmarks.websocket_tab import Tab


async def connect(url: str, path: str, **options: Any) -> websockets.ClientConnection:
    return await websockets.connect(
        f"{url.replace('http', 'ws', 1)}/{path}", compression=None, max_size=None, ping_interval=None, open_timeout=60,
        **options,
    )  # fmt: skip


def voted(url: str, body: str | bytes) -> int:
    """What the server answers to a vote: 200 if it is taken."""
    request = urllib.request.Request(f"{url}/lecture/vote", body.encode() if isinstance(body, str) else body)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


class Lecturer(Tab):
    """A tab that opens a room.

    Attributes:
        secret, code: of the room.
        desk: what the lecturer is told of votes and followers.
    """

    def __init__(self, url: str, page: str = "", query: str = "", teaches: bool = True) -> None:
        super().__init__(url, page, query)
        self._url, self._teaches = url, teaches
        self._pages: dict[str, str] = {}
        self._titles: dict[str, str] = {}
        self._desk: websockets.ClientConnection | None = None
        self._desk_reader: asyncio.Task[None] | None = None
        self.secret = self.code = ""
        self.desk: dict[str, Any] = {}

    async def __aenter__(self) -> Lecturer:
        await super().__aenter__()
        if self._teaches:
            await self.press("Teach")
            self._desk = await connect(self._url, f"teach/{self.secret}")
            self._desk_reader = asyncio.create_task(self._read_desk())
        return self

    async def close(self) -> None:
        if self._desk is not None and self._desk_reader is not None:
            await self._desk.close()
            await self._desk_reader
        await super().close()

    async def choose(self, label: str, value: str) -> None:
        """Chooses an option of a select box."""
        self._states[label] = WidgetState(id=self.widgets[label], string_value=value)
        await self._run()

    async def go(self, page: str) -> None:
        """To another lesson."""
        self._page_hash = self._pages[page]
        await self._run()

    def title(self, page: str) -> str:
        """What the navigation calls a lesson."""
        return self._titles[page]

    async def say(self, **command: Any) -> None:
        """What the buttons of the question say."""
        assert self._desk is not None
        await self._desk.send(json.dumps(command))

    async def _run(self) -> None:
        before = self._full_runs
        await self._rerun()
        await self._until(lambda: self._full_runs > before)

    async def _read_desk(self) -> None:
        assert self._desk is not None
        with suppress(websockets.ConnectionClosed):
            async for said in self._desk:
                self.desk |= json.loads(said)
                self._changed.set()

    def _take(self, message: ForwardMsg) -> None:
        if message.WhichOneof("type") == "navigation":
            self._pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
            self._titles = {page.url_pathname: page.page_name for page in message.navigation.app_pages}
        super()._take(message)

    def _take_delta(self, delta: Message) -> None:
        element = delta.new_element if delta.WhichOneof("type") == "new_element" else None  # type: ignore[attr-defined]
        if element is not None and element.WhichOneof("type") == "selectbox":
            self.widgets[element.selectbox.label] = element.selectbox.id
        if element is not None and element.WhichOneof("type") == "bidi_component":
            data = json.loads(element.bidi_component.json)
            if data.get("role") == "desk":
                self.secret, self.code = data["secret"], data["code"]
                return
        super()._take_delta(delta)


class Follower:
    """A browser that follows: the page by one connection, the frames of the lecturer's run by another.

    Args:
        session: that it had before it was cut off; then it asks for nothing.
        reads: whether it takes messages apart as a browser does; else it only waits for `watched`.

    Attributes:
        session: what the server calls it.
        received: the messages, as they came.
        heading: of the page.
        values: what select boxes show, by label.
        state: what is told beside the page.
        ages_s: of each frame with a new step in it: seconds from that step until the frame was here.
        watched: bytes to wait for.
        seen_at: when a message had them in it.
        complete_at: when the last page was complete.
    """

    def __init__(self, url: str, code: str, reads: bool = True, session: str = "") -> None:
        self._url, self._code, self._reads = url, code, reads
        self.session = session
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._widgets: list[str] = []
        self._token = ""
        self.received: list[bytes] = []
        self.heading = ""
        self.values: dict[str, str] = {}
        self.state: dict[str, Any] = {}
        self.frames = self.steps = 0
        self.ages_s: list[float] = []
        self.watched = b""
        self.seen_at = self.complete_at = 0.0

    async def __aenter__(self) -> Follower:
        protocols = ["streamlit", "-", self.session] if self.session else ["streamlit"]
        self._socket = await connect(
            self._url, "lecture/_stcore/stream", subprotocols=[websockets.Subprotocol(name) for name in protocols]
        )
        if not self.session:
            await self._ask()
        self._tasks.append(asyncio.create_task(self._read()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()

    async def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
        """Waits for a condition on what has come."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def watch(self, content: bytes) -> None:
        """Waits from now on for a message with these bytes in it."""
        self.watched, self.seen_at = content, 0.0

    async def press_everything(self) -> None:
        """Says of each button that it was pressed, and asks for another page."""
        await self._ask(*(WidgetState(id=widget, trigger_value=True) for widget in self._widgets), page="training")

    async def _ask(self, *states: WidgetState, page: str = "") -> None:
        message = BackMsg()
        message.rerun_script.query_string = f"room={self._code}"
        message.rerun_script.page_name = page
        message.rerun_script.widget_states.widgets.extend(states)
        await self._socket.send(message.SerializeToString())

    async def _read(self) -> None:
        async for data in self._socket:
            assert isinstance(data, bytes)
            news = self._reads
            if self.watched and not self.seen_at and self.watched in data:
                self.seen_at, news = time.time(), True
            if len(data) < 60 and ForwardMsg.FromString(data).WhichOneof("type") == "script_finished":
                self.complete_at, news = time.time(), True
            if self._reads:
                self.received.append(data)
            if self._reads or b'"token"' in data:
                self._take(ForwardMsg.FromString(data))
            if news:
                self._changed.set()

    def _take(self, message: ForwardMsg) -> None:
        if message.WhichOneof("type") == "new_session":
            self.session = message.new_session.initialize.session_id
        if message.WhichOneof("type") != "delta" or message.delta.WhichOneof("type") != "new_element":
            return
        element = message.delta.new_element
        match element.WhichOneof("type"):
            case "heading":
                self.heading = element.heading.body.lstrip("# ")
            case "selectbox":
                box = element.selectbox
                self.values[box.label] = box.raw_value if box.set_value else box.options[box.default]
            case "button":
                self._widgets.append(element.button.id)
            case "bidi_component":
                data = json.loads(element.bidi_component.json)
                if data.get("role") == "student":
                    self.state = data
                elif data["token"] != self._token:
                    self._token = data["token"]
                    if len(self._tasks) > 1:
                        self._tasks.pop().cancel()
                    self._tasks.append(asyncio.create_task(self._look(self._token)))

    async def _look(self, token: str) -> None:
        async with await connect(self._url, f"live/{token}") as socket:
            newest = 0.0
            async for data in socket:
                assert isinstance(data, bytes)
                self.frames += 1
                (changed_at,) = struct.unpack_from("<d", data)
                if changed_at > newest:
                    self.steps += newest > 0
                    self.ages_s.append(time.time() - changed_at)
                    newest = changed_at
                self._changed.set()
