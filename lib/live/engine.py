"""The compute engine: who may use a processor, and when.

Each physical processor has one queue, first come, first served, behind the `Executor` interface. A live
run submits one short chunk and, when that is done, the next, so that runs share the processor in turns.
Compilation goes on beside the queues, so that nobody's new shape holds up another's run. A measurement is taken in
slices: nothing else works while one is taken, and others have the processor for as long before the next.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax

from lib.live.once import once

MAX_PROGRAMS = 64
MAX_ANSWERS = 512
MAX_TRACES = 64
MAX_ANALYSES = 128
BACKGROUND_THREADS = 2
QUIET_S = 0.01
"""While a slice waits for background work to end, it looks so often whether others want its turn."""
HELD_S = 0.5
"""So long background work rests for the slices of a measurement. Each waits until what has begun is done, which on a busy
machine takes seconds: a measurement of thirty slices must not wait thirty times."""
WANTED_S = 5.0
"""A page asks for what it waits for several times a second, or once a second if its tab is hidden."""
TIDY_S = 2.0
"""So long after background work its freed memory goes back to the system, at most so often."""
SWITCH_S = 0.0005
"""So long a thread may hold Python's lock while others wait for it; by default it is ten times as long. A chunk of a run
and its frame take the lock some twenty times, and wait as often where somebody's long program is traced."""
MAX_EXECUTABLES = 256
"""If the process has more programs of all kinds, those of single operations are dropped."""


def _tidy() -> None:
    """Drops what JAX has compiled for single operations, if it is much, and gives freed memory back to the system.

    For each operation outside of `jit`, and each shape, JAX keeps a program of up to 2 MB: who compares a step with and
    without `jit` at a few batch sizes leaves hundreds. They are compiled again when they are called again. glibc keeps
    what is freed; other systems' allocators need no telling.
    """
    if len(jax.devices()[0].client.live_executables()) > MAX_EXECUTABLES:
        with suppress(ImportError, AttributeError):  # it is JAX's own, and may be another one some day
            from jax._src import dispatch

            dispatch.xla_primitive_callable.cache_clear()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def processor(device: jax.Device) -> str:
    """The physical processor of a device: all simulated CPU devices are one, each GPU or TPU is one."""
    return "cpu" if device.platform == "cpu" else f"{device.platform}:{device.id}"


def _failed(future: Future | None) -> bool:
    """Whether there is nothing to be had from a future, or none."""
    return future is None or (future.done() and (future.cancelled() or future.exception() is not None))


class _BothEnds:
    """Threads that take the oldest and the newest of what waits in turn.

    What a visitor who has moved on has left behind does not hold up who has just come, nor the other way round.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._newest = False

    def submit(self, fun: Callable[[], Any]) -> Future:
        """A future of `fun()`."""
        future: Future = Future()
        with self._lock:
            self._pool.submit(self._take)  # raises if it is closed
            self._waiting.append((future, fun))
        return future

    def _take(self) -> None:
        with self._lock:
            future, fun = self._waiting.pop() if self._newest else self._waiting.popleft()
            self._newest = not self._newest
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(fun())
            except BaseException as error:
                future.set_exception(error)

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """As that of an `Executor`."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)
        for future, _ in self._waiting:
            future.cancel()


class Wish:
    """What a page or a run asks with for something, and holds on to as long as it wants it.

    Attributes:
        until: by the monotonic clock, when it is over in any case.
    """

    def __init__(self, until: float = float("inf")) -> None:
        self.until = until


class Unwanted(Exception):
    """Nobody waited any longer for a result when its turn came."""


class FutureCache:
    """Results that all visitors share: each is computed once, and the least recently used are dropped.

    Args:
        wanted_s: a task whose result nobody has asked for in so many seconds is not begun, so that who tries one
            thing after the other leaves no queue behind. None: whatever was asked for is computed.
    """

    def __init__(self, submit: Callable[..., Future], size: int, wanted_s: float | None = None) -> None:
        self._submit = submit
        self._size = size
        self._wanted_s = wanted_s
        self._asked: dict[Hashable, float] = {}
        self._wishes: dict[Hashable, list[weakref.ref[Wish]]] = {}  # of what waits and nobody else has asked for
        self._lock = threading.Lock()
        self._futures: OrderedDict[Hashable, Future] = OrderedDict()

    def get(self, key: Hashable, fun: Callable[..., Any], *args: Any, wish: Wish | None = None) -> Future:
        """The future of `fun(*args)`, the same one for the same key. A failure is not kept.

        Args:
            wish: it is not begun, and raises `Unwanted`, if none of those with whose wishes it was asked for holds on to
                his when its turn comes.
        """
        with self._lock:
            self._asked[key] = time.monotonic()
            new = _failed(self._futures.get(key))
            if wish is None:
                self._wishes.pop(key, None)
            elif new or key in self._wishes:
                self._wishes.setdefault(key, []).append(weakref.ref(wish))
            if new:
                self._futures[key] = self._submit(self._if_wanted, key, fun, *args)
            self._futures.move_to_end(key)
            while len(self._futures) > self._size:
                dropped, _ = self._futures.popitem(last=False)
                self._asked.pop(dropped, None)
                self._wishes.pop(dropped, None)
            return self._futures[key]

    def _if_wanted(self, key: Hashable, fun: Callable[..., Any], *args: Any) -> Any:
        with self._lock:
            asked = self._asked.get(key, -float("inf"))
            wishes = self._wishes.pop(key, None)
        now = time.monotonic()
        if wishes and not any(wish is not None and wish.until >= now for wish in (ref() for ref in wishes)):
            raise Unwanted
        if self._wanted_s is not None and now - asked > self._wanted_s:
            raise Unwanted
        return fun(*args)

    def has(self, key: Hashable) -> bool:
        """Whether it is there or on its way."""
        with self._lock:
            return not _failed(self._futures.get(key))

    def __len__(self) -> int:
        return len(self._futures)


