"""Many tabs that train at once, each its own network: do all get young frames, and fair turns?"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress

from load import Load
from report import Figure, at_least, at_most, percentile
from websocket_tab import Tab

from tests.harness import Server, serve

QUERY = "training_pace=unlimited"
MEASURED_S = 20.0
START_S = 60.0
"""So long a tab may take to its first step, whose program somebody else has had compiled."""
SETTLE_S = 3.0
AT_ONCE = 4
"""Tabs that open at the same time: people come in one after the other."""


async def open_tabs(url: str, count: int, stack: AsyncExitStack, query: str = QUERY) -> list[Tab]:
    """Tabs on the training page, each with a seed of its own."""
    doors = asyncio.Semaphore(AT_ONCE)

    async def open_one(seed: int) -> Tab:
        async with doors:
            return await stack.enter_async_context(Tab(url, "training", f"seed={seed}&{query}"))

    return list(await asyncio.gather(*(open_one(seed) for seed in range(1, count + 1))))


async def measure(server: Server, count: int) -> list[Figure]:
    async with AsyncExitStack() as stack:
        async with Tab(server.url, "training", QUERY) as first:  # compiles
            await first.press("Run")
            await first.until(lambda: first.step > 0)
            await first.press("Pause")
        tabs = await open_tabs(server.url, count, stack)
        begun = time.perf_counter()
        await asyncio.gather(*(tab.press("Run", timeout_s=120) for tab in tabs))
        pressed_s = time.perf_counter() - begun
        with suppress(TimeoutError):
            await asyncio.gather(*(tab.until(lambda tab=tab: tab.step > 0, START_S) for tab in tabs))
        started_s = time.perf_counter() - begun
        started = sum(tab.step > 0 for tab in tabs)
        await asyncio.sleep(SETTLE_S)

        load = Load(server)
        for tab in tabs:
            tab.ages_s.clear()
        before = [tab.step for tab in tabs]
        await asyncio.sleep(MEASURED_S)
        load.stop()
        elapsed_s = load.elapsed_s
        ages_s = [age for tab in tabs for age in tab.ages_s]
        frames = [len(tab.ages_s) / elapsed_s for tab in tabs]
        rates = [(tab.step - start) / elapsed_s for tab, start in zip(tabs, before, strict=True)]
        alive = sum(tab.alive and bool(tab.ages_s) for tab in tabs)
        exceptions = [text for tab in tabs for text in tab.exceptions]
        open_s = [tab.open_s for tab in tabs]

    many = count > 30
    wrong = len(exceptions) + server.errors()
    return [
        at_least("frames with new steps a second, slowest tab", min(frames), 4, ""),
        Figure("frames with new steps a second, all tabs' mean", f"{sum(frames) / count:.2f}"),
        Figure("age of a frame, median", f"{1e3 * percentile(ages_s, 50):.0f} ms"),
        at_most("age of a frame, p95", 1e3 * percentile(ages_s, 95), 300 if many else 150, "ms"),
        at_least(
            "slowest tab's steps / fastest's", min(rates) / max(rates) if max(rates) else 0.0, 0.2 if many else 0.5
        ),
        Figure("steps/s a tab, slowest to fastest", f"{min(rates):,.0f} to {max(rates):,.0f}"),
        Figure("steps/s of all tabs", f"{sum(rates):,.0f}"),
        Figure("tabs alive", f"{alive} of {count}", "all", alive == count),
        Figure("exceptions", f"{wrong}" + (f": {exceptions[0]}" if exceptions else ""), "0", wrong == 0),
        Figure("a tab opens, median", f"{percentile(open_s, 50):.2f} s, {AT_ONCE} at a time"),
        Figure("all presses of Run answered", f"after {pressed_s:.1f} s"),
        Figure("tabs past the first step", f"{started} of {count} after {started_s:.1f} s", "all", started == count),
        *load.figures(),
    ]


def run(count: int) -> list[Figure]:
    with serve() as server:
        return asyncio.run(measure(server, count))
