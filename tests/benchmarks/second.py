"""What a second visitor's visit compiles, after a first one has been everywhere: nothing, one hopes."""

from __future__ import annotations

import asyncio

from report import Figure
from visits import compilations, visit

from tests.harness import PAGES, serve

QUERIES = {
    "the first visitor": "",
    "a second, with the same settings": "",
    "a third, with another seed and learning rate": "seed=5&learning_rate=0.01",
}


async def measure(url: str) -> list[Figure]:
    figures = []
    for number, (visitor, query) in enumerate(QUERIES.items()):
        for path in PAGES:
            before = await compilations(url)
            well = await visit(url, path, query)
            compiled = await compilations(url) - before
            what = f"programs compiled for {visitor}, on /{path}" + ("" if well else " (the visit failed)")
            figures.append(Figure(what, str(compiled), *(("0", compiled == 0) if number else ())))
    return figures


def run() -> list[Figure]:
    with serve() as server:
        return asyncio.run(measure(server.url))
