"""A lecture that many follow: how young is what they see, how soon have all another page, and are all votes counted?

A follower is what the server has of one: the connection that brings the page, the one that brings the frames of the
lecturer's run, and a vote by HTTP. Browsers load Streamlit's own files besides, once, and draw: not measured here. All
followers are in one process, the lecturer in another, the server in a third.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from load import Load
from report import Figure, at_least, at_most, percentile

from tests.followers import Follower, Lecturer
from tests.harness import Server, serve

MEASURED_S = 20.0
VOTED_S = 10.0
TIMEOUT_S = 60.0
AT_ONCE = 10
"""Followers that join at the same time."""
CHOICES = ("one", "two", "three")
PAGES = ("jit_grad", "jit_vmap", "jit_grad_vmap", "training")
SIZES = ("16", "64", "128", "8")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_beside_serving_s(server: Server) -> float:
    """Processor time of all threads of the server but the one that serves: what computes, and prepares frames."""
    used = 0
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        if int(task.name) != server.process.pid:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            used += int(fields[11]) + int(fields[12])
    return used / TICKS


# The followers' process: it is told what to do by lines of JSON, and answers in lines of JSON.


async def post(url: str, body: bytes) -> int:
    """The status that a vote is answered with."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST /lecture/vote HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readline()
    writer.close()
    return int(answer.split()[1])


async def follow(url: str, code: str, count: int) -> None:
    doors = asyncio.Semaphore(AT_ONCE)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    def say(**said: Any) -> None:
        print(json.dumps(said), flush=True)

    async with AsyncExitStack() as stack:
        begun = time.perf_counter()

        async def join() -> Follower:
            async with doors:
                follower = await stack.enter_async_context(Follower(url, code, reads=False))
                await follower.until(lambda: follower.complete_at and follower.frames, TIMEOUT_S)
                return follower

        followers = await asyncio.gather(*(join() for _ in range(count)))
        say(joined_s=time.perf_counter() - begun)
        while line := await lines.readline():
            asked = json.loads(line)
            if asked["do"] == "look":
                for one in followers:
                    one.frames = 0
                    one.ages_s.clear()
                client_s = time.process_time()
                await asyncio.sleep(MEASURED_S)
                say(
                    frames=[len(one.ages_s) for one in followers], ages_s=[age for one in followers for age in one.ages_s],
                    client_s=time.process_time() - client_s,
                )  # fmt: skip
            elif asked["do"] == "watch":
                for one in followers:
                    one.watch(asked["content"].encode())
                    one.complete_at = 0.0 if asked["page"] else time.time()
                say(watching=True)
                waiting = (one.until(lambda one=one: one.seen_at and one.complete_at, TIMEOUT_S) for one in followers)
                missed = [error for error in await asyncio.gather(*waiting, return_exceptions=True) if error]
                say(
                    at=[max(one.seen_at, one.complete_at if asked["page"] else 0.0) for one in followers],
                    missed=len(missed),
                )
            elif asked["do"] == "vote":

                async def vote(place: int, ballot: int) -> int:
                    await asyncio.sleep(VOTED_S * place / count)
                    said = {
                        "code": code,
                        "voter": f"voter-{place:05}",
                        "ballot": ballot,
                        "round": 1,
                        "choice": place % 3,
                    }
                    return await post(url, json.dumps(said).encode())

                statuses = await asyncio.gather(*(vote(place, asked["ballot"]) for place in range(count)))
                say(lost=sum(status != 200 for status in statuses))


# The benchmark.


async def measure(server: Server, count: int) -> list[Figure]:
    async with Lecturer(server.url, "training", "training_pace=1000") as lecturer:
        for page in PAGES:  # what a page needs is imported and computed once, when the first visitor opens it
            await lecturer.go(page)
        await lecturer.press("Run")
        await lecturer.until(lambda: lecturer.step > 0)

        async def cost() -> float:
            """Processor time of the computation in seconds a step."""
            used, steps = cpu_beside_serving_s(server), lecturer.step
            await asyncio.sleep(MEASURED_S)
            return (cpu_beside_serving_s(server) - used) / max(1, lecturer.step - steps)

        alone = await cost()
        memory_mb = server.memory_mb()
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, server.url, lecturer.code, str(count),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        reply = process.stdout

        async def hear() -> dict[str, Any]:
            return json.loads(await reply.readline())  # type: ignore[no-any-return]

        def tell(**said: Any) -> None:
            process.stdin.write(json.dumps(said).encode() + b"\n")  # type: ignore[union-attr]

        joined_s = (await hear())["joined_s"]
        memory_mb = (server.memory_mb() - memory_mb) / count
        lecturer.ages_s.clear()
        load = Load(server)
        tell(do="look")
        together = await cost()
        looked = await hear()
        load.stop(looked["client_s"])
        own_ages_s = list(lecturer.ages_s)

        async def until_all_have(content: str, page: bool, change: Any) -> list[float]:
            tell(do="watch", content=content, page=page)
            await hear()
            begun = time.time()
            await change
            heard = await hear()
            return [at - begun for at in heard["at"]] + [TIMEOUT_S] * heard["missed"]

        settings_s, pages_s = [], []
        for size in SIZES:
            settings_s += await until_all_have(f"batch size {size} on", False, lecturer.choose("Batch size", size))
        for page in PAGES[:-1]:
            pages_s += await until_all_have(lecturer.title(page), True, lecturer.go(page))

        await lecturer.say(do="ask", question="How many?", choices=CHOICES)
        await lecturer.until(lambda: bool(lecturer.desk.get("ballot")))
        tell(do="vote", ballot=lecturer.desk["ballot"]["number"])
        lost = (await hear())["lost"]
        await lecturer.until(lambda: lecturer.desk["answered"] == count, TIMEOUT_S)
        reveal_s = await until_all_have('"rounds": [[', False, lecturer.say(do="reveal"))
        await lecturer.until(lambda: bool(lecturer.desk["ballot"]["rounds"]))
        counted = lecturer.desk["ballot"]["rounds"][0]
        process.stdin.close()
        await process.wait()
    right = counted == [len(range(choice, count, 3)) for choice in range(3)]
    return [
        at_least(f"{count} followers: frames a second of the slowest", min(looked["frames"]) / MEASURED_S, 4),
        at_most("age of what they see, p95", percentile(looked["ages_s"], 95), 0.5, "s"),
        Figure("age of what they see, median", f"{1e3 * percentile(looked['ages_s'], 50):.0f} ms"),
        at_most("age of the lecturer's own frame, p95", 1e3 * percentile(own_ages_s, 95), 150, "ms"),
        at_most("a change of a setting until a follower has it, p95", percentile(settings_s, 95), 3, "s"),
        at_most("a change of the page until a follower has it, p95", percentile(pages_s, 95), 3, "s"),
        Figure(f"votes lost, of {count} in {VOTED_S:g} s", f"{lost}", "0", lost == 0),
        Figure("votes counted", f"{counted}", "as voted", right),
        at_most("reveal until a follower has it, p95", percentile(reveal_s, 95), 2, "s"),
        at_most("processor time of the computation a step: with followers / without", together / alone, 1.05, ""),
        at_most("memory of a follower", memory_mb, 1, "MB"),
        Figure("the same, median", f"{percentile(pages_s, 50):.2f} s"),
        Figure("all have joined", f"after {joined_s:.1f} s, {AT_ONCE} at a time"),
        *load.figures(clients="the followers' process"),
    ]


def run(count: int) -> list[Figure]:
    with serve() as server:
        return asyncio.run(measure(server, count))


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2], int(sys.argv[3])))
