"""A real browser."""

from __future__ import annotations

from playwright.sync_api import Browser, Page

from tests.browser import chromium as browser

__all__ = ["browser", "open_page", "press", "wait_for_stat"]

STANDS = '[data-testid="stApp"][data-test-script-state="notRunning"]'
"""The page while no script runs. Live pages run one at each tick: wait for it before Run is pressed."""


def open_page(browser: Browser, address: str) -> Page:
    """A page in a new window of its own, when its title stands and its script has come to its end."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(address)
    page.wait_for_selector("h1", timeout=60_000)
    page.wait_for_selector(STANDS, timeout=60_000)
    return page


def press(page: Page, label: str) -> None:
    """Presses a button of the page."""
    page.get_by_role("button", name=label, exact=True).click()


def wait_for_stat(page: Page, name: str, pattern: str, timeout_s: float = 60.0) -> None:
    """Waits until a number of the live run matches a regular expression."""
    page.wait_for_function(
        """([name, pattern]) => [...document.querySelectorAll(".stats > div")].some(stat =>
            stat.querySelector(".name").textContent === name
            && new RegExp(pattern).test(stat.querySelector(".value").textContent))""",
        arg=[name, pattern], timeout=1000 * timeout_s,
    )  # fmt: skip
