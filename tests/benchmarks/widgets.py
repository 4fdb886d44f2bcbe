"""How long a page takes to show the result of a changed widget, as its visitor sees it."""

from __future__ import annotations

import math
from statistics import median
from typing import NamedTuple

from playwright.sync_api import Page
from report import Figure, at_most, percentile

from tests.harness import SCREEN, STANDS, chromium, open_page, serve

CHANGES = 12
WARM_UP = 3
LIMIT_MS = 120
PAUSE_MS = 300


class Change(NamedTuple):
    """A widget to change and where the result shows.

    Attributes:
        path: of the page.
        what: the widget and the result, in words.
        widget: CSS selector of what is clicked.
        result: CSS selector of what changes; the last on the page that matches.
        text: what the result's text has to contain to count.
        opened_by: CSS selector of the select box whose options `widget` selects.
        in_turns: whether the first two elements that match `widget` are clicked in turns.
    """

    path: str
    what: str
    widget: str
    result: str
    text: str = ""
    opened_by: str = ""
    in_turns: bool = False


PICTURE = ".live .chart:first-child"
SEED_UP = '.st-key-seed [data-testid="stNumberInputStepUp"]'
CHANGES_OF_PAGES = [
    Change("", "Seed to the picture of the data", SEED_UP, PICTURE),
    Change(
        "jit_grad?jit_grad_panel=Value", "x to the value of f",
        '.st-key-panel [data-testid^="stNumberInputStep"]',
        '[data-testid="stMarkdown"]', "At this point f", in_turns=True,
    ),
    Change(
        "jit_vmap?jit_vmap_panel=Rows", "out_axes to the rows and the result", '[role="option"]', ".stMain .arrays", "The inputs",
        opened_by='[class*="st-key-"][class*="_out"] input', in_turns=True,
    ),
    Change("jit_grad_vmap?jit_grad_vmap_panel=Gradients", "Seed to the difference of the gradients", SEED_UP, '[data-testid="stMarkdown"]', "Largest difference"),
    Change("training", "Seed to the picture of the data", SEED_UP, PICTURE),
]  # fmt: skip

# Clicks, and looks at each frame until the result is another one than before; milliseconds, or null after a while.
MEASURE = """(widget, [result, text]) => new Promise(resolve => {
    const signature = () => {
        const found = [...document.querySelectorAll(result)].filter(element => element.textContent.includes(text)).at(-1);
        if (!found) return null;
        const canvas = found.querySelector("canvas"), svg = found.querySelector("svg.marks, svg");
        if (canvas && canvas.width) return canvas.toDataURL();
        // Vega counts its clip paths up each time it draws: no change that one could see.
        if (svg) return svg.innerHTML.replace(/(id="|url\\(#)[^")]*/g, "");
        return text ? found.textContent : null;
    };
    const before = signature(), begun = performance.now();
    widget.click();
    const look = () => {
        const now = signature(), elapsed = performance.now() - begun;
        if (now !== null && now !== before) resolve(elapsed);
        else if (elapsed > 5000) resolve(null);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""


def measure(page: Page, change: Change) -> list[float]:
    """Milliseconds of each change, those that warm up left out; infinite where nothing changed."""
    found = []
    for number in range(WARM_UP + CHANGES):
        widget = change.widget
        if change.opened_by:
            page.locator(change.opened_by).first.click()
        if change.in_turns:
            widget += f" >> nth={number % 2}"
            page.wait_for_selector(widget)
        took = page.locator(widget).first.evaluate(MEASURE, [change.result, change.text])
        found.append(math.inf if took is None else took)
        page.wait_for_selector(STANDS)
        page.wait_for_timeout(PAUSE_MS)
    return found[WARM_UP:]


def run() -> list[Figure]:
    figures = []
    with serve() as server, chromium() as browser:
        for change in CHANGES_OF_PAGES:
            page = open_page(browser.new_page(viewport=SCREEN), f"{server.url}/{change.path}")
            page.wait_for_selector(change.result, state="attached")
            page.wait_for_timeout(2000)  # charts are drawn after the script has ended
            took = measure(page, change)
            figures.append(at_most(f"/{change.path}, {change.what}: median", median(took), LIMIT_MS, "ms"))
            figures.append(
                Figure(f"/{change.path}: fastest, p90", f"{min(took):.0f} ms, {percentile(took, 90):.0f} ms")
            )
            page.close()
    return figures
