"""How soon the composition lab answers a stack that nobody has asked for before."""

from __future__ import annotations

import math
from statistics import median

from report import Figure, at_most, percentile

from lib.lessons.composition.transforms import TRANSFORMS
from tests.harness import SCREEN, STANDS, chromium, open_page, serve

LIMIT_MS = 300
BASE = "vmap(value_and_grad(f), in_axes=(None, 0, 0))"
PAUSE_MS = 2500
"""The levels of one stack are compiled before the next is asked for."""

# Clicks, and looks at each frame until the last row of the table is the level asked for; milliseconds or null.
MEASURE = """(button, level) => new Promise(resolve => {
    const begun = performance.now();
    button.click();
    const look = () => {
        const elapsed = performance.now() - begun;
        const row = [...document.querySelectorAll(".ladder tr")].at(-1);
        if (row && row.innerText.startsWith(level)) resolve(elapsed);
        else if (elapsed > 10000) resolve(null);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""


def run() -> list[Figure]:
    took = []
    with serve() as server, chromium() as browser:
        for name in TRANSFORMS:
            page = open_page(
                browser.new_page(viewport=SCREEN), f"{server.url}/composition?composition_panel=Levels&stack={BASE}"
            )
            page.wait_for_selector(".ladder")
            page.wait_for_timeout(PAUSE_MS)
            page.wait_for_selector(STANDS)
            button = page.locator(f".st-key-add_{name} button").first
            answered = button.evaluate(MEASURE, f"{name}(vmap(value_and_grad(f)))")
            took.append(math.inf if answered is None else answered)
            page.close()
    return [
        at_most(
            "a changed stack until its levels, types and jaxprs are on the page: median", median(took), LIMIT_MS, "ms"
        ),
        Figure("fastest, p90", f"{min(took):.0f} ms, {percentile(took, 90):.0f} ms"),
    ]
