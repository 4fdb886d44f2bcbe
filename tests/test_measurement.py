"""`lib/live/measurement.py`: slice by slice, in a line, shared among visitors, and kept for a while."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from streamlit.testing.v1 import AppTest
from support import Mean, eventually

from lib.live import measurement as module
from lib.live import worker
from lib.live.devices import devices
from lib.live.measurement import FRESH_S, MAX_KEPT, Measurements
from lib.live.run import LEASE_S, Spec
from lib.measure.timing import PAUSE, once

CPU = devices()["cpu:0"]
RECORDS = [once(f"record {i}", "steady", i) for i in range(10)]


def numbers(count):
    def make():
        yield from RECORDS[:count]

    return make


@pytest.fixture
def line(engine):
    return Measurements(engine)


@pytest.fixture
def manual_line(manual_engine, clock, monkeypatch):
    """A line of measurements each step of which is a slice, taken when the test says so."""
    monkeypatch.setattr(module, "SLICE_S", 0.0)
    return Measurements(manual_engine, clock)


def ask(line, key, make, visitor="visitor"):
    return line.ask(visitor, key, CPU, make, f"settings of {key}")


@pytest.mark.parametrize("count", [0, 1, 5])
def test_records_come_in_order_and_then_it_is_done(line, count):
    measurement = ask(line, "key", numbers(count))
    eventually(lambda: measurement.done)
    assert measurement.records == RECORDS[:count]
    assert measurement.error == "" and measurement.about == "settings of key"
    assert time.time() - measurement.taken_at < 60


def test_records_are_there_before_it_is_done(line, monkeypatch):
    go = threading.Event()

    def make():
        yield RECORDS[0]
        yield PAUSE
        go.wait(10)
        yield RECORDS[1]

    measurement = ask(line, "key", make)
    eventually(lambda: measurement.records)
    assert not measurement.done and measurement.records == RECORDS[:1]
    go.set()
    eventually(lambda: measurement.done)
    assert measurement.records == RECORDS[:2]


def test_an_error_is_kept_with_the_records_before_it(line):
    def make():
        yield RECORDS[0]
        raise ValueError("out of memory")

    measurement = ask(line, "key", make)
    eventually(lambda: measurement.done)
    assert measurement.error == "out of memory" and measurement.records == RECORDS[:1]


def test_an_error_without_words_is_named_by_its_type(line):
    def make():
        raise MemoryError
        yield

    measurement = ask(line, "key", make)
    eventually(lambda: measurement.done)
    assert measurement.error == "MemoryError"


def test_an_error_in_making_the_calls_is_kept_too(line):
    def make():
        raise ValueError("no such device")

    measurement = ask(line, "key", make)
    eventually(lambda: measurement.done)
    assert measurement.error == "no such device"


def test_an_error_ends_that_measurement_and_no_other(line):
    def fail():
        raise ValueError("no")
        yield

    bad, good = ask(line, "bad", fail, "one"), ask(line, "good", numbers(3), "other")
    eventually(lambda: bad.done and good.done)
    assert bad.error and not good.error and len(good.records) == 3


# Slices.


def test_a_slice_ends_at_the_first_pause_after_its_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def make():
        for i in range(6):
            now[0] += 0.02
            yield PAUSE if i % 2 else RECORDS[i]
        now[0] += 3.0  # one long call
        yield PAUSE
        yield RECORDS[6]

    measurement = module.Measurement("key", "", CPU, make, 0.0)
    taken = []
    while measurement.take_slice():
        taken.append((len(measurement.records), round(now[0], 2)))
    assert taken == [(2, 0.06), (3, 0.12), (3, 3.12)]
    assert measurement.records == [RECORDS[0], RECORDS[2], RECORDS[4], RECORDS[6]]


def test_slices_alternate_with_the_chunks_of_a_run(manual_line, manual_engine, executor, make_run, clock, monkeypatch):
    kinds = []
    monkeypatch.setattr(module.Measurement, "take_slice", noted(kinds, "slice", module.Measurement.take_slice))
    monkeypatch.setattr(worker, "take_chunk", noted(kinds, "chunk", worker.take_chunk))
    run = make_run(manual_engine, clock=clock)
    run.configure(Spec(Mean(8), CPU, 0), 0.1)
    run.run()
    executor.take()  # waits for the program
    measurement = ask(manual_line, "key", numbers(6))
    while not measurement.done:
        executor.take()
        run.look()
    between = "".join("s" if kind == "slice" else "c" for kind in kinds).strip("c").split("s")[1:-1]
    assert len(between) == 6 and all(between), "never two slices in a row"


def noted(kinds, kind, fun):
    def call(*args):
        kinds.append(kind)
        return fun(*args)

    return call


class Recording(ThreadPoolExecutor):
    """Notes when each task began and ended, and whether it was a chunk of a run."""

    def __init__(self, notes):
        super().__init__(1)
        self.notes = notes

    def submit(self, fun, /, *args, **kwargs):
        def noted():
            begin = time.perf_counter()
            try:
                return fun(*args, **kwargs)
            finally:
                self.notes.append((begin, time.perf_counter(), "chunk" if fun is worker.take_chunk else "record"))

        return super().submit(noted)


def test_no_chunk_runs_while_a_sample_is_taken_and_one_runs_between_two_slices(make_engine, make_run, monkeypatch):
    monkeypatch.setattr(module, "SLICE_S", 0.0)
    notes, samples = [], []
    engine = make_engine(lambda name: Recording(notes))
    line = Measurements(engine)
    runs = [make_run(engine) for _ in range(2)]
    for seed, run in enumerate(runs):
        run.configure(Spec(Mean(1024), CPU, seed), 0.1)
        run.run()
    eventually(lambda: all(run.look().step for run in runs))

    def make():
        for i in range(4):
            begin = time.perf_counter()
            time.sleep(0.02)
            samples.append((begin, time.perf_counter()))
            yield RECORDS[i]

    both = [ask(line, key, make, key) for key in "ab"]
    eventually(lambda: [run.look() for run in runs] and all(measurement.done for measurement in both))
    chunks = [(begin, end) for begin, end, kind in notes if kind == "chunk"]
    samples.sort()
    assert len(samples) == 8
    for begin, end in samples:
        assert not [chunk for chunk in chunks if chunk[0] < end and begin < chunk[1]]
    for (_, end), (begin, _) in pairwise(samples):
        assert [chunk for chunk in chunks if end <= chunk[0] and chunk[1] <= begin]


# The line.


def test_one_measurement_is_taken_after_the_other_and_each_knows_its_place(manual_line, executor):
    order = []

    def make(name):
        def rows():
            for record in RECORDS[:3]:
                order.append(name)
                yield record

        return rows

    taken = {name: ask(manual_line, name, make(name), name) for name in "abc"}

    def places():
        return [manual_line.look(measurement, name) for name, measurement in taken.items()]

    assert places() == [0, 1, 2]
    while not taken["a"].done:
        executor.take()
    assert places() == [0, 0, 1] and len(executor.tasks) == 1
    executor.take_all()
    assert order == [*"aaa", *"bbb", *"ccc"] and places() == [0, 0, 0]


def test_two_visitors_who_ask_for_the_same_share_one_measurement(manual_line, executor):
    made = []

    def make():
        made.append(1)
        yield RECORDS[0]

    one, other = ask(manual_line, "key", make, "one"), ask(manual_line, "key", make, "other")
    assert one is other and set(one.looks) == {"one", "other"}
    executor.take_all()
    assert made == [1] and one.done


def test_a_visitor_has_one_place_and_the_earlier_measurement_is_dropped(manual_line, executor):
    first = ask(manual_line, "first", numbers(9))
    executor.take()
    second = ask(manual_line, "second", numbers(2))
    executor.take_all()
    assert first.done and first.error and len(first.records) < 4
    assert second.records == RECORDS[:2] and not second.error
    assert manual_line.recent("first") is None and manual_line.recent("second") is second


def test_a_measurement_that_others_share_is_not_dropped(manual_line, executor):
    first = ask(manual_line, "first", numbers(3), "one")
    assert ask(manual_line, "first", numbers(3), "other") is first
    ask(manual_line, "second", numbers(1), "one")
    executor.take_all()
    assert first.records == RECORDS[:3] and not first.error


def test_those_who_left_do_not_keep_it_going_by_looking(manual_line, executor):
    first = ask(manual_line, "first", numbers(9))
    ask(manual_line, "second", numbers(1))
    manual_line.look(first, "visitor")
    executor.take_all()
    assert first.error


@pytest.mark.parametrize(("looks", "wanted"), [(True, True), (False, False)])
def test_it_goes_on_as_long_as_somebody_looks(manual_line, executor, clock, looks, wanted):
    measurement = ask(manual_line, "key", numbers(5))
    for _ in range(3):
        executor.take()
        clock.now += 0.7 * LEASE_S
        if looks:
            manual_line.look(measurement, "visitor")
    executor.take_all()
    assert (measurement.records == RECORDS[:5]) is wanted and bool(measurement.error) is not wanted
    assert measurement.done


def test_one_that_waits_and_that_nobody_looks_at_is_not_begun_and_not_counted(manual_line, executor, clock):
    begun = []

    def make():
        begun.append(1)
        yield RECORDS[0]

    first = ask(manual_line, "first", numbers(3), "one")
    given_up, last = ask(manual_line, "given up", make, "other"), ask(manual_line, "last", numbers(1), "third")
    clock.now += 0.9 * LEASE_S
    assert manual_line.look(first, "one") == 0 and manual_line.look(last, "third") == 2
    clock.now += 0.2 * LEASE_S
    assert manual_line.look(last, "third") == 1
    executor.take_all()
    assert not begun and given_up.error and not last.error and not first.error


# What was measured a short while ago.


def test_the_next_visitor_finds_what_was_measured_lately_with_its_age(manual_line, executor, clock):
    taken = ask(manual_line, "key", numbers(2), "one")
    assert manual_line.recent("key") is None, "it is not done"
    executor.take_all()
    clock.now += 40
    assert manual_line.recent("key") is taken and manual_line.age_s(taken) == 40
    assert manual_line.recent("other settings") is None
    clock.now += FRESH_S - 40
    assert manual_line.recent("key") is taken
    clock.now += 1
    assert manual_line.recent("key") is None


def test_measuring_again_really_measures(manual_line, executor):
    made = []

    def make():
        made.append(1)
        yield RECORDS[len(made)]

    first = ask(manual_line, "key", make)
    executor.take_all()
    second = ask(manual_line, "key", make)
    assert manual_line.recent("key") is first
    executor.take_all()
    assert second is not first and len(made) == 2 and manual_line.recent("key") is second


def test_what_failed_is_not_shown_to_others(manual_line, executor):
    def fail():
        yield RECORDS[0]
        raise ValueError("no")

    ask(manual_line, "key", fail)
    executor.take_all()
    assert manual_line.recent("key") is None


def test_so_many_are_kept_and_the_oldest_go(manual_line, executor):
    for i in range(MAX_KEPT + 3):
        ask(manual_line, i, numbers(1))
        executor.take_all()
    assert [manual_line.recent(i) is None for i in range(5)] == [True, True, True, False, False]


def test_it_says_for_how_long_it_has_been_asked_for(manual_line, clock):
    measurement = ask(manual_line, "key", numbers(1))
    clock.now += 3
    assert manual_line.elapsed_s(measurement) == 3


def test_a_closed_engine_ends_it_in_words(make_engine):
    engine = make_engine()
    line = Measurements(engine)
    engine.submit(CPU, int).result(10)
    engine.close()
    measurement = ask(line, "key", numbers(1))
    assert measurement.done and measurement.error


@dataclass(frozen=True)
class Own:
    """What is measured, and a name that is the visitor's own: it counts for nothing when two are compared."""

    name: str = field(compare=False)


def own_rows(device, own):
    yield RECORDS[0]


def panel(name):
    import jax
    from test_measurement import Own, own_rows

    from lib.ui import panels, waiting

    class Controls:
        device = jax.devices("cpu")[0]

    waiting.begin()
    panels.measure("own", Controls(), lambda records: None, "Measures.", own_rows, Own(name))
    waiting.finish()


def test_what_is_taken_home_is_written_from_the_visitors_own_settings(own_measurements, scripts_end, monkeypatch):
    written = []
    monkeypatch.setattr("lib.ui.take_home.measured", lambda name, taken, settings: written.append((taken, settings)))
    first, second = (AppTest.from_function(panel, kwargs={"name": name}) for name in ("first's", "second's"))
    first.run().button(key="own_measure").click().run()
    eventually(lambda: first.run() and bool(written), "the end of the measurement")
    second.run()
    (taken, (_, (own,), _)), (shared, (_, (others,), _)) = written[0], written[-1]
    assert taken is shared, "the second has found what the first has measured"
    assert (own.name, others.name) == ("first's", "second's")
