"""Processes that train together on this machine, and what they say as they go.

One job at a time: its processes start, are read by threads, and are gone when the job is over, however it ends.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.live.run import LEASE_S

ROOT = Path(__file__).parents[3]
PROCESSES = 2
NUM_STEPS = 300
PACE = 20
"""Steps a second: slow enough to be watched, and for others to have the processor."""
START_S = 40.0
SILENCE_S = 10.0
TIME_LIMIT_S = 90.0
ERROR_LINES = 100
"""Lines of a process's errors that are kept. In memory: there may be no folder for a file, or no room in it."""
PROGRESS = {"starting": "starting Python and JAX", "connected": "connected", "compiling": "compiling", "done": "done"}


class Report(NamedTuple):
    """A job at one moment.

    Attributes:
        ahead: jobs that have to end before this one starts.
        active: whether it changes by itself.
        message: one sentence if it was ended, else empty.
        progress: of each process, in words.
        losses: of each process, from its first step on.
    """

    ahead: int
    active: bool
    message: str
    elapsed_s: float
    first_loss_s: float | None
    progress: tuple[str, ...]
    losses: tuple[tuple[float, ...], ...]
    pids: tuple[int, ...]


class Line:
    """Jobs in the order in which they came. The first one runs."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._lock = threading.Lock()

    def join(self, job: Job) -> None:
        """Goes to the end."""
        with self._lock:
            self._jobs.append(job)

    def leave(self, job: Job) -> None:
        """The next one's turn."""
        with self._lock:
            self._jobs.remove(job)

    def ahead(self, job: Job) -> int:
        """How many have to end before it."""
        with self._lock:
            return self._jobs.index(job) if job in self._jobs else 0

    def running(self) -> Job | None:
        """The first one, if there is any."""
        with self._lock:
            return self._jobs[0] if self._jobs else None

    def __len__(self) -> int:
        return len(self._jobs)


LINE = Line()
"""The line of this process."""


