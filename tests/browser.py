"""A server of the app, and a browser to look at it: for the tests and for the benchmarks."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 60_000


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Starts the app as a user would, and gives its address. Nothing is asked of it but its health."""
    port = free_port()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "dashboard.py", "--server.headless=true",
             "--server.address=127.0.0.1", f"--server.port={port}", "--server.fileWatcherType=none", *options],
            cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_for_health(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
            output.seek(0)
            assert "Traceback" not in (text := output.read()), text
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def wait_for_health(url: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"No server at {url} after {seconds} s.")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, or Playwright's own if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def open_page(page: Page, url: str) -> None:
    """Opens an address and waits until the page is complete."""
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(url)
    settle(page)


def settle(page: Page) -> None:
    """Waits until the script has run and its footer stands."""
    page.wait_for_selector("h1")
    page.get_by_text("Compile log:").wait_for()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()


def stats(page: Page) -> dict[str, str]:
    """The row of numbers of the live run, read at one moment."""
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.stats > div')].map(e => e.innerText.split('\\n')))"
    )


def step_of(page: Page) -> int:
    return int(stats(page)["Step"].replace(",", ""))


def set_slider(page: Page, label: str, option: str) -> None:
    """Moves a slider with the keyboard until it shows an option."""
    slider = page.get_by_test_id("stSlider").filter(has_text=label)
    thumb = slider.get_by_role("slider")
    thumb.focus()
    for key in ("Home", *["ArrowRight"] * 40):
        page.keyboard.press(key)
        if slider.get_by_test_id("stSliderThumbValue").inner_text().strip() == option:
            break
    else:
        raise AssertionError(f"The slider {label} has no {option}.")
    page.keyboard.press("Tab")