class _ReadersWriterLock:
    """Many readers, the background tasks, may work at once; or one writer, a slice of a measurement, and none of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working = 0
        self._waiting = 0
        self._let_in = 0  # those that waited when the slices' time was over: they begin before the next
        self._held_until: float | None = None  # for slices, one after the other
        self._wanted = False
        self.measuring = False

    def _held_s(self) -> float:
        return 0.0 if self._held_until is None else max(0.0, self._held_until - time.monotonic())

    @contextmanager
    def work(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            while not self._let_in and (self._wanted or self.measuring or self._held_s()):
                self._changed.wait(self._held_s() or None)
            self._waiting -= 1
            self._let_in = max(0, self._let_in - 1)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def begin(self, others: Callable[[], bool]) -> bool:
        """Waits until nothing works, and lets nothing new begin; False if others want the turn meanwhile."""
        with self._changed:
            while True:
                self._wanted = True
                self._let_others_in()
                if not (self._working or self._let_in or self.measuring):
                    self.measuring = True
                    self._held_until = self._held_until or time.monotonic() + HELD_S
                    return True
                if others():
                    return False
                self._changed.wait(QUIET_S)

    def end(self) -> None:
        with self._changed:
            self.measuring = self._wanted = False
            self._let_others_in()
            self._changed.notify_all()

    def _let_others_in(self) -> None:
        """Once the time of the slices is over, what waits begins before the next."""
        if self._held_until is not None and not self._held_s():
            self._held_until, self._let_in = None, self._waiting
            self._changed.notify_all()

    def give_up(self) -> None:
        with self._changed:
            self._wanted = False
            self._changed.notify_all()


class _Slice(NamedTuple):
    """A slice of a measurement that waits for its turn, and its result."""

    device: jax.Device
    fun: Callable[[], Any]
    future: Future


_PASSED = object()
"""What a turn gives that a slice has left to others."""


def _one_thread(name: str) -> Executor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"compute-{name}")


class Engine:
    """The queues of one process.

    Args:
        make_executor: gives the queue of a processor, by its name. Whatever runs one task at a time in the
            order of submission will do.

    Attributes:
        programs: compiled programs, shared by all visitors.
        answers: small results for pages (curves, gradients at a point), shared by all visitors.
        traces: jaxprs for pages: quick to have, in a line of their own, where no compilation holds them up; larger than
            answers, so that fewer are kept.
        analyses: what takes a compilation of its own to show; they stand in a line of their own, so that neither
            answers nor live runs wait for them.
    """

    def __init__(self, make_executor: Callable[[str], Executor] = _one_thread) -> None:
        self._make_executor = make_executor
        self._executors: dict[str, Executor] = {}
        self._load: dict[str, int] = {}
        self._lock = threading.Lock()
        self._quiet = _ReadersWriterLock()
        self._tidying: threading.Timer | None = None
        self._background = _BothEnds(BACKGROUND_THREADS, "background")
        # Of each processor: the slices that wait, the first of which stands in the queue; for how long others may use it
        # before that one; and when its last turn ended.
        self._slices: dict[str, deque[_Slice]] = {}
        self._owed_s: dict[str, float] = {}
        self._free_at: dict[str, float] = {}
        self._looked_at: dict[int, float] = {}
        self.programs = FutureCache(self.background, MAX_PROGRAMS)
        self.answers = FutureCache(self.background, MAX_ANSWERS)
        self._tracer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trace")
        self.traces = FutureCache(functools.partial(self._beside, self._tracer), MAX_TRACES)
        self._analysts = ThreadPoolExecutor(max_workers=1, thread_name_prefix="analysis")
        self.analyses = FutureCache(functools.partial(self._beside, self._analysts), MAX_ANALYSES, WANTED_S)

    def submit(self, device: jax.Device, fun: Callable[..., Any], *args: Any) -> Future:
        """A turn on the processor of a device."""
        return self._submit(device, True, fun, *args)

    def _submit(self, device: jax.Device, pays: bool, fun: Callable[..., Any], *args: Any) -> Future:
        """A turn; if it `pays`, its time is taken off what is owed to others before the next slice."""
        name = processor(device)
        with self._lock:
            executor = self._executors.get(name)
            if executor is None:
                executor = self._executors[name] = self._make_executor(name)
            self._load[name] = self._load.get(name, 0) + 1
        submitted = time.monotonic()
        try:
            future = executor.submit(fun, *args)
        except BaseException:
            self._leave(name, submitted, False)
            raise
        future.add_done_callback(lambda _: self._leave(name, submitted, pays))
        return future

    def _leave(self, name: str, submitted: float, pays: bool) -> None:
        with self._lock:
            self._load[name] -= 1
            now = time.monotonic()
            if pays:  # a turn begins when the one before has ended
                self._owed_s[name] = self._owed_s.get(name, 0.0) - (now - max(submitted, self._free_at.get(name, 0.0)))
            self._free_at[name] = now

    def load(self, device: jax.Device) -> int:
        """How many turns are being taken or waited for on the processor of a device."""
        return self._load.get(processor(device), 0)

    def looked_at(self, run: int, until: float | None) -> None:
        """Notes that somebody looks at a run, and until when that holds; None if it has come to rest."""
        with self._lock:
            if until is None:
                self._looked_at.pop(run, None)
            else:
                self._looked_at[run] = until

    def audience(self, now: float) -> int:
        """How many active runs are being looked at."""
        with self._lock:
            self._looked_at = {run: until for run, until in self._looked_at.items() if until > now}
            return len(self._looked_at)

    def background(self, fun: Callable[..., Any], *args: Any) -> Future:
        """Work beside the queues, such as a compilation; it rests while a measurement is taken."""
        return self._beside(self._background, fun, *args)

    def _beside(self, executor: Executor | _BothEnds, fun: Callable[..., Any], *args: Any) -> Future:
        def rest_then_work() -> Any:
            try:
                with self._quiet.work():
                    return fun(*args)
            finally:
                self._tidy_later()

        return executor.submit(rest_then_work)

    def _tidy_later(self) -> None:
        """Has what a compilation has freed given back: the compiler takes a hundred megabytes for a moment."""
        with self._lock, suppress(RuntimeError):  # the interpreter ends
            if self._tidying is None:
                timer = threading.Timer(TIDY_S, self._tidy_now)
                timer.daemon = True
                timer.start()
                self._tidying = timer

    def _tidy_now(self) -> None:
        with self._lock:
            self._tidying = None
        with self._quiet.work():  # not while a measurement is taken
            _tidy()

    def measure(self, device: jax.Device, fun: Callable[[], Any]) -> Future:
        """A slice of a measurement: a turn with the processor to itself; no run computes, nothing compiles beside it.

        Before the next slice others have the processor for at least as long as this one took, if they want it.
        Cancelled if the engine is closed before.
        """
        name = processor(device)
        future: Future = Future()
        with self._lock:
            line = self._slices.setdefault(name, deque())
            line.append(_Slice(device, fun, future))
            first = len(line) == 1
        if first:
            self._line_up(name)
        return future

    def _line_up(self, name: str) -> None:
        """Puts the first slice at the end of the queue."""
        device, fun, _ = self._slices[name][0]
        try:
            turn = self._submit(device, False, self._take_slice, device, fun)
        except RuntimeError:  # the queue is closed
            turn = Future()
            turn.cancel()
        turn.add_done_callback(functools.partial(self._after_slice, name))

    def _take_slice(self, device: jax.Device, fun: Callable[[], Any]) -> Any:
        name, begun = processor(device), time.monotonic()

        def others() -> bool:
            return self.load(device) > 1

        if (self._owed_s.get(name, 0.0) > 0 and others()) or not self._quiet.begin(others):
            return _PASSED
        try:
            return fun()
        finally:
            self._quiet.end()
            self._owed_s[name] = time.monotonic() - begun

    def _after_slice(self, name: str, turn: Future) -> None:
        failed = turn.cancelled() or turn.exception() is not None
        if not failed and turn.result() is _PASSED:
            self._line_up(name)
            return
        with self._lock:
            future = self._slices[name].popleft().future
            more = bool(self._slices[name])
        if more:
            self._line_up(name)
        else:
            self._tidy_later()
        if turn.cancelled():
            self._quiet.give_up()
            future.cancel()
        elif failed:
            future.set_exception(turn.exception())
        else:
            future.set_result(turn.result())

    def close(self) -> None:
        """Ends all threads. What stands in a queue is still done, and what waits in the background is cancelled."""
        for beside in (self._background, self._tracer, self._analysts):
            beside.shutdown(wait=True, cancel_futures=True)
        for queue in list(self._executors.values()):
            queue.shutdown(wait=True)
        tidying = self._tidying
        if tidying is not None:
            tidying.cancel()
            tidying.join(1.0)


@once
def default_engine() -> Engine:
    """The engine of this process."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what is imported by now stays: to go through it at each collection holds everybody up for 0.1 s
    return Engine()
