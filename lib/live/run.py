"""A live run: steps go on in the background while somebody looks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from lib.live.engine import Engine
from lib.live.history import History
from lib.live.program import Chunk, Program, compute_chunk, request_program, start_state, steps_key
from lib.routines.problem import Problem, TrainState

LEASE_S = 8.0
"""A run goes on for so long after the last look at it."""
CHUNK_S = (0.025, 0.1)
"""A chunk lasts about so long: the first with many runs on the processor, the second alone."""
RATE_WINDOW_S = 3.0
PICTURE_S = 0.4
"""At full speed a picture is at least so old before the next is drawn: its browser shares the processor."""
AXES = ("step", "seconds", "examples")
UNLIMITED = 2**31 - 1


class Status(Enum):
    """What a run is doing, as the page says it."""

    READY = "ready"
    COMPILING = "compiling"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "reached its last step"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Spec:
    """What to run. Two specs of equal `lineage` go on from each other's state.

    Attributes:
        data: a pytree of NumPy arrays; `data_id` says which, for comparison.
    """

    problem: Problem
    device: jax.Device
    seed: int
    data: Any = ()
    data_id: Any = None

    @cached_property
    def placed_data(self) -> Any:
        """The data on the device."""
        return jax.device_put(self.data, self.device)

    @property
    def lineage(self) -> Any:
        """What a state depends on."""
        return self.problem.lineage, self.seed, self.data_id

    @property
    def identity(self) -> Any:
        """Everything, apart from the arrays themselves."""
        return self.problem, self.device, self.seed, self.data_id


class Compilation(NamedTuple):
    """A program that a run got, new or shared."""

    step: int
    program: Program
    waited_s: float
    shared: bool
    change: str


class Snapshot(NamedTuple):
    """A run at one moment, for a page to draw.

    Attributes:
        coordinates: float64[points, 3]: step, seconds of computing, examples seen.
        values: float32[points, series], in the order of `series`: the loss first.
        seen: the same for what the pictures report (`test_loss`, ...).
        since_s: how long the present compilation has been going on.
    """

    status: Status
    message: str
    step: int
    examples: int
    computing_s: float
    steps_per_s: float
    ms_per_step: float
    learning_rate: float
    batch_size: int
    device: str
    series: tuple[str, ...]
    coordinates: np.ndarray
    values: np.ndarray
    latest: np.ndarray | None
    seen_series: tuple[str, ...]
    seen_coordinates: np.ndarray
    seen_values: np.ndarray
    picture: dict[str, np.ndarray] | None
    compilations: tuple[Compilation, ...]
    events: tuple[tuple[int, str], ...]
    since_s: float
    active: bool
    """Whether it changes by itself."""
    queue: int
    """Turns being taken or waited for on its processor."""
    audience: int
    """Active runs that somebody looks at, this one among them."""
    measuring: bool
    """Whether everybody waits for a measurement."""


class LiveRun:
    """One visitor's run on one page. Every method returns at once; the engine's threads do the work."""

    def __init__(self, engine: Engine, clock: Any = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.RLock()
        self._spec: Spec | None = None
        self._learning_rate = 0.0
        self._pace: float | None = None
        self._lease = 0.0
        self._generation = 0
        self._busy = False
        self._clear()

    def _clear(self) -> None:
        """Before the first step. Whatever is being computed for the run as it was is ignored when it comes."""
        self._generation += 1
        self._busy = False
        self._program: Program | None = None
        self._compiling_since: float | None = None
        self._change = ""
        self._state: TrainState | None = None
        self._target = 0
        self._at_target = Status.PAUSED
        self._step = 0
        self._examples = 0
        self._computing_s = 0.0
        self._status = Status.READY
        self._message = ""
        self._step_s: float | None = None
        self._history: History | None = None
        self._series: tuple[str, ...] = ()
        self._latest: np.ndarray | None = None
        self._seen: History | None = None
        self._seen_series: tuple[str, ...] = ()
        self._picture: dict[str, np.ndarray] | None = None
        self._picture_step = 0
        self._picture_at = -PICTURE_S
        self._last_rate: float | None = None
        self._want_picture = True
        self._compilations: deque[Compilation] = deque(maxlen=20)
        self._events: deque[tuple[int, str]] = deque(maxlen=20)
        self._recent: deque[tuple[float, int]] = deque()
        self._paced_from = (0.0, 0)

    # What the page says.

    def configure(self, spec: Spec, learning_rate: float, pace: float | None = None) -> None:
        """Takes over the page's settings; called at every script run.

        Args:
            learning_rate: holds from the next chunk on, without compiling.
            pace: steps a second, or None for as many as the processor gives.
        """
        with self._lock:
            if pace != self._pace:
                self._pace = pace
                self._paced_from = (self._clock(), self._step)
            self._learning_rate = learning_rate
            if self._spec is not None and spec.identity == self._spec.identity:
                return
            before, self._spec = self._spec, spec
            goes_on = self._status in (Status.RUNNING, Status.COMPILING)
            if before is None or self._state is None or before.lineage != spec.lineage:
                target, at_target = self._target, self._at_target
                self._clear()
                if goes_on:
                    self._go(target, at_target)
            else:
                self._change = _difference(before, spec)
                self._program = None
                if goes_on:
                    self._advance()

    def run(self, stop_at: int | None = None) -> None:
        """Goes on until `stop_at`, or until it is paused."""
        with self._lock:
            if stop_at is not None and stop_at <= self._step:
                self._status = Status.FINISHED
                self._message = f"The run is at step {self._step:,} already; raise the last step, or Reset."
                return
            self._go(UNLIMITED if stop_at is None else stop_at, Status.FINISHED)

    def step(self) -> None:
        """Takes one step."""
        with self._lock:
            self._go(self._step + 1, Status.PAUSED)

    def _go(self, target: int, at_target: Status) -> None:
        self._target = target
        self._at_target = at_target
        self._message = ""
        self._status = Status.RUNNING
        self._lease = self._clock() + LEASE_S
        self._recent.clear()
        self._paced_from = (self._clock(), self._step)
        self._advance(looked=True)

    def pause(self) -> None:
        """Stops after the chunk that is being computed."""
        with self._lock:
            self._target = 0
            if self._status in (Status.RUNNING, Status.COMPILING):
                self._status = Status.PAUSED

    def reset(self) -> None:
        """Back to the step before the first."""
        with self._lock:
            self._clear()

    def look(self) -> Snapshot:
        """The run as it is. Looking keeps it going."""
        with self._lock:
            now = self._clock()
            self._lease = now + LEASE_S
            if self._pace is not None or now >= self._picture_at + PICTURE_S:
                self._want_picture = True
            self._advance(looked=True)
            active = self._status in (Status.RUNNING, Status.COMPILING) or self._busy
            self._engine.looked_at(id(self), self._lease if active else None)
            nothing = np.empty((0, len(AXES)))
            coordinates, values = self._history.points() if self._history else (nothing, np.empty((0, 0)))
            seen_at, seen = self._seen.points() if self._seen else (nothing, np.empty((0, 0)))
            return Snapshot(
                status=self._status, message=self._message, step=self._step, examples=self._examples,
                computing_s=self._computing_s, steps_per_s=self._rate(now),
                ms_per_step=1e3 * (self._step_s or 0.0), learning_rate=self._learning_rate,
                batch_size=self._spec.problem.batch_size if self._spec else 0,
                device=str(self._spec.device) if self._spec else "",
                series=self._series, coordinates=coordinates, values=values, latest=self._latest,
                seen_series=self._seen_series, seen_coordinates=seen_at, seen_values=seen,
                picture=self._picture, compilations=tuple(self._compilations), events=tuple(self._events),
                since_s=0.0 if self._compiling_since is None else now - self._compiling_since,
                active=active,
                audience=self._engine.audience(now),
                queue=self._engine.load(self._spec.device) if self._spec else 0,
                measuring=self._engine.measuring,
            )  # fmt: skip

    def _rate(self, now: float) -> float:
        """Steps a second by the clock on the wall, over the last seconds."""
        if len(self._recent) < 2 or self._status is not Status.RUNNING:
            return 0.0
        (t0, s0), (t1, s1) = self._recent[0], self._recent[-1]
        return (s1 - s0) / max(t1 - t0, now - RATE_WINDOW_S - t0, 1e-9)

    # What the engine does.

    def _advance(self, looked: bool = False) -> None:
        """Submits the next piece of work, unless one is under way or none is wanted. Holds the lock.

        A run with a pace goes on at looks alone: else it would take its steps one by one, as each falls due.
        """
        if self._busy or self._spec is None:
            return
        if self._status not in (Status.RUNNING, Status.COMPILING):
            if self._program is not None and self._state is not None and self._picture_step != self._step:
                self._submit(0, want_picture=True)  # the run has come to rest: show it as it is
            return
        if self._step >= self._target:
            self._status = self._at_target
            self._advance()
            return
        if self._clock() > self._lease:
            return  # nobody looks; the next look goes on
        if self._program is None:
            self._compile()
            return
        count = self._chunk_steps()
        if count < 1 or (self._pace is not None and not looked):
            self._status = Status.RUNNING
            return
        self._status = Status.RUNNING
        want_picture, self._want_picture = self._want_picture, False
        self._submit(count, want_picture)

    def _submit(self, count: int, want_picture: bool) -> None:
        """Has a chunk computed, in its turn."""
        assert self._spec is not None
        spec, rate = self._spec, self._learning_rate
        # What is computed already, or waits in the queue, goes by the settings as they were.
        if count and self._last_rate is not None and rate != self._last_rate:
            self._events.append((self._step, f"learning rate {self._last_rate:g} → {rate:g}"))
        self._last_rate = rate if count else self._last_rate
        future = self._engine.submit(
            spec.device, self._chunk, self._program, self._state, spec, rate, count, want_picture
        )
        self._busy = True
        future.add_done_callback(self._handover(lambda chunk: self._took_chunk(chunk, spec, rate)))

    def _handover(self, take: Callable[[Any], None]) -> Callable[[Future], None]:
        """What hands a result over under the lock, unless the run has been reset meanwhile."""
        generation = self._generation

        def done(future: Future) -> None:
            with self._lock:
                if generation != self._generation:
                    return
                self._busy = False
                try:
                    take(future.result())
                    self._advance()
                except Exception as error:  # whatever a chunk raises ends this run, and no other
                    self._fail(error)

        return done

    def _fail(self, error: Exception) -> None:
        self._status = Status.FAILED
        self._target = 0
        self._compiling_since = None
        self._program = None
        text = str(error).strip() or type(error).__name__
        self._message = text if len(text) < 1500 else text[:1500] + " ..."

    def _compile(self) -> None:
        assert self._spec is not None
        self._busy = True
        self._status = Status.COMPILING
        self._compiling_since = self._clock()
        spec = self._spec
        shared = self._engine.programs.has(steps_key(spec.problem, spec.data, spec.device))
        done = self._handover(lambda program: self._took_program(spec, program, shared))
        request_program(self._engine, spec.problem, spec.data, spec.device, done)

    def _took_program(self, spec: Spec, program: Program, shared: bool) -> None:
        assert self._compiling_since is not None
        waited_s = self._clock() - self._compiling_since
        self._compiling_since = None
        if self._status is Status.COMPILING:
            self._status = Status.RUNNING
        if self._spec is None or spec.identity != self._spec.identity:
            return  # the settings changed while it compiled; the next one is asked for
        self._program = program
        if self._change:
            self._events.append((self._step, self._change))
        self._compilations.append(Compilation(self._step, program, waited_s, shared, self._change))
        self._step_s = None
        self._recent.clear()

    def _chunk_steps(self) -> int:
        """How many steps make a chunk of the right length, within pace and target."""
        assert self._program is not None and self._spec is not None
        load = max(1, self._engine.load(self._spec.device))
        seconds = min(CHUNK_S[1], max(CHUNK_S[0], 0.25 / load))
        count = int(seconds / self._step_s) if self._step_s else 1
        if self._pace is not None:
            since, at = self._paced_from
            due = at + int((self._clock() - since) * self._pace) - self._step
            if due > self._pace:  # a second or more behind: do not catch up in one leap
                self._paced_from = (self._clock(), self._step)
                due = 1
            return min(max(count, 1), due, self._program.steps.capacity, self._target - self._step)
        return max(1, min(count, self._program.steps.capacity, self._target - self._step))

    @staticmethod
    def _chunk(
        program: Program, state: TrainState | None, spec: Spec, learning_rate: float, count: int, want_picture: bool
    ) -> Chunk:
        if state is None:
            state = start_state(program, spec.seed, spec.placed_data)
        return compute_chunk(program, state, spec.placed_data, learning_rate, count, want_picture)

    def _took_chunk(self, chunk: Chunk, spec: Spec, learning_rate: float) -> None:
        count, now = chunk.num_steps, self._clock()
        self._state = chunk.state
        if count:
            self._record(chunk, spec.problem.batch_size)
            took = chunk.elapsed_s / count
            if not chunk.diverged:
                # The first chunk is short and measures its own overhead: grow towards the right length.
                self._step_s = took if self._step_s is None or count > 8 else max(took, self._step_s / 8)
            self._recent.append((now, self._step))
            while self._recent[0][0] < now - RATE_WINDOW_S and len(self._recent) > 2:
                self._recent.popleft()
        if chunk.picture is not None:
            self._picture, self._picture_step, self._picture_at = chunk.picture, self._step, now
            self._see(chunk.picture)
        if chunk.diverged:
            self._target = 0
            self._status = Status.DIVERGED
            self._message = (
                f"Step {self._step + 1:,} would make {chunk.diverged} infinite or not a number "
                f"at learning rate {learning_rate:g}. Everything up to step {self._step:,} is kept. "
                "Take a lower learning rate and press Run to go on from here, or Reset to start anew."
            )

    def _record(self, chunk: Chunk, batch_size: int) -> None:
        """Puts the metrics of a chunk into the history."""
        count = chunk.num_steps
        metrics = {"loss": chunk.metrics["loss"]} | chunk.metrics  # JAX sorts by name; the loss is the first series
        if self._history is None:
            self._series = tuple(
                name if values.ndim == 1 else f"{name} {i}"
                for name, values in metrics.items()
                for i in range(1 if values.ndim == 1 else values.shape[1])
            )
            # A frame stays below 10 kB however many series there are: 1400 numbers of 4 bytes, twice that with few series.
            buckets = max(16, min(240, 700 // len(self._series) // 2 * 2))
            self._history = History(len(self._series), buckets, len(AXES))
        done = np.arange(1, count + 1)
        coordinates = np.stack(
            [
                self._step + done,
                self._computing_s + done * (chunk.elapsed_s / count),
                self._examples + done * batch_size,
            ],
            axis=1,
        )
        values = np.concatenate([v.reshape(count, -1) for v in metrics.values()], axis=1)
        self._history.append(coordinates.astype(np.float64), values)
        self._latest = values[-1]
        self._step += count
        self._computing_s += chunk.elapsed_s
        self._examples += count * batch_size

    def _see(self, picture: dict[str, np.ndarray]) -> None:
        """Puts the scalars of a picture into their own history."""
        scalars = {name: float(value) for name, value in picture.items() if value.ndim == 0}
        if not scalars or not all(np.isfinite(list(scalars.values()))):
            return
        if self._seen is None:
            self._seen_series = tuple(scalars)
            self._seen = History(len(scalars), 80, len(AXES))
        row = np.array([list(scalars.values())], np.float32)
        self._seen.append(np.array([[self._step, self._computing_s, self._examples]], np.float64), row)


def _difference(before: Spec, after: Spec) -> str:
    """What changed between two specs of one lineage, for people."""
    changes = []
    if is_dataclass(before.problem) and is_dataclass(after.problem):
        for field in fields(after.problem):
            old, new = (getattr(spec.problem, field.name) for spec in (before, after))
            if old != new:
                changes.append(f"{field.name.replace('_', ' ')} {old} → {new}")
    if before.device != after.device:
        changes.append(f"device {before.device} → {after.device}")
    return ", ".join(changes)
