"""What fails outside of the app, and what whoever sits before it is told: a table of faults.

Processes are stopped and killed, connections cut, folders made unwritable by the system's own means. Those that need
Linux and a user who may mount are left out elsewhere, and the table says so.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Error, Page
from report import Figure
from websocket_tab import Tab

from lib.lessons.multi_device.processes import Job, Line, Report, worker_commands
from tests.harness import (
    ROOT,
    STANDS,
    Server,
    alive,
    children,
    chromium,
    free_port,
    open_page,
    press,
    serve,
    step_of,
    wait_for_frames,
    wait_for_stat,
)  # fmt: skip

CUTS_S = (10.0, 100.0)
ASLEEP_S = 600.0
WAKES_S = 30.0
ENDS_S = 2.0
PATIENCE_S = 120.0


def seen(what: str, text: str, wanted: str, met: bool | None = None) -> Figure:
    """A row: what was seen, and whether it has what it should have, a regular expression unless it is judged already."""
    said = " ".join(text.split()).replace("|", "/")
    found = bool(re.search(wanted, said)) if met is None else met
    return Figure(what, said[-240:] or "nothing", wanted, found)


# The connection.


class Wire:
    """A way to a server that can be cut."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, free_port()
        self._ends: list[socket.socket] = []
        self._whole = False
        self.mend()

    def mend(self) -> None:
        self._whole = True
        self._door = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._open, args=(self._door,), daemon=True).start()

    def cut(self) -> None:
        self._whole = False
        for end in [self._door, *self._ends]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def _open(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = door.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [here, there]
                for way in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def begin_run(page: Page, url: str) -> None:
    open_page(page, f"{url}/training?seed=7&training_pace=20")
    press(page, "Run")
    wait_for_stat(page, "Step", "[1-9]")


def comes_back(page: Page, before: int) -> tuple[float, int]:
    """Seconds until frames come again, and the first step that they show."""
    begun, first = time.monotonic(), 0
    with suppress(Error):
        page.set_default_timeout(1e3 * PATIENCE_S)
        wait_for_frames(page, 3)
        first = step_of(page)
        page.wait_for_selector(STANDS)
    return time.monotonic() - begun, first


def connections() -> Iterator[Figure]:
    """Cuts of the connection, and a browser that sleeps."""
    with serve() as server, chromium() as browser, ExitStack() as wires:
        port = int(server.url.rpartition(":")[2])
        pages, sides = [], []
        for _ in CUTS_S:
            wire = Wire(port)
            wires.callback(wire.cut)
            pages.append(browser.new_page(viewport={"width": 1600, "height": 1000}))
            begin_run(pages[-1], f"http://127.0.0.1:{wire.port}")
            sides.append(wire)
        befores = [step_of(page) for page in pages]
        for wire in sides:
            wire.cut()
        cut_at = time.monotonic()
        for page, wire, before, cut_s in zip(pages, sides, befores, CUTS_S, strict=True):
            time.sleep(max(0.0, cut_at + cut_s - time.monotonic()))
            told = page.evaluate("document.body.innerText.match(/connect\\w*[^\\n]*/i)?.[0] ?? ''")
            wire.mend()
            took_s, first = comes_back(page, before)
            kept = first >= before and "seed=7" in page.url
            yield Figure(
                f"connection cut for {cut_s:g} s", f"“{told}”; step {before}, {first} {took_s:.1f} s after the mend",
                f"the run goes on within {WAKES_S:g} s", kept and took_s < WAKES_S,
            )  # fmt: skip


def asleep() -> Iterator[Figure]:
    """A browser all of whose processes stand still, as those of a laptop that is shut."""
    with serve() as server, chromium() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        begin_run(page, server.url)
        before, memory_mb = step_of(page), server.memory_mb()
        processes = [pid for pid in children(os.getpid()) if pid != server.process.pid and is_browser(pid)]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(ASLEEP_S / 2)
        at_half, begun = server.cpu_s(), time.monotonic()
        time.sleep(max(0.0, ASLEEP_S / 2))
        idle = (server.cpu_s() - at_half) / (time.monotonic() - begun)
        grown_mb = server.memory_mb() - memory_mb
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
        took_s, _ = comes_back(page, before)
        yield Figure(
            f"a browser asleep for {ASLEEP_S:g} s", f"step {before} before, {step_of(page)} after {took_s:.1f} s; {page.url}",
            "its settings stand, and its run can go on", "seed=7" in page.url,
        )  # fmt: skip
        yield Figure("meanwhile the server: processors busy", f"{idle:.3f}", "at most 0.05", idle <= 0.05)
        yield Figure("meanwhile the server: memory grown by", f"{grown_mb:.0f} MB", "at most 20 MB", grown_mb <= 20)


def is_browser(pid: int) -> bool:
    said = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "chrom" in said


# The end of the server.


async def busy(url: str, opened: asyncio.Event, over: threading.Event) -> None:
    """A run, a measurement and two processes, until it is over."""
    tabs = [Tab(url, "training"), Tab(url, "jit_grad", "jit_grad_panel=Timings"), Tab(url, "multi_device", "multi_device_panel=Processes")]  # fmt: skip
    presses = ("Run", "Measure", "Start two processes")
    for tab in tabs:
        await tab.__aenter__()
    pressed = [asyncio.create_task(tab.press(label)) for tab, label in zip(tabs, presses, strict=True)]
    opened.set()
    while not over.is_set():
        await asyncio.sleep(0.1)
    for task in pressed:
        task.cancel()


def terminated() -> Iterator[Figure]:
    """SIGTERM while a run, a measurement and two processes go on."""
    with serve() as server, chromium() as browser:
        page = browser.new_page()
        begin_run(page, server.url)
        over = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(busy(server.url, asyncio.Event(), over)), daemon=True)
        thread.start()
        until(lambda: len(children(server.process.pid)) >= 2)
        left = children(server.process.pid)
        time.sleep(1.0)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        ended = until(lambda: not server.alive(), 30.0)
        took_s = time.monotonic() - begun
        time.sleep(0.5)
        left = [pid for pid in left if alive(pid)]
        over.set()
        yield Figure(
            "SIGTERM with a run, a measurement and two processes", f"{'ended' if ended else 'alive'} after {took_s:.1f} s, {len(left)} processes left",
            f"ended within {ENDS_S:g} s, none left", ended and took_s <= ENDS_S and not left,
        )  # fmt: skip
        said = ""
        with suppress(Error):
            page.wait_for_function("/connect/i.test(document.body.innerText)", timeout=20_000)
            said = page.evaluate("document.body.innerText.match(/[^\\n]*connect[^\\n]*/i)[0]")
        yield seen("the tab of its visitor", said, "(?i)connect")
        thread.join(10)


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Waits until something holds; whether it came to hold."""
    deadline = time.monotonic() + timeout_s
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(held)


# The processes of /multi_device.


def blown(blow: signal.Signals, steps: int) -> Report:
    """What a job says one of whose processes is stopped or killed after so many steps."""
    job = Job(worker_commands(32, 0.03, 0), Line())
    ready = (lambda: len(job.look().pids) == 2) if not steps else (lambda: min(map(len, job.look().losses)) >= steps)
    until(ready)
    os.kill(job.look().pids[1], blow)
    until(lambda: not job.look().active)
    return job.report()


def workers() -> Iterator[Figure]:
    """One of two processes that train together stops, or is killed, before and after its first step."""
    for blow, wanted in (
        (signal.SIGKILL, "killed by signal 9.*press Start"),
        (signal.SIGSTOP, "all were ended; press Start"),
    ):
        for steps in (0, 3):
            report = blown(blow, steps)
            gone = not any(map(alive, report.pids))
            when = "before its first step" if not steps else f"after {steps} steps"
            row = seen(f"{blow.name} to one of two processes {when}", report.message, wanted)
            yield row._replace(met=bool(row.met) and gone)


# The start of the server, and its folders.


def started(env: dict[str, str] | None = None, *options: str) -> tuple[int | None, str]:
    """Starts the server as the README does: how it ended, None if it did not, and what it said."""
    command = [sys.executable, "-m", "streamlit", "run", "dashboard.py", "--server.headless=true", "--server.address=127.0.0.1", *options]  # fmt: skip
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | (env or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S
        )  # fmt: skip
        return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    return None, ""


def starts() -> Iterator[Figure]:
    """A port that is taken, a platform that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = started(None, f"--server.port={port}")
    yield seen("a port that is taken", said, f"Port {port} is not available")._replace(
        met=code == 1 and "Traceback" not in said
    )
    code, said = started({"JAX_PLATFORMS": "abacus"}, f"--server.port={free_port()}")
    row = seen(
        "JAX_PLATFORMS=abacus",
        said.partition("JAX cannot")[2] and "JAX cannot" + said.partition("JAX cannot")[2],
        "unset it",
    )
    yield row._replace(met=bool(row.met) and code == 1 and "Traceback" not in said)


