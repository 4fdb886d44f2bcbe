"""From the start of the server's process until the first page stands in a browser."""

from __future__ import annotations

import time

from app_server import AppServer
from chromium import browser, open_page
from report import Figure, at_most

ROUNDS = 4


def run() -> list[Figure]:
    answers_s, stands_s = [], []
    with browser() as chromium:
        open_page_of = chromium.new_page()  # what the browser does once, it does now
        open_page_of.goto("about:blank")
        for _ in range(ROUNDS):
            with AppServer() as server:
                server.wait()
                answers_s.append(time.monotonic() - server.begun)
                page = open_page(chromium, server.url)
                stands_s.append(time.monotonic() - server.begun)
                page.close()
    return [
        Figure("server answers, best", f"{min(answers_s):.1f} s"),
        at_most("first page stands, best", min(stands_s), 5, "s"),
        Figure("first page stands, each", ", ".join(f"{s:.1f} s" for s in stands_s)),
    ]
