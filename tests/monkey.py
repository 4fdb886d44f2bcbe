"""Presses, types and navigates at random in a real browser, faster than a person, and says when the app breaks.

    python tests/monkey.py --page composition --seed 3 --seconds 60          a warm server
    python tests/monkey.py --page composition --seed 3 --cold --tabs 20      a fresh one, beside twenty runs
    python tests/monkey.py --all --seeds 3 --seconds 20                      every page, and a table
    python tests/monkey.py --all --seeds 20 --seconds 60 --at-once 5         five monkeys at a time

A seed decides what is done; what there is to press when its turn comes depends on the machine as well.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import harness
from benchmarks.websocket_tab import Tab
from playwright.sync_api import Browser, Error, Page

COMPLETE_S = 90.0
"""A page is complete within so long of the last act, though twenty others train and measure beside it."""
NAVIGATION_MS = 60_000
"""Another document is waited for: one that came after the last act would be taken for what is left of the app."""
PAUSES_S = (0.02, 0.02, 0.05, 0.1, 0.2, 0.5)
VISITED = 2
"""So many other pages are opened before: what they began still goes on."""
LAST = 12
"""So many acts are told of a failure."""
TEXTS = (
    "",
    "0",
    "-1",
    "3",
    "1e9",
    "x**2 + y",
    "sin(x) * x",
    "jit(vmap(grad(f)))",
    "nonsense(",
    "__import__('os')",
    "ﬁ ∂ 𝟘",
)
KEYS = ("ArrowRight", "ArrowLeft", "PageUp", "PageDown", "Home", "End")
KINDS = {
    "button": ("[data-testid=stMain] button[data-testid^=stBaseButton]:not([disabled])", 10),
    "popover": ("[data-testid=stPopoverButton]", 1),
    "in a popover": ("[data-testid=stPopoverBody] button:not([disabled])", 2),
    "number": ("button[data-testid^=stNumberInputStep]:not([disabled])", 1),
    "toggle": ("[data-testid=stCheckbox] label", 3),
    "expander": ("[data-testid=stExpander] summary", 2),
    "tab": ("[role=tab]", 1),
    "select": ("[data-testid=stSelectbox] input", 4),
    "input": ("[data-testid=stTextInput] input, [data-testid=stNumberInput] input", 3),
    "slider": ("[role=slider]", 3),
    "link": ("[data-testid=stSidebarNavLink], [data-testid=stPageLink-NavLink]", 2),
}
"""What can be pressed: a CSS selector, and how often it is chosen against the others."""
OTHERS = {"come back": 2, "come back and press": 1, "go and press": 2, "back": 1, "reload": 0.5}

# The one of the elements that a number in [0, 1) chooses: what it says, and its middle, once it is in the window.
CHOOSE = """([selector, share]) => {
    const found = [...document.querySelectorAll(selector)].filter(e => e.getClientRects().length);
    if (!found.length) return null;
    const chosen = found[Math.floor(share * found.length)];
    chosen.scrollIntoView({block: "center", behavior: "instant"});
    const {x, y, width, height} = chosen.getBoundingClientRect();
    const name = chosen.getAttribute("aria-label") || chosen.innerText || chosen.getAttribute("aria-valuetext") || "";
    return [name.trim().split("\\n").slice(0, 2).join(" ").slice(0, 40), x + width / 2, y + height / 2];
}"""

# Buttons of the page that is left are known by their mark. Gives up once the page stands: not every page has one.
PRESS_AT_ONCE = """([stands, wait_ms]) => new Promise(resolve => {
    const primary = () => document.querySelector("[data-testid=stMain] button[kind=primary]");
    const begun = performance.now(), old = primary();
    const look = () => {
        if (primary() && primary() !== old) setTimeout(() => resolve(primary()?.click()), wait_ms);
        else if (performance.now() - begun > 10000 || (document.querySelector(stands) && performance.now() - begun > 300)) resolve();
        else requestAnimationFrame(look);
    };
    look();
})"""


class Failure(Exception):
    """The app has broken."""


class Outcome(NamedTuple):
    """What came of one page with one seed; `failure` is empty where all went well."""

    page: str
    seed: int
    acts: int
    complete_s: float
    failure: str


class Visitor:
    """A monkey in a browser's tab.

    Args:
        path: the page to begin with and to come back to.
    """

    def __init__(self, page: Page, server: harness.Server, path: str, seed: int) -> None:
        self.page, self._server, self._path = page, server, path
        self._rng = random.Random(f"{path} {seed}")
        self._errors = harness.console_errors(page)
        self._before = server.errors()
        self.acts: list[str] = []

    def play(self, seconds: float) -> float:
        """Acts for so long, then waits for the page to be complete. Seconds until it is.

        Raises:
            Failure: the app has broken.
        """
        self.page.set_default_timeout(500)
        end = time.monotonic() + seconds
        for path in (*self._rng.sample(harness.PAGES, VISITED), self._path):
            self._open(path)
            with suppress(Error):
                self._press_at_once()
            self._check()
        while time.monotonic() < end:
            with suppress(Error):  # what was to be pressed has gone: that is no fault of the page's
                self._act()
            self._check()
            self.page.wait_for_timeout(1000 * self._rng.choice(PAUSES_S))
        return self._wait_until_complete()

    def _open(self, path: str) -> None:
        """By its address, as in a new window."""
        self.acts.append(f"open /{path}")
        self.page.goto(f"{self._server.url}/{path}", timeout=NAVIGATION_MS, wait_until="commit")

    def _act(self) -> None:
        weights = {kind: weight for kind, (_, weight) in KINDS.items()} | OTHERS
        (kind,) = self._rng.choices(list(weights), list(weights.values()))
        share, text, times = self._rng.random(), self._rng.choice(TEXTS), self._rng.randint(1, 4)
        key = self._rng.choice(KEYS)
        keyboard = self.page.keyboard
        if kind == "come back":
            self._follow(self._path)
        elif kind == "come back and press":
            self._open(self._path)
            self._press_at_once()
        elif kind == "go and press":
            self._follow(self._rng.choice(harness.PAGES))
            self._press_at_once()
        elif kind == "back":
            self.acts.append("back")
            self.page.go_back(timeout=NAVIGATION_MS, wait_until="commit")
            if self.page.url == "about:blank":  # where the window began
                self._open(self._path)
        elif kind == "reload":
            self.acts.append("reload")
            self.page.reload(timeout=NAVIGATION_MS, wait_until="commit")
        elif self._click(kind, share):
            if kind == "select":
                for pressed in [*["ArrowDown"] * times, "Enter" if text else "Escape"]:
                    keyboard.press(pressed)
            elif kind == "input":
                keyboard.press("ControlOrMeta+a")
                keyboard.type(text)
                keyboard.press("Enter")
                self.acts[-1] += f" <- {text!r}"
            elif kind == "slider":
                for _ in range(times):
                    keyboard.press(key)
                self.acts[-1] += f" {times} x {key}"

    def _click(self, kind: str, share: float) -> bool:
        chosen = self.page.evaluate(CHOOSE, [KINDS[kind][0], share])
        if chosen:
            name, x, y = chosen
            self.acts.append(f"{kind} {name}")
            self.page.mouse.click(x, y)
        return bool(chosen)

    def _follow(self, path: str) -> None:
        """A link of the sidebar."""
        self.acts.append(f"go to /{path}")
        link = "[data-testid=stSidebarNavLink]"
        self.page.locator(f"{link}[href$='/{path}']").first.evaluate("link => link.click()")

    def _press_at_once(self) -> None:
        """The first button of the page that is being opened: as soon as it stands, or when its timers tick."""
        wait_ms = self._rng.choice((0, 100, 200, 400, 800, 1500))
        self.acts.append(f"primary button {wait_ms} ms after it stands")
        self.page.evaluate(PRESS_AT_ONCE, [harness.STANDS, wait_ms])

    def _check(self) -> None:
        """Raises if something has broken already."""
        if not self._server.alive():
            raise Failure("the server has ended")
        if self._errors:
            raise Failure(f"console: {self._errors[0]}")
        with suppress(Error):  # the page is about to be left
            for box in self.page.get_by_test_id("stException").all():
                raise Failure(f"exception box: {box.inner_text(timeout=1000)}")
        if self._server.errors() > self._before:
            log = self._server.log()
            raise Failure(f"server's log: {log[-2000:]}")

    def _wait_until_complete(self) -> float:
        begun = time.monotonic()
        connected = '[data-testid="stApp"][data-test-connection-state="CONNECTED"]'
        conditions: dict[str, Callable[[], int]] = {
            "the page is white": self.page.locator("#root [data-testid=stApp]").count,
            "the session is not connected": self.page.locator(connected).count,
            "the way to the next lesson is missing": self.page.locator(
                ".st-key-lesson_back, .st-key-lesson_forward"
            ).count,
            "the script still runs": self.page.locator(harness.STANDS).count,
        }
        for failure, holds in conditions.items():
            while not holds():
                self._check()
                if time.monotonic() - begun > COMPLETE_S:
                    raise Failure(f"{failure} {COMPLETE_S:g} s after the last act: {self.page.url}")
                self.page.wait_for_timeout(50)
        complete_s = time.monotonic() - begun
        self.page.wait_for_timeout(500)
        self._check()
        return complete_s


def play(browser: Browser, server: harness.Server, path: str, seed: int, seconds: float, folder: Path) -> Outcome:
    """One page with one seed, in a new window; prints what was done and saves a picture where it fails."""
    context = browser.new_context(viewport=harness.SCREEN)
    visitor = Visitor(context.new_page(), server, path, seed)
    complete_s, failure = float("nan"), ""
    try:
        complete_s = visitor.play(seconds)
    except Failure as error:
        failure = str(error)
        picture = folder / f"monkey-{path or 'home'}-{seed}.png"
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(Error):
            visitor.page.screenshot(path=picture, timeout=10_000)
        print(
            f"/{path}, seed {seed}: {failure}\nThe last acts: {'; '.join(visitor.acts[-LAST:])}\nPicture: {picture}",
            flush=True,
        )
    finally:
        context.close()
    return Outcome(path, seed, len(visitor.acts), complete_s, failure)


@contextmanager
def ticking_tabs(url: str, count: int) -> Iterator[None]:
    """So many visitors beside the monkey, each of whom looks at a live run."""
    ready, over = threading.Event(), threading.Event()

    async def look_on() -> None:
        async with AsyncExitStack() as stack:
            for seed in range(1, count + 1):
                tab = await stack.enter_async_context(Tab(url, "training", f"seed={seed}"))
                await tab.press("Run")
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(look_on()), daemon=True)
    if count:
        thread.start()
        while thread.is_alive() and not ready.wait(0.1):
            pass
    try:
        yield
    finally:
        over.set()
        if count:
            thread.join(30)


def play_all(
    paths: list[str], seeds: list[int], seconds: float, *,
    cold: bool = False, tabs: int = 0, at_once: int = 1, folder: Path,
) -> list[Outcome]:  # fmt: skip
    """Every page with every seed: on one server, or each on one of its own that nobody has asked anything."""

    def begin(stack: ExitStack) -> harness.Server:
        server = stack.enter_context(harness.serve())
        stack.enter_context(ticking_tabs(server.url, tabs))
        return server

    with ExitStack() as warm:
        shared = None if cold else begin(warm)

        def one(path: str, seed: int) -> Outcome:
            with ExitStack() as own:
                server = shared if shared and shared.alive() else begin(own)
                return play(own.enter_context(harness.chromium()), server, path, seed, seconds, folder)

        outcomes = []
        with ThreadPoolExecutor(at_once) as monkeys:
            for outcome in monkeys.map(lambda each: one(*each), [(path, seed) for seed in seeds for path in paths]):
                path, seed, acts, complete_s, failure = outcome
                print(
                    f"| /{path} | {seed} | {acts} | {complete_s:.1f} s | {' '.join(failure.split())[:100]} |",
                    flush=True,
                )
                outcomes.append(outcome)
        return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", default="", choices=harness.PAGES, metavar="PATH", help="empty for the first page")
    parser.add_argument("--all", action="store_true", help="every page")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--seconds", type=float, default=20, help="for each page and seed")
    parser.add_argument("--cold", action="store_true", help="a server of its own for each page and seed")
    parser.add_argument("--tabs", type=int, default=0, help="so many visitors look at live runs meanwhile")
    parser.add_argument(
        "--at-once", type=int, default=1, help="so many monkeys at a time, each in a browser of its own"
    )
    parser.add_argument("--folder", type=Path, default=Path("test-artifacts"), help="for pictures of failures")
    given = parser.parse_args()
    print("| page | seed | acts | complete after | failure |\n|---|---|---|---|---|", flush=True)
    outcomes = play_all(
        harness.PAGES if given.all else [given.page], list(range(given.seed, given.seed + given.seeds)), given.seconds,
        cold=given.cold, tabs=given.tabs, at_once=given.at_once, folder=given.folder,
    )  # fmt: skip
    failed = sum(bool(outcome.failure) for outcome in outcomes)
    print(f"\n{failed} of {len(outcomes)} failed.")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
