"""From the start of the server's process until the first page stands in a browser."""

from __future__ import annotations

import time

from report import Figure, at_most

from tests.harness import SCREEN, chromium, open_page, serve

ROUNDS = 4


def run() -> list[Figure]:
    answers_s, stands_s = [], []
    with chromium() as browser:
        warm_up = browser.new_page()  # what the browser does once, it does now
        warm_up.goto("about:blank")
        for _ in range(ROUNDS):
            with serve() as server:
                answers_s.append(time.monotonic() - server.begun)
                page = open_page(browser.new_page(viewport=SCREEN), server.url)
                stands_s.append(time.monotonic() - server.begun)
                page.close()
    return [
        Figure("server answers, best", f"{min(answers_s):.1f} s"),
        at_most("first page stands, best", min(stands_s), 5, "s"),
        Figure("first page stands, each", ", ".join(f"{s:.1f} s" for s in stands_s)),
    ]
