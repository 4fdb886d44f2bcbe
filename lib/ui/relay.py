"""What goes from a browser at this replica of the app to another, and back."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import websockets

from lib.live.replicas import default_replicas

OPEN_S = 5.0
"""A replica that does not answer in so many seconds has gone."""


async def until_one_ends(*parts: Any) -> None:
    """Runs coroutines until the first has ended, for whatever reason; the others end with it."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task


async def pipe(socket: Any, url: str, *subprotocols: Any, until: Callable[[], Any] | None = None) -> bool:
    """Passes on what another replica says to a browser, until one of them ends.

    Args:
        url: of the other replica's websocket, `http:` in front.
        until: waits for what ends it as well. Without it the other way is passed on too.

    Returns:
        Whether there was anything.
    """
    said = False

    async def back(there: Any) -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await there.send(message.get("text") or message.get("bytes") or b"")

    async def forth(there: Any) -> None:
        nonlocal said
        async for message in there:
            said = True
            await (socket.send_text if isinstance(message, str) else socket.send_bytes)(message)

    with suppress(OSError, TimeoutError, websockets.WebSocketException):
        async with websockets.connect(
            url.replace("http", "ws", 1), subprotocols=subprotocols or None, compression=None, max_size=None,
            open_timeout=OPEN_S, proxy=None,
        ) as there:  # fmt: skip
            await until_one_ends(back(there) if until is None else until(), forth(there))
    return said


async def live(socket: Any, token: str) -> bool:
    """Looks for a run among the replicas that teach. Whether one had it; then it has ended."""
    replicas = default_replicas()
    for address in replicas.teaching() if replicas else ():
        if await pipe(socket, f"{address}/live/{token}"):
            return True
    return False


async def post(url: str, body: bytes) -> tuple[int, bytes]:
    """The status and the body of another replica's answer.

    Raises:
        OSError: it does not answer.
    """

    def ask() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=OPEN_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return await asyncio.to_thread(ask)