FOLDERS = {
    "no temporary folder that can be written": "mount -o remount,bind,ro /",
    "a temporary folder that is full": (
        "mount -t tmpfs -o size=64k tmpfs /var/tmp; export TMPDIR=/var/tmp; mount -o remount,bind,ro /; "
        "dd if=/dev/zero of=/var/tmp/full 2>/dev/null; truncate -s -4k /var/tmp/full"
    ),
}


@contextmanager
def serve_with(mounts: str) -> Iterator[Server]:
    """A server in a name space of its own, after these mounts.

    Raises:
        RuntimeError: it has ended, or does not answer.
    """
    port = free_port()
    command = f"{mounts}; exec {sys.executable} -m streamlit run dashboard.py --server.headless=true --server.address=127.0.0.1 --server.port={port}"  # fmt: skip
    log_file = ROOT / "tests" / f".faults-{port}.log"
    with log_file.open("w") as log:
        whole = ["unshare", "--mount", "--", "sh", "-c", command]
        process = subprocess.Popen(whole, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        server = Server(process, f"http://127.0.0.1:{port}", log_file)
        server.wait_for_health(PATIENCE_S)
        yield server
    finally:
        process.kill()
        process.wait()
        log_file.unlink()


def may_mount() -> bool:
    """Whether this user may mount something in a name space of its own."""
    if not shutil.which("unshare"):
        return False
    return not subprocess.run(
        ["unshare", "--mount", "--", "mount", "-o", "remount,bind,ro", "/"], capture_output=True
    ).returncode


def folders() -> Iterator[Figure]:
    """No folder for what is kept for a moment, or no room in it: what each of the app's users of one says."""
    if not may_mount():
        yield Figure("no temporary folder, a full one", "not tried: this user may not mount")
        return
    for what, mounts in FOLDERS.items():
        with serve_with(mounts) as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            begin_run(page, server.url)
            yield seen(f"{what}: a run", f"step {step_of(page)}", "step [1-9]")
            open_page(page, f"{server.url}/multi_device?multi_device_panel=Processes")
            press(page, "Start two processes")
            page.wait_for_function("/could not be started|first loss/.test(document.body.innerText)")
            said = page.evaluate("document.body.innerText.match(/[^\\n]*(could not be started|first loss)[^\\n]*/)[0]")
            yield seen(f"{what}: two processes", said, "temporary folder.*TMPDIR|first loss")
            open_page(page, f"{server.url}/compilation?compilation_panel=Export")
            press(page, "Measure")
            page.wait_for_function("/(ended|failed): |first start/.test(document.body.innerText)")
            said = page.evaluate("document.body.innerText.match(/[^\\n]*((ended|failed): |first start)[^\\n]*/)[0]")
            yield seen(f"{what}: the measurement under Export", said, "temporary folder.*TMPDIR|first start")
            errors = server.errors()
            yield Figure(f"{what}: errors in the server's log", f"{errors}", "0", not errors)


FAULTS = {
    "connections": connections, "terminated": terminated, "workers": workers, "starts": starts, "folders": folders,
    "asleep": asleep,
}  # fmt: skip


def run(*names: str) -> list[Figure]:
    figures: list[Figure] = []
    for name in names or FAULTS:
        for figure in FAULTS[name]():
            print(figure, flush=True)
            figures.append(figure)
    return figures


if __name__ == "__main__":
    run(*sys.argv[1:])
