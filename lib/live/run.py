"""A live run: steps go on in the background while somebody looks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from lib.live import memory
from lib.live.engine import Engine, Unwanted, Wish
from lib.live.pace import Pace
from lib.live.program import Chunk, Steps
from lib.live.recorder import Recorder, StepTimes
from lib.live.worker import LocalWorker, Opened, Spec, WorkerLost, place
from lib.routines.mistakes import without_paths
from lib.routines.problem import check_hashable

LEASE_S = 8.0
"""A run goes on for so long after the last look at it."""
PICTURE_S = 0.4
"""At full speed a picture is at least so old before the next is drawn: its browser shares the processor."""
UNLIMITED = 2**31 - 1
MAX_SUSPECT = 1
"""So many workers a run may lose in a row before they have computed any of it."""


class Status(Enum):
    """What a run is doing, as the page says it."""

    READY = "ready"
    COMPILING = "compiling"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "reached its last step"
    DIVERGED = "diverged"
    FAILED = "failed"


class Compilation(NamedTuple):
    """A program that a run got, new or shared.

    Attributes:
        step: after which it took over.
        steps: what is to be said of it, without the program itself: a run must not keep those that it has left behind.
        waited_s: until it was there.
        shared: whether it was compiled, or being compiled, when the run asked for it.
        change: why another one was needed, in words; empty for the first.
        first_ms: its first execution in this run, of one step; None until then.
    """

    step: int
    steps: Steps
    waited_s: float
    shared: bool
    change: str
    first_ms: float | None = None


class Snapshot(NamedTuple):
    """A run at one moment, for a page to draw.

    Attributes:
        coordinates: float64[points] for each of `recorder.AXES`: step, seconds of computing, examples seen.
        metrics: float32[points, ...] by name: what each step reports, `loss` among it; of each bucket of steps the mean.
        lows, highs: the same, of each bucket the minimum and the maximum.
        latest: the metrics of the last step, empty before the first.
        observed_coordinates, observed: as `coordinates` and `metrics`, for what is observed between chunks (`test_loss`).
        latest_observed: what was observed last; empty before the first step.
        step_ms: how long a step took, chunk by chunk, without the first execution of each program.
        events: after which step what was changed, in words; or where it diverged.
        since_s: how long the present compilation has been going on.
        active: whether it changes by itself.
        audience: active runs that somebody looks at, this one among them.
        changed_at: when its newest step was there, in seconds since the epoch.
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
    coordinates: dict[str, np.ndarray]
    metrics: dict[str, np.ndarray]
    lows: dict[str, np.ndarray]
    highs: dict[str, np.ndarray]
    latest: dict[str, np.ndarray]
    observed_coordinates: dict[str, np.ndarray]
    observed: dict[str, np.ndarray]
    latest_observed: dict[str, np.ndarray]
    step_ms: StepTimes
    picture: dict[str, np.ndarray] | None
    compilations: tuple[Compilation, ...]
    events: tuple[tuple[int, str], ...]
    since_s: float
    active: bool
    audience: int
    changed_at: float


class GoodPoint(NamedTuple):
    """Where to go back to.

    Attributes:
        record: what the run had shown by then.
        learning_rate: of the step that led there.
    """

    state: Any
    record: Recorder
    learning_rate: float | None