def worker_commands(batch_size: int, learning_rate: float, seed: int) -> list[list[str]]:
    """The commands of all processes of a job, with a port that is free now for their coordinator."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return [
        [sys.executable, "-m", "lib.lessons.multi_device.worker", "--coordinator", f"127.0.0.1:{port}",
         "--processes", str(PROCESSES), "--process", str(process), "--batch-size", str(batch_size),
         "--learning-rate", str(learning_rate), "--seed", str(seed), "--steps", str(NUM_STEPS),
         "--pace", str(PACE), "--end-with-parent"]
        for process in range(PROCESSES)
    ]  # fmt: skip


class Job:
    """Some processes, from the press until all of them are gone.

    Args:
        commands: one a process. Each prints lines of JSON: `event`, and `step` and `loss` with the event `step`.
        start_s, silence_s, limit_s: seconds until the first step, between two lines after it, and for everything.
        lease_s: it is ended when nobody has looked for so long.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        line: Line = LINE,
        *,
        start_s: float = START_S,
        silence_s: float = SILENCE_S,
        limit_s: float = TIME_LIMIT_S,
        lease_s: float = LEASE_S,
    ) -> None:
        self._commands = commands
        self._line = line
        self._limits = (start_s, silence_s, limit_s, lease_s)
        self._begun = self._looked = time.monotonic()
        self._stopped = threading.Event()
        self._over_at: float | None = None
        self._message = ""
        self._first_loss_s: float | None = None
        self._progress = ["waiting"] * len(commands)
        self._losses: list[list[float]] = [[] for _ in commands]
        self._processes: list[subprocess.Popen] = []
        line.join(self)
        _jobs.add(self)
        threading.Thread(target=self._work, name="workers", daemon=True).start()

    def stop(self) -> None:
        """Ends it. Returns at once."""
        self._stopped.set()

    def kill(self) -> None:
        """Ends its processes at once, for a process that is going to end itself."""
        self._stopped.set()
        for process in self._processes:
            process.kill()

    def look(self) -> Report:
        """The job as it is. Looking keeps it going."""
        self._looked = time.monotonic()
        return self.report()

    def report(self) -> Report:
        """The job as it is, for those who only watch it."""
        now = time.monotonic()
        return Report(
            ahead=self._line.ahead(self), active=self._over_at is None, message=self._message,
            elapsed_s=(self._over_at or now) - self._begun, first_loss_s=self._first_loss_s,
            progress=tuple(self._progress), losses=tuple(tuple(losses) for losses in self._losses),
            pids=tuple(process.pid for process in self._processes),
        )  # fmt: skip

    def _work(self) -> None:
        errors: list[deque[str]] = []
        try:
            while self._line.ahead(self):
                if ended := self._ended():
                    self._message = ended
                    return
                time.sleep(0.05)
            said: queue.Queue[tuple[int, str]] = queue.Queue()
            self._begun = time.monotonic()
            for process, command in enumerate(self._commands):
                errors.append(deque(maxlen=ERROR_LINES))
                started = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)},
                )  # fmt: skip
                self._processes.append(started)
                self._progress[process] = PROGRESS["starting"]
                threading.Thread(target=_read, args=(started, process, said, errors[-1]), daemon=True).start()
            self._message = self._follow(said, errors)
        except OSError as error:
            self._message = f"The processes could not be started ({error.strerror}); press Start again in a while."
        finally:
            for ended_one in self._processes:
                ended_one.kill()  # also a stopped one; whatever has ended already is left as it is
            for ended_one in self._processes:
                ended_one.wait()
            self._line.leave(self)
            self._over_at = time.monotonic()

    def _ended(self) -> str:
        """Why it has to end though nothing is wrong with it, or empty."""
        *_, lease_s = self._limits
        if self._stopped.is_set():
            return "Stopped."
        if time.monotonic() - self._looked > lease_s:
            return "Nobody looked any longer, so the processes were ended."
        return ""

    def _follow(self, said: queue.Queue[tuple[int, str]], errors: list[deque[str]]) -> str:
        """Takes in what the processes say until all have ended; says what went wrong, if anything did."""
        start_s, silence_s, limit_s, _ = self._limits
        heard = time.monotonic()
        done = [False] * len(self._commands)
        while not all(done):
            if ended := self._ended():
                return ended
            try:
                process, text = said.get(timeout=0.1)
            except queue.Empty:
                now = time.monotonic()
                if now - self._begun > limit_s:
                    return f"The run has reached its time limit of {limit_s:g} s, so its processes were ended."
                if now - heard > (silence_s if self._first_loss_s is not None else start_s):
                    return f"{self._silent()} for {now - heard:.0f} s, so all were ended; press Start to begin anew."
                continue
            heard = time.monotonic()
            if text:
                done[process] |= self._take(process, text)
            elif not done[process]:
                return self._death(process, errors[process])
        return ""

    def _take(self, process: int, text: str) -> bool:
        """Takes in one line. Whether it is the last."""
        try:
            line = json.loads(text)
            event = line["event"]
            if event == "step":
                self._losses[process].append(float(line["loss"]))
                self._progress[process] = f"step {line['step']:,}"
                if self._first_loss_s is None:
                    self._first_loss_s = time.monotonic() - self._begun
            else:
                self._progress[process] = PROGRESS[event]
        except (ValueError, KeyError, TypeError):
            return False  # a library's own words on standard output
        return event == "done"

    def _silent(self) -> str:
        """Who has not been heard of, as far as one can tell: in a collective, all wait for one."""
        steps = [len(losses) for losses in self._losses]
        behind = [process for process, count in enumerate(steps) if count < max(steps)]
        return f"Process {behind[0]} has not answered" if behind else "No process has reported a step"

    def _death(self, process: int, errors: deque[str]) -> str:
        code = self._processes[process].wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        last = next((line.strip() for line in reversed(errors) if "Error" in line), "")
        why = f" ({last[:160]})" if last and code > 0 else ""
        return (
            f"Process {process} {how}{why}, and every step needs all of them, so the others were ended too; "
            "press Start to begin anew."
        )


def _read(process: subprocess.Popen, number: int, said: queue.Queue[tuple[int, str]], errors: deque[str]) -> None:
    """Hands on each line, and an empty one when there will be no more and the last errors are kept."""
    assert process.stdout is not None and process.stderr is not None
    keeping = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
    keeping.start()
    with process.stdout, process.stderr:
        for text in process.stdout:
            said.put((number, text))
        keeping.join()
    said.put((number, ""))


_jobs: weakref.WeakSet[Job] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """No process outlives this one: what is killed itself closes their standard input instead."""
    for job in list(_jobs):
        job.kill()
