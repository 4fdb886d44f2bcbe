"""The server's side of a room: what followers are sent, where they vote, and the lecturer's desk.

A follower's browser runs Streamlit's own client, which finds a server below `lecture/`: this one. It answers with what
the lecturer's page has drawn (`mirror`), and no script runs for it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg

from lib.live import replicas
from lib.live.room import MAX_VOTER, Room, RoomError, default_rooms
from lib.ui import mirror
from lib.ui.relay import pipe, post, until_one_ends

HERE = Path(__file__).parent
PERIOD_S = 0.2
"""At least so much is between two news for one follower."""
LOOK_S = 1.0
"""So often it is looked whether a room has opened, or its lecturer is away."""
TURN = 6
"""Messages that one follower is sent before it is another's turn."""
MAX_SAID = 1 << 16
"""Bytes of what a follower's browser may say at a time; what is longer is not read."""
MAX_BODY = 1024
MAX_COMMAND = 4096
SESSION = "lecture-"
"""What the name of a follower's session begins with; the code is behind it."""
UNKNOWN = 4404
"""Closes the connection of a desk whose secret opens no room."""


def routes() -> list[Any]:
    """What `st.App` has to serve."""
    from starlette.responses import PlainTextResponse, RedirectResponse
    from starlette.routing import Route, WebSocketRoute

    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    base = f"/{base}" if base else ""
    secure = bool(config.get_option("server.sslCertFile"))
    replicas.join("https" if secure else "http", int(config.get_option("server.port")), base)

    async def health(_: Any) -> Any:
        return PlainTextResponse("ok")

    async def host_config(_: Any) -> Any:
        return RedirectResponse(f"{base}/_stcore/host-config")

    return [
        Route(f"{base}/lecture/_stcore/health", health),
        Route(f"{base}/lecture/_stcore/host-config", host_config),
        WebSocketRoute(f"{base}/lecture/_stcore/stream", _follow),
        Route(f"{base}/lecture/vote", _vote, methods=["POST"]),
        WebSocketRoute(f"{base}/teach/{{secret}}", _desk),
    ]


@cache
def script() -> str:
    """The component of a room."""
    return (HERE / "room.js").read_text(encoding="utf-8")


@cache
def rules() -> str:
    """Its style."""
    return (HERE / "room.css").read_text(encoding="utf-8")


# Prepared once for all who are sent the same.


@lru_cache(maxsize=64)
def _around(code: str, page: str, version: int) -> tuple[bytes, bytes]:
    """What begins a page, and what ends it."""
    run = f"{secrets.token_hex(8)}-{version}"
    return mirror.opening(page, run, SESSION + code), mirror.ending(run)


@lru_cache(maxsize=64)
def _overlay(state: str) -> bytes:
    return mirror.overlay(json.loads(state), script(), rules())


def _owner(code: str) -> str | None:
    """The address of another replica that has the room."""
    there = replicas.default_replicas()
    return None if there is None else there.owner(code)


def _nothing() -> None:
    """Ends nothing."""


