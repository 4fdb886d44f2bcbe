"""Crowds: a class that comes at once to a server that has just started; and one class after another, on all pages."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from load import Load
from memory import SESSION_S, settled_mb
from report import Figure, at_most, percentile
from websocket_tab import Tab

from tests.harness import PAGES, Server, children, serve

VISITORS = 50
WITHIN_S = 1.0
LIMIT_S = 8.0
CORES = 2
"""For which the limit is meant."""
TIMEOUT_S = 300.0
"""Nobody waits so long; what is broken is told from what is slow."""

WAVES, WAVE = 5, 100
AT_ONCE = 8
GROWTH = 0.1
STACKS = (
    "jit(vmap(grad(f)))",
    "vmap(jit(f))",
    "jit(grad(mean(vmap(f))))",
    "vmap(jacfwd(f))",
    "jit(vmap(value_and_grad(f)))",
)


async def come(url: str, path: str, query: str, stack: AsyncExitStack) -> Tab | str:
    """Opens a page: the tab once the page is complete and shows its run, or what is wrong."""
    begun, tab = time.perf_counter(), Tab(url, path, query)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await stack.enter_async_context(tab)
            if "Run" in tab.widgets:
                await tab.until(lambda: "Step" in tab.stats, TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        return f"/{path}: {type(error).__name__}"
    tab.open_s = time.perf_counter() - begun
    return f"/{path}: {tab.exceptions[0]}" if tab.exceptions else tab


async def run_of(tab: Tab) -> None:
    """Presses Run, if there is one, and waits for a step."""
    if "Run" in tab.widgets:
        with suppress(TimeoutError):
            await tab.press("Run", TIMEOUT_S)
            await tab.until(lambda: tab.step > 0, TIMEOUT_S)


def still(tab: Tab) -> bool:
    """Whether the run of a tab has not taken a step."""
    return "Run" in tab.widgets and tab.step == 0


async def cold(server: Server) -> list[Figure]:
    async def one(number: int) -> Tab | str:
        await asyncio.sleep(WITHIN_S * number / VISITORS)
        return await come(server.url, PAGES[number % len(PAGES)], "", stack)

    load = Load(server)
    async with AsyncExitStack() as stack:
        came = await asyncio.gather(*(one(number) for number in range(VISITORS)))
        load.stop()
        opened = [tab for tab in came if isinstance(tab, Tab)]
        await asyncio.gather(*map(run_of, opened))
        wrong = [
            *(tab for tab in came if isinstance(tab, str)),
            *(tab.exceptions[0] for tab in opened if tab.exceptions),
        ]
        stand = sum(map(still, opened))
    async with AsyncExitStack() as stack:
        later = [await come(server.url, path, "seed=1", stack) for path in PAGES]
        wrong += [tab for tab in later if isinstance(tab, str)]
    errors, open_s = server.errors(), [tab.open_s for tab in opened]
    return [
        at_most(f"{VISITORS} within {WITHIN_S:g} s: the last page complete", max(open_s), LIMIT_S, "s"),
        Figure("the same, median", f"{percentile(open_s, 50):.1f} s"),
        at_most("processor time of the server until then", load.server_s, CORES * LIMIT_S, "s"),
        Figure("pages that came", f"{len(opened)} of {VISITORS}", "all", len(opened) == VISITORS),
        Figure("their runs that took no step when Run was pressed", f"{stand}", "0", not stand),
        Figure("wrong then, or at a visit to each page later", "; ".join(wrong) or "nothing", "nothing", not wrong),
        Figure("errors in the server's log", f"{errors}", "0", not errors),
        *load.figures(),
    ]  # fmt: skip


class Held(NamedTuple):
    """What a server holds of the system."""

    memory_mb: float
    files: int
    threads: int
    processes: int


async def held(server: Server) -> Held:
    """When those who left are gone."""
    memory_mb = await settled_mb(server)
    proc = Path(f"/proc/{server.process.pid}")
    files, threads = (len(list((proc / part).iterdir())) for part in ("fd", "task"))
    return Held(memory_mb, files, threads, len(children(server.process.pid)))


def query_of(path: str, number: int) -> str:
    """A seed of the visitor's own, and where the page takes one, a stack or a function of his own."""
    own = {
        "jit_grad": {"function": "type your own", "typed": f"sin({number} * x) + x**2 / 4"},
        "jit_vmap": {"batched": "type your own", "typed_batched": f"w @ x * {number} + b"},
        "composition": {
            "lab_function": "type your own", "lab_text": f"sin(x) * exp(-x**2 / {number})", "stack": STACKS[number % len(STACKS)]
        },
    }  # fmt: skip
    return urlencode({"seed": number, **own.get(path, {})})


async def wave(url: str, first: int) -> list[str]:
    """So many tabs, all open at the same time; each runs. What was wrong."""
    doors = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> str:
        path = PAGES[number % len(PAGES)]
        async with doors:
            tab = await come(url, path, query_of(path, number), stack)
            if isinstance(tab, str):
                return tab
            await run_of(tab)
        return tab.exceptions[0] if tab.exceptions else f"/{path}: no step" if still(tab) else ""

    async with AsyncExitStack() as stack:
        return list(filter(None, await asyncio.gather(*(one(number) for number in range(first, first + WAVE)))))


async def waves(server: Server) -> list[Figure]:
    wrong: list[str] = []
    after: list[Held] = []
    for number in range(WAVES):
        wrong += await wave(server.url, 1 + number * WAVE)
        after.append(await held(server))
    second, last = after[1], after[-1]
    errors = server.errors()
    said = "; ".join(f"{one.memory_mb:.0f} MB, {one.files} files, {one.threads} threads" for one in after)
    return [
        at_most(f"memory after wave {WAVES} / after wave 2", last.memory_mb / second.memory_mb, 1 + GROWTH, ""),
        at_most("files more than after wave 2", last.files - second.files, 2, ""),
        at_most("threads more than after wave 2", last.threads - second.threads, 2, ""),
        at_most("processes left", last.processes, 0, ""),
        Figure(f"after each wave of {WAVE}", said),
        Figure("what was wrong", "; ".join(wrong[:5]) or "nothing", "nothing", not wrong),
        Figure("errors in the server's log", f"{errors}", "0", not errors),
    ]


def run(kind: str) -> list[Figure]:
    with serve(*([] if kind == "cold" else [f"--server.disconnectedSessionTTL={SESSION_S}"])) as server:
        return asyncio.run(cold(server) if kind == "cold" else waves(server))
