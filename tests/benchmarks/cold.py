"""The first visit to each page, each of a server of its own that nobody has asked anything: until its view is complete."""

from __future__ import annotations

import time

from app_server import AppServer
from chromium import STANDS, browser
from report import Figure, at_most
from visits import page_paths

LIMIT_S = 5

# The script is at rest, and nothing on the page is still being computed.
COMPLETE = """(stands) => document.querySelector(stands) && document.querySelector("h1")
    && !/computing …|compiling …/.test(document.querySelector("[data-testid=stMain]").innerText)"""


def run() -> list[Figure]:
    took = {}
    with browser() as chromium:
        for path in page_paths():
            with AppServer() as server:
                url = server.wait().url
                page = chromium.new_page(viewport={"width": 1600, "height": 1000})
                begun = time.monotonic()
                page.goto(f"{url}/{path}")
                page.wait_for_function(COMPLETE, arg=STANDS, timeout=60_000)
                took[f"/{path}"] = time.monotonic() - begun
                page.close()
    slowest = max(took, key=took.__getitem__)
    return [
        at_most(f"first view of the slowest page, {slowest}", took[slowest], LIMIT_S, "s"),
        Figure("each", ", ".join(f"{path} {seconds:.1f} s" for path, seconds in took.items())),
    ]
