"""`lib/live/engine.py`: queues, shared results, and measurements that have the processor to themselves."""

import functools
import gc
import queue
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from support import Mean, eventually

from lib.live import engine as engine_module
from lib.live.devices import devices
from lib.live.engine import (
    HELD_S,
    MAX_TRACES,
    WANTED_S,
    Engine,
    FutureCache,
    Unwanted,
    Wish,
    _BothEnds,
    default_engine,
    processor,
)
from lib.live.once import once
from lib.live.run import Spec, Status

CPU = devices()["cpu:0"]


class Intervals:
    """When which kind of work was being done."""

    def __init__(self):
        self.all = []

    def of(self, kind, seconds=0.01):
        def work():
            begin = time.perf_counter()
            time.sleep(seconds)
            self.all.append((begin, time.perf_counter(), kind))
            return kind

        return work

    def overlaps(self, one, other):
        pairs = [(a, b) for a in self.all for b in self.all if a is not b and (a[2], b[2]) == (one, other)]
        return [(a, b) for a, b in pairs if a[0] < b[1] and b[0] < a[1]]


class PlainQueue(Executor):
    """An executor that owes nothing to `ThreadPoolExecutor`: one thread and a queue."""

    def __init__(self):
        self.queue = queue.Queue()
        self.done = 0
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def submit(self, fun, /, *args, **kwargs):
        future = Future()
        self.queue.put((future, fun, args, kwargs))
        return future

    def work(self):
        while (task := self.queue.get()) is not None:
            future, fun, args, kwargs = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(fun(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
            self.done += 1

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.queue.put(None)


# Queues.


def test_all_simulated_cpu_devices_are_one_processor():
    assert {processor(device) for device in devices().values() if device.platform == "cpu"} == {"cpu"}


def test_each_accelerator_is_a_processor_of_its_own():
    gpus = [SimpleNamespace(platform="gpu", id=i) for i in range(3)]
    assert len({processor(gpu) for gpu in gpus}) == 3 and "cpu" not in {processor(gpu) for gpu in gpus}


def test_turns_are_taken_in_the_order_of_submission_one_at_a_time(engine):
    intervals = Intervals()
    order = []
    futures = [engine.submit(CPU, lambda i=i: (order.append(i), intervals.of("turn", 0.002)())) for i in range(20)]
    for future in futures:
        future.result(10)
    assert order == list(range(20))
    assert not intervals.overlaps("turn", "turn")


def test_different_processors_work_at_the_same_time(engine):
    gpu = SimpleNamespace(platform="gpu", id=0)
    meeting = threading.Barrier(2, timeout=10)
    for future in [engine.submit(CPU, meeting.wait), engine.submit(gpu, meeting.wait)]:
        future.result(10)  # would break the barrier if they went one after the other


def test_load_counts_turns_under_way_and_waiting(engine):
    go = threading.Event()
    assert engine.load(CPU) == 0
    futures = [engine.submit(CPU, go.wait) for _ in range(3)]
    assert engine.load(CPU) == 3
    go.set()
    for future in futures:
        future.result(10)
    eventually(lambda: engine.load(CPU) == 0)


def test_load_forgets_a_turn_that_failed(engine):
    with pytest.raises(ZeroDivisionError):
        engine.submit(CPU, lambda: 1 / 0).result(10)
    eventually(lambda: engine.load(CPU) == 0)


def test_load_forgets_a_turn_that_no_executor_would_take(make_engine):
    class Closed(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            raise RuntimeError("closed")

    engine = make_engine(lambda name: Closed(1))
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(CPU, print)
    assert engine.load(CPU) == 0


def test_an_executor_is_made_once_for_each_processor(make_engine):
    made = []

    def make(name):
        made.append(name)
        return ThreadPoolExecutor(1)

    engine = make_engine(make)
    for device in devices().values():
        engine.submit(device, int).result(10)
    assert made.count("cpu") == 1 and len(made) == len({processor(device) for device in devices().values()})


def test_a_run_works_on_any_executor(make_engine, make_run):
    executor = PlainQueue()
    run = make_run(make_engine(lambda name: executor))
    run.configure(Spec(Mean(8), CPU, 0), 0.1)
    run.run(stop_at=500)
    eventually(lambda: run.look().status is Status.FINISHED)
    assert run.look().step == 500 and executor.done > 0


def test_there_is_one_engine_in_a_process():
    assert default_engine() is default_engine()
    assert isinstance(default_engine(), Engine)


# Shared results.


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_a_shared_result_is_computed_once(pool):
    calls = []
    shared = FutureCache(pool.submit, 10)

    def fun(x):
        calls.append(x)
        time.sleep(0.01)
        return 2 * x

    futures = [shared.get("key", fun, 21) for _ in range(50)]
    assert {future.result(10) for future in futures} == {42}
    assert calls == [21]
    assert len({id(future) for future in futures}) == 1


def test_shared_results_are_bounded_and_the_least_recently_used_goes(pool):
    shared = FutureCache(pool.submit, 3)
    for key in "abc":
        shared.get(key, str, key).result(10)
    shared.get("a", str, "a")  # used again, so `b` is the one to go
    shared.get("d", str, "d").result(10)
    assert len(shared) == 3
    assert [shared.has(key) for key in "abcd"] == [True, False, True, True]
    for i in range(100):
        shared.get(i, str, i)
        assert len(shared) <= 3


def test_a_failure_is_not_kept(pool):
    shared = FutureCache(pool.submit, 3)
    outcomes = iter([ValueError("no"), 42])

    def fun():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="no"):
        shared.get("key", fun).result(10)
    assert shared.get("key", fun).result(10) == 42
    assert shared.get("key", fun).result(10) == 42


def test_a_failure_is_not_there(pool):
    shared = FutureCache(pool.submit, 3)
    shared.get("key", lambda: 1 / 0).exception(10)
    assert not shared.has("key")


def test_everybody_who_waits_for_a_failure_is_told(pool):
    shared = FutureCache(pool.submit, 3)
    go = threading.Event()

    def fun():
        go.wait(10)
        raise ValueError("no")

    first, second = shared.get("key", fun), shared.get("key", fun)
    go.set()
    assert isinstance(first.exception(10), ValueError) and isinstance(second.exception(10), ValueError)


def test_a_result_on_its_way_is_there(pool):
    shared = FutureCache(pool.submit, 3)
    go = threading.Event()
    future = shared.get("key", go.wait)
    assert shared.has("key") and not shared.has("other")
    go.set()
    future.result(10)


# Measurements.


def test_a_measurement_gives_its_result_or_its_error(engine):
    assert engine.measure(CPU, lambda: 42).result(10) == 42
    with pytest.raises(ZeroDivisionError):
        engine.measure(CPU, lambda: 1 / 0).result(10)
    assert engine.measure(CPU, lambda: 43).result(10) == 43


def test_one_slice_at_a_time_stands_in_the_queue(manual_engine, executor):
    futures = [manual_engine.measure(CPU, lambda i=i: i) for i in range(3)]
    for i, future in enumerate(futures):
        assert len(executor.tasks) == 1 and not future.done()
        executor.take()
        assert future.result(0) == i
    assert not executor.tasks


def test_nothing_else_works_while_a_measurement_is_taken(engine):
    intervals = Intervals()
    futures = []
    for _ in range(6):
        futures += [engine.submit(CPU, intervals.of("turn", 0.003)) for _ in range(3)]
        futures += [engine.background(intervals.of("background", 0.003)) for _ in range(3)]
        futures.append(engine.measure(CPU, intervals.of("measurement", 0.005)))
    for future in futures:
        future.result(20)
    kinds = [kind for *_, kind in intervals.all]
    assert (kinds.count("turn"), kinds.count("background"), kinds.count("measurement")) == (18, 18, 6)
    for kind in ("turn", "background", "measurement"):
        assert not intervals.overlaps("measurement", kind)


def test_background_work_goes_on_beside_the_queue(engine):
    meeting = threading.Barrier(2, timeout=10)
    for future in [engine.submit(CPU, meeting.wait), engine.background(meeting.wait)]:
        future.result(10)


def test_between_two_measurements_every_waiting_turn_is_taken(engine):
    order = []
    hold, over = threading.Event(), threading.Event()
    engine.submit(CPU, hold.wait)
    measured = [engine.measure(CPU, lambda i=i: order.append(f"measured {i}")) for i in range(3)]

    def turn():  # submits the next one, as a run does
        order.append("turn")
        time.sleep(0.002)
        if order.count("turn") < 1000 and "measured 2" not in order:
            engine.submit(CPU, turn)
        else:
            over.set()

    assert engine.load(CPU) == 2  # the first measurement stands in the queue, the others behind it
    engine.submit(CPU, turn)
    hold.set()
    for future in measured:
        future.result(10)
    assert over.wait(10)
    positions = [i for i, what in enumerate(order) if what.startswith("measured")]
    assert [order[i] for i in positions] == ["measured 0", "measured 1", "measured 2"]
    for one, other in pairwise(positions):
        assert "turn" in order[one:other]


def test_a_failed_measurement_lets_the_background_go_on(engine):
    engine.measure(CPU, lambda: 1 / 0).exception(10)
    assert engine.background(lambda: 42).result(10) == 42


class Seconds:
    """Stands for the module `time` of the engine."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def seconds(monkeypatch):
    monkeypatch.setattr("lib.live.engine.time", clock := Seconds())
    return clock


def busy(engine, seconds, order, name, takes, times):
    """Somebody who submits one turn after the other, as a run does."""

    def turn():
        order.append(name)
        seconds.now += takes

    def again(_=None):
        if order.count(name) < times:
            engine.submit(CPU, turn).add_done_callback(again)

    again()


def measuring(engine, seconds, order, name, takes, times):
    """A measurement of some slices."""

    def one():
        order.append(name)
        seconds.now += takes

    def again(_=None):
        if order.count(name) < times:
            engine.measure(CPU, one).add_done_callback(again)

    again()


@pytest.mark.parametrize(
    ("takes", "expected"), [(1 / 16, ["slice", "run"]), (1 / 8, ["slice", "run"]), (1 / 32, ["slice", "run", "run"])]
)
def test_between_two_slices_a_run_has_the_processor_for_as_long(manual_engine, executor, seconds, takes, expected):
    order = []
    measuring(manual_engine, seconds, order, "slice", 1 / 16, 20)
    busy(manual_engine, seconds, order, "run", takes, 60)
    executor.take_all()
    assert order[: 20 * len(expected) - len(expected) + 1] == (expected * 20)[: 20 * len(expected) - len(expected) + 1]
    assert order.count("slice") == 20 and order.count("run") == 60


def test_many_measurements_take_no_more_than_one(manual_engine, executor, seconds):
    order = []
    for i in range(6):
        measuring(manual_engine, seconds, order, f"slice {i}", 1 / 16, 5)
    busy(manual_engine, seconds, order, "run", 1 / 16, 100)
    executor.take_all()
    slices = [i for i, what in enumerate(order) if what != "run"]
    assert len(slices) == 30 and all(other - one == 2 for one, other in pairwise(slices))


def test_all_runs_together_have_as_long_as_a_slice_and_each_waiting_run_its_turn(manual_engine, executor, seconds):
    order = []
    measuring(manual_engine, seconds, order, "slice", 1 / 16, 10)
    for i in range(4):
        busy(manual_engine, seconds, order, f"run {i}", 1 / 64, 100)
    executor.take_all(2000)
    slices = [i for i, what in enumerate(order) if what == "slice"]
    for one, other in pairwise(slices):
        between = order[one + 1 : other]
        assert len(between) >= 4 and set(between) == {f"run {i}" for i in range(4)}


def test_a_long_slice_is_paid_back(manual_engine, executor, seconds):
    order = []
    manual_engine.measure(CPU, lambda: setattr(seconds, "now", seconds.now + 1.0))
    measuring(manual_engine, seconds, order, "slice", 1 / 16, 1)
    busy(manual_engine, seconds, order, "run", 1 / 8, 20)
    executor.take_all()
    assert order.index("slice") == 8


def test_a_measurement_goes_on_at_once_if_nobody_else_wants_the_processor(manual_engine, executor, seconds):
    order = []
    measuring(manual_engine, seconds, order, "slice", 1 / 16, 10)
    executor.take()
    manual_engine.submit(CPU, order.append, "turn")
    for _ in range(9 + 1 + 1):  # one slice is passed on
        executor.take()
    assert order == ["slice", "turn", *["slice"] * 9] and not executor.tasks


def test_slices_follow_each_other_for_a_while_before_what_waits_in_the_background(engine):
    order, begun, go = [], threading.Event(), threading.Event()

    def take(last):
        begun.set()
        go.wait(10)
        order.append("slice")
        time.sleep(HELD_S / 10)
        if last:
            order.append("last")
            return
        measured.append(engine.measure(CPU, lambda: take(len(measured) == 40)))

    measured = []
    measured.append(engine.measure(CPU, lambda: take(False)))
    assert begun.wait(10)
    task = engine.background(order.append, "task")
    eventually(lambda: engine._quiet._waiting == 1)
    go.set()
    task.result(10)
    eventually(lambda: "last" in order)
    assert 2 <= order.index("task") <= 12, "some slices, and then it is the turn of what waits"


def test_the_background_goes_on_soon_after_the_last_slice(engine):
    engine.measure(CPU, int).result(10)
    begun = time.monotonic()
    engine.background(int).result(10)
    assert time.monotonic() - begun < 3 * HELD_S


def test_what_waits_in_the_background_begins_before_the_next_slice(engine):
    order, begun, go = [], threading.Event(), threading.Event()

    def first():
        begun.set()
        go.wait(10)
        time.sleep(HELD_S)  # the time of the slices is over

    measured = engine.measure(CPU, first)
    assert begun.wait(10)
    tasks = [engine.background(order.append, "task") for _ in range(2)]
    analysis = engine.analyses.get("key", order.append, "task")
    eventually(lambda: engine._quiet._waiting == 3)
    slices = [engine.measure(CPU, lambda: order.append("slice")) for _ in range(5)]
    go.set()
    for future in (measured, *tasks, analysis, *slices):
        future.result(10)
    assert order[:3] == ["task"] * 3


def test_a_slice_that_has_to_wait_for_the_background_lets_runs_go_first(engine):
    go, begun, turns = threading.Event(), threading.Event(), []
    task = engine.background(lambda: begun.set() or go.wait(10))
    assert begun.wait(10)
    measured = engine.measure(CPU, lambda: "measured")
    for i in range(20):
        engine.submit(CPU, turns.append, i).result(10)
    assert not measured.done() and turns == list(range(20))
    go.set()
    assert measured.result(10) == "measured" and task.result(10)


def test_a_closed_engine_has_no_threads_left_and_takes_nothing(make_engine):
    before = set(threading.enumerate())
    engine = make_engine()
    engine.submit(CPU, int).result(10)
    engine.background(int).result(10)
    engine.analyses.get("key", int).result(10)
    measured = engine.measure(CPU, lambda: 42)
    engine.close()
    assert measured.result(0) == 42
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError):
        engine.submit(CPU, int)
    assert engine.measure(CPU, int).cancelled()


# What nobody waits for any longer.


def test_what_nobody_has_asked_for_lately_is_not_begun(executor, seconds):
    shared, begun = FutureCache(executor.submit, 10, wanted_s=5.0), []
    given_up, awaited = shared.get("given up", begun.append, 1), shared.get("awaited", begun.append, 2)
    seconds.now = 4.0
    assert shared.get("awaited", begun.append, 2) is awaited
    seconds.now = 5.1
    executor.take_all()
    assert begun == [2] and awaited.done() and awaited.exception() is None
    assert isinstance(given_up.exception(), Unwanted)
    assert shared.has("awaited") and not shared.has("given up")


def test_who_comes_back_is_served(executor, seconds):
    shared = FutureCache(executor.submit, 10, wanted_s=5.0)
    shared.get("key", str, 1)
    seconds.now = 100.0
    executor.take()
    again = shared.get("key", str, 1)
    executor.take()
    assert again.result() == "1"
    seconds.now = 200.0  # what is there stays there
    assert shared.get("key", str, 1) is again and not executor.tasks


def test_at_the_limit_it_is_still_wanted(executor, seconds):
    shared = FutureCache(executor.submit, 10, wanted_s=5.0)
    future = shared.get("key", str, 1)
    seconds.now = 5.0
    executor.take()
    assert future.result() == "1"


def test_what_was_dropped_before_its_turn_is_not_begun(executor, seconds):
    shared, begun = FutureCache(executor.submit, 2, wanted_s=5.0), []
    futures = [shared.get(key, begun.append, key) for key in "abc"]
    executor.take_all()
    assert begun == ["b", "c"] and isinstance(futures[0].exception(), Unwanted)
    assert set(shared._asked) == {"b", "c"}


def test_without_a_limit_everything_is_computed(executor, seconds):
    shared = FutureCache(executor.submit, 1)
    futures = [shared.get(key, str, key) for key in "ab"]
    seconds.now = 1e9
    executor.take_all()
    assert [future.result() for future in futures] == ["a", "b"]


def test_analyses_wait_in_a_line_of_their_own(engine):
    go, order = threading.Event(), []

    def slow(name):
        go.wait(10)
        order.append(name)

    analyses = [engine.analyses.get(name, slow, name) for name in "abc"]
    assert engine.answers.get("answer", str, 1).result(10) == "1"
    assert engine.traces.get("trace", str, 2).result(10) == "2"
    assert engine.programs.get("program", str, 3).result(10) == "3"
    assert engine.submit(CPU, str, 4).result(10) == "4"
    assert not order
    go.set()
    for future in analyses:
        future.result(10)
    assert order == ["a", "b", "c"]


def test_a_trace_waits_for_no_compilation(engine):
    go = threading.Event()
    compilations = [engine.background(go.wait, 10) for _ in range(5)]
    assert engine.traces.get("trace", str, 2).result(10) == "2"
    go.set()
    assert all(each.result(10) for each in compilations)


def test_the_oldest_and_the_newest_are_taken_in_turn():
    go, order = threading.Event(), []
    line = _BothEnds(1, "line")
    held = line.submit(lambda: go.wait(10))
    eventually(lambda: not line._waiting)
    futures = [line.submit(functools.partial(order.append, name)) for name in "abcdef"]
    failed = line.submit(lambda: 1 / 0)
    go.set()
    for future in [held, *futures]:
        future.result(10)
    with pytest.raises(ZeroDivisionError):
        failed.result(10)
    assert "".join(order) == "afbecd"  # what fails, the newest, came before
    line.shutdown()
    with pytest.raises(RuntimeError):
        line.submit(int)


def test_what_waits_is_cancelled_when_the_line_is_closed():
    go, line = threading.Event(), _BothEnds(1, "line")
    held = line.submit(lambda: go.wait(10))
    eventually(lambda: not line._waiting)
    waits = [line.submit(int) for _ in range(3)]
    threading.Timer(0.1, go.set).start()
    line.shutdown(cancel_futures=True)
    assert held.result(10) and all(each.cancelled() for each in waits)


def test_all_who_ask_for_what_there_is_one_of_at_the_same_time_get_the_same():
    meeting, made = threading.Barrier(8), []

    @once
    def slow():
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    def ask():
        meeting.wait(10)
        return slow()

    with ThreadPoolExecutor(8) as visitors:
        got = [future.result(10) for future in [visitors.submit(ask) for _ in range(8)]]
    assert len(made) == 1 and all(each is made[0] for each in got)


def test_what_nobody_wishes_for_any_longer_is_not_begun_and_can_be_asked_for_again(engine):
    go, done = threading.Event(), []
    held = [engine.background(go.wait, 10) for _ in range(5)]
    left, stays, again, first = Wish(), Wish(), Wish(), Wish()
    futures = {
        "left": engine.answers.get("left", done.append, "left", wish=left),
        "stays": engine.answers.get("stays", done.append, "stays", wish=stays),
        "shared": engine.answers.get("shared", done.append, "shared", wish=left),
        "without": engine.answers.get("without", done.append, "without", wish=left),
        "always": engine.answers.get("always", done.append, "always"),
    }
    assert engine.answers.get("shared", done.append, "shared", wish=again) is futures["shared"]
    assert engine.answers.get("without", done.append, "without") is futures["without"]
    assert engine.answers.get("always", done.append, "always", wish=first) is futures["always"]
    del left, first
    go.set()
    assert isinstance(futures.pop("left").exception(10), Unwanted)
    for future in [*held, *futures.values()]:
        future.result(10)
    assert sorted(done) == ["always", "shared", "stays", "without"]
    engine.answers.get("left", done.append, "left", wish=stays).result(10)
    assert done[-1] == "left" and not engine.answers._wishes


def test_an_analysis_rests_while_a_measurement_is_taken(engine):
    go, begun = threading.Event(), threading.Event()
    measured = engine.measure(CPU, lambda: begun.set() or go.wait(10))
    assert begun.wait(10)
    future = engine.analyses.get("key", str, 1)
    time.sleep(0.02)
    assert not future.done()
    go.set()
    assert measured.result(10) and future.result(10) == "1"


def test_only_analyses_are_given_up(engine):
    assert engine.analyses._wanted_s == WANTED_S
    assert engine.answers._wanted_s is engine.traces._wanted_s is engine.programs._wanted_s is None
    for i in range(MAX_TRACES + 10):
        engine.traces.get(i, int)
    assert len(engine.traces) == MAX_TRACES


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells how much is resident")
def test_what_background_work_has_freed_goes_back_to_the_system(monkeypatch):
    def resident_mb():
        with open("/proc/self/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Rss:")) / 1e3

    def work():
        """Many small blocks, of which the last is kept: glibc gives back by itself what lies behind it, which is none."""
        blocks = [np.ones(4000, np.int8) for _ in range(25_000)]
        return blocks[-1], resident_mb()

    monkeypatch.setattr(engine_module, "TIDY_S", 0.05)
    engine = Engine()
    try:
        _, high_mb = engine.background(work).result(30)
        eventually(lambda: resident_mb() < high_mb - 70)
    finally:
        engine.close()


def test_programs_of_single_operations_are_dropped_where_there_are_many(monkeypatch):
    client = jax.devices()[0].client
    kept = jax.jit(lambda x: x + 1).lower(1.0).compile()

    def add_some():
        for size in range(501, 531):
            np.testing.assert_array_equal(jax.lax.neg(jax.lax.neg(np.ones(size, np.float32))), np.ones(size))

    gc.collect()
    add_some()
    before = len(client.live_executables())
    monkeypatch.setattr(engine_module, "MAX_EXECUTABLES", before)
    engine_module._tidy()
    assert len(client.live_executables()) == before, "there are not many"
    monkeypatch.setattr(engine_module, "MAX_EXECUTABLES", before - 1)
    engine_module._tidy()
    gc.collect()
    assert len(client.live_executables()) <= before - 30
    add_some()
    assert kept(1.0) == 2
