"""The way of live frames to the browser: a websocket beside Streamlit's own, and the component at its end.

A frame that goes this way costs a tenth of a rerun, and touches no element that Streamlit keeps. Where the app is not
served with these routes, or no frame comes through, pages draw their runs themselves (`live_view`).
"""

from __future__ import annotations

import asyncio
import functools
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit import config

from lib.live.feed import Feed, Frame, default_feeds
from lib.ui import frames
from lib.ui.relay import live, until_one_ends

HERE = Path(__file__).parent
MAX_ASKED = 64
"""Characters of what a browser may say at a time: the key of a specification."""
UNKNOWN = 4404
"""Closes a connection whose token is nobody's."""

_routes: list[Any] = []


def routes() -> list[Any]:
    """What `st.App` has to serve beside Streamlit's own."""
    from starlette.routing import WebSocketRoute

    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    _routes[:] = [WebSocketRoute(f"/{base}/live/{{token}}".replace("//", "/"), _serve)]
    return list(_routes)


@functools.cache
def vega() -> str | None:
    """The script of Streamlit's own that loads Vega; None if this version of Streamlit has none."""
    folder = Path(st.__file__).parent / "static" / "static" / "js"
    return next((file.name for file in folder.glob("loadVegaEmbed.*.js")), None)


def serves() -> bool:
    """Whether frames can be pushed to this visitor."""
    return bool(_routes) and vega() is not None and not st.session_state.get("_push_failed", False)


class _Lookers:
    """All browsers that look at one feed: one call brings a frame from the thread that has prepared it to all of them."""

    def __init__(self, feed: Feed) -> None:
        self.takes: set[Callable[[Frame], None]] = set()
        self.newest: Frame | None = None
        self._loop = asyncio.get_running_loop()
        self.end = feed.subscribe(self._deliver)

    def _deliver(self, frame: Frame) -> None:
        with suppress(RuntimeError):  # the server ends
            self._loop.call_soon_threadsafe(self._take, frame)

    def _take(self, frame: Frame) -> None:
        self.newest = frame
        for take in self.takes:
            take(frame)


_lookers: dict[str, _Lookers] = {}


async def _serve(socket: Any) -> None:
    """One browser that looks at one run: sends it the newest frame, and specifications that it asks for."""
    feed = default_feeds().get(socket.path_params["token"])
    await socket.accept()
    if feed is None:
        if not await live(socket, socket.path_params["token"]):
            await socket.close(UNKNOWN)
        return
    newest: list[Frame] = []
    there = asyncio.Event()

    def take(frame: Frame) -> None:
        newest[:] = [frame]  # a browser that is slow misses frames, and is not behind
        there.set()

    async def send() -> None:
        while True:
            await there.wait()
            there.clear()
            await socket.send_bytes(struct.pack("<d", newest[0].changed_at) + newest[0].body)

    async def answer() -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            spec = frames.spec_of((message.get("text") or "")[:MAX_ASKED])
            if spec is not None:
                await socket.send_text(spec)

    token = feed.token
    lookers = _lookers.get(token) or _lookers.setdefault(token, _Lookers(feed))
    if lookers.newest is not None:
        take(lookers.newest)
    lookers.takes.add(take)
    del feed
    try:
        await until_one_ends(send(), answer())
    finally:
        lookers.takes.discard(take)
        if not lookers.takes:
            lookers.end()
            del _lookers[token]


@st.cache_resource
def _component() -> Any:
    return st.components.v2.component(
        "live_run", js=(HERE / "live.js").read_text(encoding="utf-8"), isolate_styles=False
    )


def _failed() -> None:
    st.session_state["_push_failed"] = True


def show(feed: Feed, key: str, settings: str, *, fills: bool = False, presenting: bool = False) -> None:
    """Shows what is pushed of a feed.

    Args:
        settings: in words, for pictures that are saved.
        fills: whether its charts take what is left of the first screen; else each has the height of its specification.
        presenting: whether type is as large as a lecture hall needs it.
    """
    data = {"token": feed.token, "vega": vega(), "fills": fills, "presenting": presenting, "settings": settings}
    _component()(key=key, data=data, on_failed_change=_failed)
