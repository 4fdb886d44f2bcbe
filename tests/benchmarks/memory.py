"""Where the server's memory goes, what a tab takes, and what visitors leave behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack

from report import Figure, at_most
from tabs import open_tabs
from visits import visit

from tests.harness import PAGES, ROOT, Server, serve

VISITORS = 100
AT_ONCE = 4
SESSION_S = 2
FIRST_MB = 350
LIMIT_MB = 690
"""Of all pages: the least that Community Cloud gives."""
TAB_MB = 1
GROWTH_MB = 30
"""What the second hundred may add: freed memory is not given back to the system page by page."""

LIBRARIES = "numpy streamlit pyarrow pandas altair jax optax lib.ui.frame sympy flax.nnx equinox haiku sklearn.datasets"
"""In the order in which each is charged for what nothing before it has imported."""

# Prints the memory before the first import and after each, in bytes.
IMPORT = """
import importlib, sys
from pathlib import Path
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
print(resident())
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(resident())
"""


def libraries() -> list[Figure]:
    """What importing each library adds, in a process of its own."""
    command, names = [sys.executable, "-c", IMPORT], LIBRARIES.split()
    said = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    before, *after = (int(line) / 1e6 for line in said.splitlines())
    added = [last - first for first, last in zip([before, *after], after, strict=False)]
    return [Figure(f"importing {name} adds", f"{mb:.0f} MB") for name, mb in zip(names, added, strict=True)]


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
    await visit(server.url, "")
    first_mb = await settled_mb(server)
    for path in PAGES:
        await visit(server.url, path)
    base_mb = await settled_mb(server)
    figures = [
        Figure("server before the first visitor", f"{start_mb:.0f} MB"),
        at_most("after the first page and its run", first_mb, FIRST_MB, "MB"),
        at_most("after a visit to every page", base_mb, LIMIT_MB, "MB"),
    ]
    async with AsyncExitStack() as stack:
        tabs = await open_tabs(server.url, VISITORS, stack)
        for tab in tabs:
            await tab.press("Run", timeout_s=120)
        await asyncio.gather(*(tab.until(lambda tab=tab: tab.step > 0, 120) for tab in tabs))
        tab_mb = (server.memory_mb() - base_mb) / VISITORS
    figures.append(at_most(f"a tab of {VISITORS} that train, each its own network", tab_mb, TAB_MB, "MB"))
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
        return [*libraries(), *asyncio.run(measure(server))]