class _Follower:
    """One browser that follows."""

    def __init__(self, socket: Any, code: str | None) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._code = code
        self._seen = 0
        self._begun = False

    async def listen(self) -> None:
        """Takes what the browser says: which room it asks for; anything else gets the page as it is."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            said = message.get("bytes") or b""
            asked = BackMsg()
            with suppress(Exception):  # a browser may say anything
                asked.ParseFromString(said if len(said) <= MAX_SAID else b"")
            if asked.WhichOneof("type") == "rerun_script":
                code = parse_qs(asked.rerun_script.query_string).get("room", [""])[0]
                self._code = code.strip().upper()[:8]
                self._begun = False
                self._news.set()

    async def show(self) -> None:
        """Sends what is new, again and again."""
        room: Room | None = None
        end: Callable[[], object] = _nothing
        told = full = ""
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), LOOK_S)
                self._news.clear()
                if self._code is None:
                    continue
                elsewhere = _owner(self._code)
                if elsewhere is not None:  # it sends all that a browser is to have, and there is no more to do here
                    end()
                    end, room, self._begun = _nothing, None, False
                    path, own = "lecture/_stcore/stream", f"{SESSION}{self._code}"
                    await pipe(
                        self._socket, f"{elsewhere}/{path}", "streamlit", own, until=partial(self._moved, elsewhere)
                    )
                    self._news.set()
                    await asyncio.sleep(PERIOD_S)
                    continue
                there = default_rooms().get(self._code)
                if there is not room or not self._begun:
                    end()
                    end, full = self._enter(there)
                    room, self._seen = (None if full else there), 0
                told = await self._send_news(room, told, full)
                await asyncio.sleep(PERIOD_S)
        finally:
            end()

    async def _moved(self, owner: str) -> None:
        """Waits until the browser asks for a page, or the lecturer is elsewhere."""
        while not self._news.is_set() and _owner(self._code or "") == owner:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_S)

    def _call(self) -> None:
        if not self._news.is_set():  # else it is about to look
            with suppress(RuntimeError):  # the server ends
                self._loop.call_soon_threadsafe(self._news.set)

    def _enter(self, room: Room | None) -> tuple[Callable[[], object], str]:
        if room is not None:
            try:
                return room.subscribe(self._call), ""
            except RoomError as error:
                return _nothing, str(error)
        return _nothing, ""

    async def _send_news(self, room: Room | None, told: str, full: str) -> str:
        messages: list[bytes] = []
        page, whole = "", not self._begun
        self._begun = True
        if room is None:
            state: dict[str, Any] = {"code": self._code, "gone": True, "words": full}
        else:
            self._seen, page, messages, new = room.news(self._seen)
            whole = whole or new
            state = room.state()
        text = json.dumps({"role": "student", **state})
        opening, ending = _around(self._code or "", page, self._seen)
        if whole:
            await self._send(opening)
            await self._send(mirror.layout())
        if whole or text != told:
            await self._send(_overlay(text))
        for number, message in enumerate(messages):
            await self._send(message)
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)  # the lecturer's own frames come between
        if whole:
            await self._send(ending)
            await asyncio.sleep(0)
        return text

    async def _send(self, message: bytes) -> None:
        await self._socket.send({"type": "websocket.send", "bytes": message})


async def _follow(socket: Any) -> None:
    # Streamlit's client says here which session it had; one that was cut off does not always ask for a page anew.
    protocol, *others = [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept(subprotocol=protocol or None)
    code = next((part.removeprefix(SESSION)[:8] for part in others if part.startswith(SESSION)), None)
    follower = _Follower(socket, code)
    await until_one_ends(follower.listen(), follower.show())


async def _vote(request: Any) -> Any:
    """One vote: JSON with `code`, `voter`, `ballot`, `round`, `choice`."""
    from starlette.responses import JSONResponse, Response

    try:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise ValueError("too long")
        said = json.loads(body)
        code, voter = str(said["code"])[:8], str(said["voter"])[: MAX_VOTER + 1]
        numbers = [int(said[name]) for name in ("ballot", "round", "choice")]
    except (ValueError, KeyError, TypeError, RecursionError):
        return JSONResponse({"error": "This is no vote."}, 400)
    elsewhere, room = _owner(code), default_rooms().get(code)
    try:
        if elsewhere is not None:
            with suppress(OSError):  # it has just gone, and the lecture with it
                status, answer = await post(f"{elsewhere}/lecture/vote", body)
                return Response(answer, status, media_type="application/json")
        if elsewhere is not None or room is None:
            raise RoomError("The lecture is over.")
        room.vote(voter, *numbers)
    except RoomError as error:
        return JSONResponse({"error": str(error)}, 409)
    return JSONResponse({"choice": numbers[2]})


async def _desk(socket: Any) -> None:
    """The lecturer's tab: it is told of votes and followers, and says what to do with the question."""
    room = default_rooms().of(socket.path_params["secret"])
    await socket.accept()
    if room is None:
        await socket.close(UNKNOWN)
        return
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    end = room.subscribe_desk(lambda: loop.call_soon_threadsafe(news.set))

    async def tell() -> None:
        told = ""
        while default_rooms().of(socket.path_params["secret"]) is room:
            text = json.dumps(room.desk())
            if text != told:
                await socket.send_text(text)
                told = text
            await asyncio.sleep(PERIOD_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), PERIOD_S if room.waits else 5 * LOOK_S)
            if room.waits:
                room.look()
            news.clear()
        await socket.close(UNKNOWN)

    async def obey() -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                await _obey(room, json.loads((message.get("text") or "")[:MAX_COMMAND]))
            except RoomError as error:
                await socket.send_text(json.dumps({"error": str(error)}))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                await socket.send_text(json.dumps({"error": "This cannot be done."}))

    try:
        await until_one_ends(tell(), obey())
    finally:
        end()


async def _obey(room: Room, said: dict[str, Any]) -> None:
    match said["do"]:
        case "ask":
            room.ask(str(said["question"]), [str(choice) for choice in list(said["choices"])[:16]])
        case "offer":
            await asyncio.to_thread(room.offer, int(said["number"]))
        case "reveal" | "again" | "run" | "done" as what:
            getattr(room, what)()
