"""The app as Community Cloud runs it: its forced options, a gigabyte of memory, half a core. Does it teach a class?

The limit is the system's own: RLIMIT_DATA, which counts what a process has asked for, so that less than a gigabyte is
ever resident. Half a core is one core, on which the server is stopped half of the time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path

from load import Load
from report import Figure, at_least, at_most, percentile
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websocket_tab import Tab

from tests.followers import Follower, Lecturer
from tests.harness import Server, serve

OPTIONS = ("--client.showErrorDetails=false", "--runner.fastReruns=true")
MEMORY_MB = 1000
CLASS = 30
AT_ONCE = 5
MEASURED_S = 20.0
TIMEOUT_S = 180.0
PERIOD_S = 0.1
SENTENCE = "memory is nearly full"
PANEL = "jit_grad_panel=Timings"


def taken_mb(server: Server) -> float:
    """What RLIMIT_DATA counts."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmData:")[2].split()[0]) * 1024 / 1e6


@contextmanager
def inherited() -> Iterator[None]:
    """What is started meanwhile has one core, and a gigabyte."""
    import resource

    limit, cores = resource.getrlimit(resource.RLIMIT_DATA), os.sched_getaffinity(0)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB * 10**6, limit[1]))
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        resource.setrlimit(resource.RLIMIT_DATA, limit)


@contextmanager
def half_of_the_time(server: Server) -> Iterator[None]:
    """The server stands still half of the time."""
    over = threading.Event()

    def work() -> None:
        with suppress(ProcessLookupError):
            while not over.wait(PERIOD_S / 2):
                os.kill(server.process.pid, signal.SIGSTOP)
                time.sleep(PERIOD_S / 2)
                os.kill(server.process.pid, signal.SIGCONT)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Reader(Tab):
    """A tab that keeps what it is sent."""

    page = ""

    def _take(self, message: ForwardMsg) -> None:
        self.page += str(message)
        super()._take(message)

    def is_told(self) -> bool:
        return SENTENCE in self.page + self.frame


async def refused(server: Server) -> list[Figure]:
    """What is begun while memory is short, and when it no longer is."""
    import resource

    url, pid, limits = server.url, server.process.pid, resource.prlimit(server.process.pid, resource.RLIMIT_DATA)
    async with Reader(url, "jit_vmap", "seed=99&batch_size=256") as run, Reader(url, "jit_grad", PANEL) as measurement:
        resource.prlimit(pid, resource.RLIMIT_DATA, (int(taken_mb(server) * 1.07e6), limits[1]))
        told = []
        for tab, label in ((run, "Run"), (measurement, "Measure")):
            with suppress(TimeoutError):
                await tab.press(label, TIMEOUT_S)
                await tab.until(tab.is_told, TIMEOUT_S)
            told.append(tab.is_told())
        resource.prlimit(pid, resource.RLIMIT_DATA, limits)
        with suppress(TimeoutError):
            await run.press("Run", TIMEOUT_S)
            await run.until(lambda: run.step > 0, TIMEOUT_S)
    return [
        Figure("memory is short: a new run", "refused in a sentence" if told[0] else "not refused", "refused", told[0]),
        Figure(
            "the same: a new measurement", "refused in a sentence" if told[1] else "not refused", "refused", told[1]
        ),
        Figure("that run when there is room again", f"step {run.step}", "goes", run.step > 0),
    ]


async def teach(server: Server) -> list[Figure]:
    began_s = time.monotonic() - server.begun
    doors = asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as stack:
        lecturer = await stack.enter_async_context(Lecturer(server.url, "training"))
        await lecturer.press("Run", TIMEOUT_S)
        await lecturer.until(lambda: lecturer.step > 0, TIMEOUT_S)
        taught_s = time.monotonic() - server.begun

        async def join() -> Follower:
            async with doors:
                follower = await stack.enter_async_context(Follower(server.url, lecturer.code))
                await follower.until(lambda: follower.complete_at and follower.frames, TIMEOUT_S)
                return follower

        begun = time.monotonic()
        followers = await asyncio.gather(*(join() for _ in range(CLASS)))
        joined_s = time.monotonic() - begun

        for one in followers:
            one.ages_s.clear()
        load = Load(server)
        await asyncio.sleep(MEASURED_S)
        load.stop()
        frames = [len(one.ages_s) / MEASURED_S for one in followers]
        ages_s = [age for one in followers for age in one.ages_s]

        for one in followers:
            one.watch(b"batch size 64 on")
        begun_at = time.time()
        await lecturer.choose("Batch size", "64")
        with suppress(TimeoutError):
            await asyncio.gather(*(one.until(lambda one=one: one.seen_at, TIMEOUT_S) for one in followers))
        changed_s = [one.seen_at - begun_at if one.seen_at else TIMEOUT_S for one in followers]

        resident_mb, data_mb = server.memory_mb(), taken_mb(server)
        figures = await refused(server)
        for one in followers:
            one.frames = 0
        await lecturer.press("Reset", TIMEOUT_S)
        with suppress(TimeoutError):
            await asyncio.gather(*(one.until(lambda one=one: one.frames, TIMEOUT_S) for one in followers))
        follow = sum(one.frames > 0 for one in followers)
    errors = server.errors()
    return [
        Figure("the server answers", f"after {began_s:.1f} s"),
        Figure("the lecturer's run has taken a step", f"after {taught_s:.1f} s"),
        Figure(f"{CLASS} have joined", f"after {joined_s:.1f} s, {AT_ONCE} at a time"),
        at_least("frames with new steps a second, slowest follower", min(frames), 1),
        at_most("age of what they see, p95", percentile(ages_s, 95), 2, "s"),
        at_most("a change of a setting until a follower has it, p95", percentile(changed_s, 95), 5, "s"),
        at_most("memory that is resident", resident_mb, MEMORY_MB, "MB"),
        at_most("memory that the limit counts", data_mb, MEMORY_MB, "MB"),
        *figures,
        Figure("followers with frames after that", f"{follow} of {CLASS}", "all", follow == CLASS),
        Figure("the server lives; errors in its log", f"{server.alive()}; {errors}", "True; 0", server.alive() and not errors),
        *load.figures(cores=0.5),
    ]  # fmt: skip


def run() -> list[Figure]:
    with ExitStack() as stack:
        with inherited():
            server = stack.enter_context(serve(*OPTIONS))
        stack.enter_context(half_of_the_time(server))
        return asyncio.run(teach(server))
