"""What one visitor takes from the rest, by what he types.

`python tests/benchmarks/visitors.py`: ten who have the heaviest texts computed that are allowed, beside twenty who watch
their runs.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parents[2]))

from report import Figure, at_most, percentile, table
from tabs import open_tabs
from websocket_tab import Tab

from tests.harness import Server, busy_s, serve

WATCHERS, HEAVY = 20, 10
ALONE_S, BESIDE_S, LOOK_S, RUN_S = 20.0, 60.0, 0.05, 4.0
PATIENCE_S = 90.0
"""So long a page with a heavy text may take."""

# Heavy texts. Each visitor has other numbers in them, so that nobody's programs are another's.

SIX = "u + v + w + x + y + z + {0}"
ALL = "argnums=(0, 1, 2, 3, 4, 5)"


def _nested(name: str, times: int) -> str:
    return f"{name}(" * times + SIX + ")" * times


STACKED = [
    ("sum(" + "*".join([f"sin({SIX})"] * 5) + ")", f"vjp(hessian(f, {ALL}))"),
    ("sum(" + _nested("erf", 17) + ")", f"hessian(vjp(hessian(f, {ALL})))"),
    ("prod(" + _nested("tanh", 10) + ")", f"jit(vmap(hessian(jacfwd(f, {ALL}), {ALL})))"),
    ("sum(" + _nested("silu", 17) + ")", f"jit(vmap(hessian(f, {ALL})))"),
    ("sum(" + _nested("cbrt", 17) + ")", "hessian(vjp(vjp(vjp(f))))"),
    ("sum(stack(u, v, w, x, y, z) + stack(z, y, x, w, v, u) * {0})", f"hessian(hessian(f, {ALL}), {ALL})"),
]  # fmt: skip
"""A function of six arguments, and a stack for /composition."""
FORMULAS = [
    "((x + y + {0})**16 * (x - y)**16)**(1 / (1 + x**2)) * sin(x)**8 * exp(x * y)**8",
    "x**x**x**x**y**y + x**y**x**y**x + {0} * sin(cos(sin(cos(sin(cos(x * y))))))",
]
"""Functions of numbers for /jit_grad, with formulas by SymPy."""


def addresses(number: int) -> list[tuple[str, str]]:
    """What a visitor opens, one after the other: page and query."""
    shared = {"batch_size": 4096}
    found = []
    for text, stack in STACKED:
        told = {"lab_function": "type your own", "lab_text": text.format(number), "stack": stack}
        found.append(("composition", urlencode(shared | told | {"composition_panel": "Levels"})))
    for text in FORMULAS:
        told = {"function": "type your own", "typed": text.format(number)}
        found.append(("jit_grad", urlencode(shared | told | {"jit_grad_panel": "Value"})))
    start = number % len(found)
    return found[start:] + found[:start]


async def take(url: str, number: int, opened: list[float]) -> None:
    """A visitor who opens one heavy page after the other, and runs each."""
    for turn in itertools.count():
        for page, query in addresses(number + 1000 * turn):
            begun = time.monotonic()
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(PATIENCE_S), Tab(url, page, query) as tab:
                    opened.append(time.monotonic() - begun)
                    if "Run" in tab.widgets:
                        await tab.press("Run")
                    await asyncio.sleep(RUN_S)


async def ages(tabs: list[Tab], seconds: float) -> tuple[list[float], list[float], float]:
    """Ages of the frames when they come, and of what is on the screens at any time; and how many came a second to the tab
    with the fewest."""
    for tab in tabs:
        tab.ages_s.clear()
    seen: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(LOOK_S)
        seen += [time.time() - tab.changed_at for tab in tabs]
    return [age for tab in tabs for age in tab.ages_s], seen, min(len(tab.ages_s) for tab in tabs) / seconds


async def measure_texts(server: Server) -> list[Figure]:
    async with AsyncExitStack() as stack:
        tabs = await open_tabs(server.url, WATCHERS, stack, "training_pace=20")
        for tab in tabs:
            await tab.press("Run")
            await tab.until(lambda tab=tab: tab.step > 0)
        alone = await ages(tabs, ALONE_S)
        opened: list[float] = []
        heavy = [asyncio.create_task(take(server.url, number, opened)) for number in range(1, HEAVY + 1)]
        used_s, memory_mb, all_s = server.cpu_s(), server.memory_mb(), busy_s()
        beside = await ages(tabs, BESIDE_S)
        used_s, memory_mb, all_s = server.cpu_s() - used_s, server.memory_mb() - memory_mb, busy_s() - all_s
        for task in heavy:
            task.cancel()
        ended = await asyncio.gather(*heavy, return_exceptions=True)
        wrong = [text for tab in tabs for text in tab.exceptions]
        wrong += [repr(end) for end in ended if not isinstance(end, asyncio.CancelledError)]
    figures = []
    for what, before, after in (
        ("a frame when it comes", alone[0], beside[0]),
        ("what is on the screen", alone[1], beside[1]),
    ):
        old, new = percentile(before, 95), percentile(after, 95)
        figures += [
            at_most(f"age of {what}, p95, beside {HEAVY} heavy visitors", new, 1.0, "s"),
            at_most(f"the same / without them ({1e3 * old:.0f} ms)", new / old, 4.0, ""),
            Figure("the same, median and longest", f"{1e3 * percentile(after, 50):.0f} ms; {max(after):.1f} s"),
        ]
    return [
        *figures,
        Figure("frames a second of the slowest: without, beside them", f"{alone[2]:.1f}; {beside[2]:.1f}"),
        Figure("heavy pages opened", f"{len(opened)}, median {percentile(opened, 50):.1f} s, longest {max(opened, default=0):.1f} s"),
        Figure("memory of the server more than before", f"{memory_mb:.0f} MB"),
        Figure("processors busy: server; all", f"{used_s / BESIDE_S:.2f}; {all_s / BESIDE_S:.2f}"),
        Figure("exceptions", f"{len(wrong) + server.errors()}" + (f": {wrong[0]}" if wrong else ""), "0", not wrong and not server.errors()),
    ]  # fmt: skip


def texts() -> list[Figure]:
    """Ten with the heaviest texts beside twenty who watch."""
    with serve() as server:
        figures = asyncio.run(measure_texts(server))
        if server.errors():
            print(server.log()[-3000:], file=sys.stderr)
        return figures


PARTS = {"texts": texts}


def run() -> list[Figure]:
    return [figure for part in PARTS.values() for figure in part()]


if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(table(name, PARTS[name]()), flush=True)
