"""What visitors leave behind in the server's memory."""

from __future__ import annotations

import asyncio

from report import Figure, at_most
from visits import visit

from tests.harness import PAGES, Server, serve

VISITORS = 100
AT_ONCE = 4
SESSION_S = 2
LIMIT_MB = 1000
GROWTH_MB = 30
"""What the second hundred may add: freed memory is not given back to the system page by page."""


async def visitors(url: str, first: int) -> int:
    """A hundred visitors, each with a seed of their own, on the pages in turn. Returns how many came through."""
    paths, doors = PAGES, asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> bool:
        async with doors:
            return await visit(url, paths[number % len(paths)], f"seed={number}", timeout_s=30)

    return sum(await asyncio.gather(*(one(number) for number in range(first, first + VISITORS))))


async def settled_mb(server: Server) -> float:
    """Memory when the sessions of those who left are gone. Streamlit lets go of them when somebody else comes."""
    for _ in range(2):
        await asyncio.sleep(SESSION_S + 1)
        await visit(server.url, "")
    return server.memory_mb()


async def measure(server: Server) -> list[Figure]:
    start_mb = server.memory_mb()
    for path in PAGES:
        await visit(server.url, path)
    base_mb = await settled_mb(server)
    figures = [
        Figure("server before the first visitor", f"{start_mb:.0f} MB"),
        at_most("after a visit to every page", base_mb, LIMIT_MB, "MB"),
    ]
    came = await visitors(server.url, 1)
    first_mb = await settled_mb(server)
    figures.append(Figure(f"after {VISITORS} visitors, {came} of them well", f"{first_mb:.0f} MB"))
    came = await visitors(server.url, 1 + VISITORS)
    second_mb = await settled_mb(server)
    figures.append(Figure(f"after {VISITORS} more, {came} of them well", f"{second_mb:.0f} MB"))
    figures.append(at_most("the second hundred adds", second_mb - first_mb, GROWTH_MB, "MB"))
    return figures


def run() -> list[Figure]:
    with serve(f"--server.disconnectedSessionTTL={SESSION_S}") as server:
        return asyncio.run(measure(server))
