"""The first visit to each page, each of a server of its own that nobody has asked anything: until its view is complete."""

from __future__ import annotations

import time

from playwright.sync_api import Page
from report import Figure, at_most

from tests.harness import PAGES, STANDS, chromium, serve

LIMIT_S = 3

QUIET_S = 1.0

# The whole text of a page whose foot stands and of which nothing is still being computed; empty before.
TEXT = """(stands) => {
    const text = (document.querySelector("[data-testid=stMain]") || {innerText: ""}).innerText;
    return document.querySelector(stands) && /Compile log/.test(text) && !/computing( …|:)|compiling …/.test(text) ? text : "";
}"""


def complete_after(page: Page, address: str, limit_s: float = 60.0) -> float:
    """Opens a page. Seconds until its last change."""
    begun = changed = time.monotonic()
    page.goto(address, wait_until="commit")
    text = ""
    while not text or time.monotonic() - changed < QUIET_S:
        now = page.evaluate(TEXT, STANDS)
        if now != text:
            text, changed = now, time.monotonic()
        if time.monotonic() - begun > limit_s:
            raise TimeoutError(f"{page.url} is not complete after {limit_s} s")
        time.sleep(0.05)
    return changed - begun


def run() -> list[Figure]:
    took = {}
    with chromium() as browser:
        for path in PAGES:
            with serve() as server:
                page = browser.new_page(viewport={"width": 1600, "height": 1000})
                took[f"/{path}"] = complete_after(page, f"{server.url}/{path}")
                page.close()
    slowest = max(took, key=took.__getitem__)
    return [
        at_most(f"first view of the slowest page, {slowest}", took[slowest], LIMIT_S, "s"),
        Figure("each", ", ".join(f"{path} {seconds:.1f} s" for path, seconds in took.items())),
    ]
