"""A visit to a page of the app."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from websocket_tab import Tab

QUIET_S = 1.5
"""A background compilation ends within so long of the last change that a page shows."""


async def visit(url: str, path: str, query: str = "", timeout_s: float = 60.0) -> bool:
    """Opens a page, provokes its mistake if it has one, presses Run if it can, waits for a step, and leaves.

    Measure is not pressed: it compiles from nothing each time, to say how long that takes.

    Returns:
        Whether all went well.
    """
    async with Tab(url, path, query) as tab:
        with suppress(TimeoutError):
            if "Break it" in tab.widgets:
                await tab.press("Break it", timeout_s)
            if "Run" in tab.widgets:
                await tab.press("Run", timeout_s)
                await tab.until(lambda: tab.step > 0, timeout_s)
                await tab.press("Pause", timeout_s)
            await tab.until(lambda: tab.complete, timeout_s)  # every answer is there
            return not tab.exceptions
    return False


async def compilations(url: str) -> int:
    """How many programs the server says it has compiled, once the number stands still."""
    counts = [-1]
    for _ in range(20):
        async with Tab(url) as tab:
            found = next(filter(None, (re.match(r"Compile log: ([\d,]+) programs?", label) for label in tab.labels)))
        counts.append(int(found[1].replace(",", "")))
        if counts[-1] == counts[-2]:
            break
        await asyncio.sleep(QUIET_S)
    return counts[-1]