class LiveRun:
    """One visitor's run on one page. Every method returns at once; the engine's threads do the work.

    What it has shown is in its `Recorder`, how many steps it takes at a time in its `Pace`; this is when it does what.

    Attributes:
        on_change: called from any thread when it has changed by itself, with whether others wait for the processor whose
            thread this is.
    """

    def __init__(self, engine: Engine, clock: Any = time.monotonic) -> None:
        self.on_change: Callable[[bool], None] = lambda _: None
        self._engine = engine
        self._local = LocalWorker(engine)
        self._clock = clock
        self._lock = threading.RLock()
        self._spec: Spec | None = None
        self._learning_rate = 0.0
        self._lease = 0.0
        self._generation = 0
        self._pace = Pace()
        self._clear()

    def _clear(self) -> None:
        """Before the first step."""
        self._ignore_asked()
        self._recorder = Recorder()
        self._pace.restart()
        self._opened: Opened | None = None
        self._compiling_since: float | None = None
        self._change = ""
        self._state: Any = None  # what the worker has of it, None at the start
        self._good: GoodPoint | None = None
        self._saved: GoodPoint | None = None  # to go on from if its worker is lost
        self._suspect = 0  # workers that were lost with this run before they had computed any of it
        self._innocent = False
        self._first_loss = self._lowest_loss = float("inf")
        self._target = 0
        self._due = 0
        self._at_target = Status.PAUSED
        self._status = Status.READY
        self._message = ""
        self._want_picture = True
        self._picture_at = -PICTURE_S
        self._begun_at = self._clock()
        self._changed_at = time.time()
        self._last_rate: float | None = None
        self._taken_rate: float | None = None
        self._compilations: deque[Compilation] = deque(maxlen=20)
        self._events: deque[tuple[int, str]] = deque(maxlen=20)

    def _ignore_asked(self) -> None:
        """Whatever is being computed for the run as it was is ignored when it comes."""
        self._generation += 1
        self._wish: Wish | None = None  # for programs that are on their way
        self._asked = 0  # pieces of work that are on their way, a compilation or chunks
        self._asked_steps = 0
        self._asked_state: Any = None  # after the last of them

    # What the page says.

    def configure(self, spec: Spec, learning_rate: float, pace: float | None = None) -> None:
        """Takes over the page's settings; called at every script run.

        Args:
            learning_rate: holds from the next chunk on, without compiling.
            pace: steps a second, or None for as many as the processor gives.

        Raises:
            ProblemError: the problem is not one that can be run; the sentence says what to do.
        """
        check_hashable(spec.problem)
        with self._lock:
            if pace != self._pace.limit:
                self._pace.limit = pace
                self._pace.begin(self._clock(), self._recorder.step)
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
                self._opened = self._wish = None
                if goes_on:
                    self._advance()

    def run(self, stop_at: int | None = None) -> None:
        """Goes on until `stop_at`, or until it is paused."""
        with self._lock:
            if stop_at is not None and stop_at <= self._recorder.step:
                self._status = Status.FINISHED
                self._message = f"The run is at step {self._recorder.step:,} already; raise the last step, or Reset."
                return
            self._go(UNLIMITED if stop_at is None else stop_at, Status.FINISHED)

    def step(self) -> None:
        """Takes one step."""
        with self._lock:
            self._go(self._recorder.step + 1, Status.PAUSED)

    def _go(self, target: int, at_target: Status) -> None:
        self._target = target
        self._at_target = at_target
        self._message = ""
        self._status = Status.RUNNING
        if not self._recorder.step:
            self._begun_at = self._clock()
        self._lease = self._clock() + LEASE_S
        self._pace.begin(self._clock(), self._recorder.step)
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

    def go_back(self) -> None:
        """Back to the latest point at which the loss was near its lowest, as if no later step had been taken.

        Where there was none it is back to the step before the first. What is being computed is of a later step: it is
        ignored when it comes.
        """
        with self._lock:
            good = self._good
            if good is None:
                self._clear()
                return
            self._go_back_to(good)
            self._target = 0
            self._status, self._message = Status.PAUSED, ""
            self._advance()  # show it as it is

    def _go_back_to(self, point: GoodPoint) -> None:
        self._ignore_asked()
        self._compiling_since = None
        self._due = 0
        self._state, self._last_rate, self._taken_rate = point.state, point.learning_rate, point.learning_rate
        self._recorder = point.record.copy()
        step = self._recorder.step
        # The programs stay, and so do the settings that needed them: from here on they hold.
        made = [one._replace(step=min(one.step, step)) for one in self._compilations]
        changed = [(step, one.change) for one in made if one.change and one.step == step]
        before = [event for event in self._events if event[0] < step]
        self._compilations = deque(made, self._compilations.maxlen)
        self._events = deque([*before, *changed], self._events.maxlen)

    # What somebody who looks does.

    def touch(self) -> None:
        """Keeps it going for a while, and has the steps taken that are due."""
        with self._lock:
            now = self._clock()
            self._lease = now + LEASE_S
            if self._wish is not None:
                self._wish.until = time.monotonic() + LEASE_S
            # Often at first: what is observed becomes a curve, which must not begin with one long chord. By the clock on the
            # wall: where a hundred runs share a processor, each has computed little for a long time.
            rest_s = min(PICTURE_S, (PICTURE_S + now - self._begun_at) / 8)
            if self._pace.limit is not None or now >= self._picture_at + rest_s:
                self._want_picture = True
            self._advance(looked=True)
            self._engine.looked_at(id(self), self._lease if self.active else None)

    @property
    def active(self) -> bool:
        """Whether it changes by itself."""
        return self._status in (Status.RUNNING, Status.COMPILING) or self._asked > 0

    @property
    def moving(self) -> bool:
        """Whether its next steps are on their way."""
        return self._status is Status.RUNNING and self._asked > 0

    def look(self) -> Snapshot:
        """The run as it is. Looking keeps it going."""
        with self._lock:
            self.touch()
            return self.snapshot()

    def snapshot(self) -> Snapshot:
        """The run as it is."""
        with self._lock:
            now, spec, recorder = self._clock(), self._spec, self._recorder
            curves, observed = recorder.curves(), recorder.observed()
            return Snapshot(
                status=self._status, message=self._message, step=recorder.step, examples=recorder.examples,
                computing_s=recorder.computing_s,
                steps_per_s=self._pace.rate(now) if self._status is Status.RUNNING else 0.0,
                ms_per_step=1e3 * (self._pace.step_s or 0.0), learning_rate=self._learning_rate,
                batch_size=spec.problem.batch_size if spec else 0, device=self._device(),
                coordinates=curves.coordinates, metrics=curves.metrics, lows=curves.lows, highs=curves.highs,
                latest=recorder.latest, observed_coordinates=observed.coordinates, observed=observed.metrics,
                latest_observed=recorder.latest_observed, step_ms=recorder.step_times(),
                picture=recorder.picture, compilations=tuple(self._compilations), events=tuple(self._events),
                since_s=0.0 if self._compiling_since is None else now - self._compiling_since,
                active=self.active, audience=self._engine.audience(now),
                changed_at=self._changed_at,
            )  # fmt: skip

    def _device(self) -> str:
        """Where it computes, or would."""
        spec = self._spec if self._opened is None else self._opened.spec
        return "" if spec is None else str(spec.device)

    # What the worker does.

    def _advance(self, looked: bool = False) -> None:
        """Asks for the next piece of work, unless as many are under way as the worker takes, or none is wanted. Holds the
        lock.

        A run with a pace goes on at looks alone: else it would take its steps one by one, as each falls due.
        """
        opened = self._opened
        if self._spec is None or (self._asked and (opened is None or self._asked >= opened.worker.ahead)):
            return
        if self._status not in (Status.RUNNING, Status.COMPILING):
            shown = self._recorder.picture_step == self._recorder.step
            if opened is not None and self._state is not None and not self._asked and not shown:
                self._submit(opened, 0, want_picture=True)  # the run has come to rest: show it as it is
            return
        step = self._recorder.step + self._asked_steps
        left = self._target - step
        if left <= 0 and self._asked:
            return
        if left <= 0:
            self._status = self._at_target
            self._advance()
            return
        now = self._clock()
        if now > self._lease:
            return  # nobody looks; the next look goes on
        if opened is None:
            self._compile()
            return
        self._status = Status.RUNNING
        load = opened.worker.load(opened.spec.device)
        count = min(self._pace.steps(now, step, load), opened.program.steps.capacity, left)
        if self._pace.limit is not None:
            self._due = step + count if looked else self._due
            count = min(count, self._due - step)
            # What is observed becomes a curve, and its first points have to lie close: the steps that are due at the
            # first looks are taken in parts.
            close = 1 + step // 4
            if self._recorder.latest_observed and count > close:
                self._submit(opened, close, want_picture=True)
                return
        if count > 0:
            want_picture, self._want_picture = self._want_picture, False
            self._submit(opened, count, want_picture)

    def _submit(self, opened: Opened, count: int, want_picture: bool) -> None:
        """Has a chunk computed, in its turn."""
        rate = self._learning_rate
        # What is computed already, or waits in the queue, goes by the settings as they were.
        if count and self._last_rate is not None and rate != self._last_rate:
            self._events.append(
                (self._recorder.step + self._asked_steps, f"learning rate {self._last_rate:g} → {rate:g}")
            )
        self._last_rate = rate if count else self._last_rate
        state = self._asked_state if self._asked else self._state
        self._asked_state, future = opened.worker.advance(opened, state, rate, count, want_picture)
        self._asked += 1
        self._asked_steps += count
        future.add_done_callback(self._handover(lambda chunk: self._took_chunk(chunk, opened.spec, rate), count))
        self._advance()

    def _handover(self, take: Callable[[Any], None], count: int = 0) -> Callable[[Future], None]:
        """What hands the result of `count` steps over under the lock, unless the run has been reset meanwhile."""
        generation = self._generation

        def done(future: Future) -> None:
            with self._lock:
                if generation != self._generation:
                    return
                self._asked -= 1
                self._asked_steps -= count
                try:
                    try:
                        take(future.result())
                    except WorkerLost as lost:
                        self._move(lost)
                    except Unwanted:  # other settings were chosen, or nobody looked, before its turn came
                        self._compiling_since = None
                    self._advance()
                except Exception as error:  # whatever a chunk raises ends this run, and no other
                    self._fail(error)
                opened = self._opened
                crowded = (
                    opened is not None and opened.worker is self._local and self._local.load(opened.spec.device) > 1
                )
            self.on_change(crowded)

        return done

    def _fail(self, error: Exception) -> None:
        self._ignore_asked()
        self._status = Status.FAILED
        self._target = 0
        self._compiling_since = None
        self._opened = None
        text = without_paths(str(error)).strip() or type(error).__name__
        self._message = text if len(text) < 1500 else text[:1500] + " ..."

    def _compile(self) -> None:
        assert self._spec is not None
        spec = self._spec
        worker, device = place(spec.device, self._local)
        if self._suspect and worker is self._local:
            said = "Its worker was lost before it had computed a step, and no other is left. "
            self._fail(RuntimeError(f"{said}Press Reset, then Run: the app itself computes it."))
            return
        if worker is self._local and memory.short():
            self._status, self._message, self._target = Status.PAUSED, memory.SHORT, 0
            return
        self._asked = 1
        self._status = Status.COMPILING
        self._compiling_since = self._clock()
        self._wish = Wish(time.monotonic() + LEASE_S)
        opened = worker.open(spec.on(device), self._wish)
        opened.add_done_callback(self._handover(lambda opened: self._took_program(spec, opened)))

    def _move(self, lost: WorkerLost) -> None:
        """Goes on elsewhere, from where the run was saved last.

        Raises:
            RuntimeError: it may well be what ends its workers.
        """
        self._suspect = 0 if self._innocent else self._suspect + 1
        self._innocent = False
        if self._suspect > MAX_SUSPECT:
            raise RuntimeError(f"{lost}, as the one before it, before a step was computed. Change a setting, or Reset.")
        reached = self._recorder.step
        self._go_back_to(self._saved or GoodPoint(None, Recorder(), None))
        self._good, self._opened = None, None
        step = self._recorder.step
        self._change = str(lost)
        self._message = f"{lost} when the run was at step {reached:,}. It goes on elsewhere, from step {step:,}."

    def _took_program(self, spec: Spec, opened: Opened) -> None:
        assert self._compiling_since is not None
        waited_s = self._clock() - self._compiling_since
        self._compiling_since = None
        if self._status is Status.COMPILING:
            self._status = Status.RUNNING
        if self._spec is None or spec.identity != self._spec.identity:
            return  # the settings changed while it compiled; the next one is asked for
        self._opened = opened
        if self._change:
            self._events.append((self._recorder.step, self._change))
        said = opened.program.steps._replace(compiled=None)
        self._compilations.append(Compilation(self._recorder.step, said, waited_s, opened.shared, self._change))
        self._pace.restart()

    def _keep_if_good(self, loss: float) -> None:
        """Keeps the present state, whose loss is known now, if it is one to go back to.

        That is the latest whose loss has come down nine tenths of the way from the first to the lowest. The last finite
        state before a divergence is none: it is as far off as float32 can say.
        """
        if self._state is None:  # the start needs no keeping
            self._first_loss = self._lowest_loss = loss
            return
        self._lowest_loss = min(self._lowest_loss, loss)
        if loss <= 0.9 * self._lowest_loss + 0.1 * self._first_loss:
            self._good = GoodPoint(self._state, self._recorder.copy(), self._taken_rate)

    def _took_chunk(self, chunk: Chunk, spec: Spec, learning_rate: float) -> None:
        now = self._clock()
        if chunk.num_steps:
            self._keep_if_good(float(chunk.metrics["loss"][0]))
            self._taken_rate = learning_rate
        self._state, self._innocent = chunk.state, True
        self._changed_at = time.time()
        if chunk.num_steps:
            last = self._compilations[-1]
            first = last.first_ms is None
            if first and not chunk.diverged:
                self._compilations[-1] = last._replace(first_ms=1e3 * chunk.elapsed_s / chunk.num_steps)
            timed = not first and not chunk.diverged  # to find the last finite step takes further executions
            self._recorder.take_steps(chunk.metrics, chunk.elapsed_s, spec.problem.batch_size, timed)
            self._pace.took(now, self._recorder.step, chunk.num_steps, chunk.elapsed_s, not chunk.diverged)
        if chunk.observed is not None:
            self._recorder.take_picture(chunk.observed)
            self._picture_at = now
        if chunk.saved is not None:
            self._saved = GoodPoint(chunk.saved, self._recorder.copy(), self._taken_rate)
        if chunk.diverged:
            self._ignore_asked()
            step = self._recorder.step
            self._target = 0
            self._status = Status.DIVERGED
            end = (step, f"diverged: {chunk.diverged.strip('`')} is not finite")
            if not self._events or self._events[-1] != end:  # it was run again as it was
                self._events.append(end)
            self._message = (
                f"Step {step + 1:,} would make {chunk.diverged} infinite or not a number "
                f"at learning rate {learning_rate:g}. {self._way_on()}"
            )

    def _way_on(self) -> str:
        """What to do after a divergence."""
        if self._good is None:
            return "Choose a lower learning rate, press **Reset**, then **Run**."
        return (
            f"**Go back** returns to step {self._good.record.step:,}, when the loss was near its lowest, and forgets the "
            "steps after it. Choose a lower learning rate, then **Run**. **Reset** begins anew."
        )


def _difference(before: Spec, after: Spec) -> str:
    """What changed between two specs of one lineage, for people."""
    changes = []
    if is_dataclass(before.problem) and is_dataclass(after.problem):
        for field in fields(after.problem):
            old, new = (getattr(spec.problem, field.name) for spec in (before, after))
            if field.compare and old != new:
                changes.append(f"{field.name.replace('_', ' ')} {old} → {new}")
    if before.device != after.device:
        changes.append(f"device {before.device} → {after.device}")
    return ", ".join(changes)
