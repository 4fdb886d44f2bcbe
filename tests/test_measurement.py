"""`lib/live/measurement.py`: records come in one by one, and others have their turns between them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from support import DATA, Mean, eventually

from lib.live.devices import devices
from lib.live.measurement import Measurement
from lib.live.run import LiveRun, Spec

CPU = devices()["cpu:0"]


def numbers(count):
    def make():
        for i in range(count):
            yield {"i": i}

    return make


@pytest.mark.parametrize("count", [0, 1, 5])
def test_records_come_in_order_and_then_it_is_done(engine, count):
    measurement = Measurement(engine, CPU, "settings", numbers(count))
    eventually(lambda: measurement.done)
    assert measurement.records == [{"i": i} for i in range(count)]
    assert measurement.error == "" and measurement.about == "settings"
    assert time.time() - measurement.taken_at < 60
    eventually(lambda: engine.measurements() == 0)


def test_records_are_there_before_it_is_done(engine):
    go = threading.Event()

    def make():
        yield {"i": 0}
        go.wait(10)
        yield {"i": 1}

    measurement = Measurement(engine, CPU, None, make)
    eventually(lambda: measurement.records)
    assert not measurement.done and measurement.records == [{"i": 0}]
    go.set()
    eventually(lambda: measurement.done)
    assert len(measurement.records) == 2


def test_an_error_is_kept_with_the_records_before_it(engine):
    def make():
        yield {"i": 0}
        raise ValueError("out of memory")

    measurement = Measurement(engine, CPU, None, make)
    eventually(lambda: measurement.done)
    assert measurement.error == "out of memory" and measurement.records == [{"i": 0}]
    eventually(lambda: engine.measurements() == 0)


def test_an_error_without_words_is_named_by_its_type(engine):
    def make():
        raise MemoryError
        yield

    measurement = Measurement(engine, CPU, None, make)
    eventually(lambda: measurement.done)
    assert measurement.error == "MemoryError"


def test_an_error_in_making_the_calls_is_kept_too(engine):
    def make():
        raise ValueError("no such device")

    measurement = Measurement(engine, CPU, None, make)
    eventually(lambda: measurement.done)
    assert measurement.error == "no such device"


def test_an_error_ends_that_measurement_and_no_other(engine):
    def fail():
        raise ValueError("no")
        yield

    bad, good = Measurement(engine, CPU, None, fail), Measurement(engine, CPU, None, numbers(3))
    eventually(lambda: bad.done and good.done)
    assert bad.error and not good.error and len(good.records) == 3


def test_a_dropped_measurement_takes_no_more_records(engine):
    first, go = threading.Event(), threading.Event()

    def make():
        for i in range(1000):
            first.set()
            go.wait(10)
            yield {"i": i}

    measurement = Measurement(engine, CPU, None, make)
    assert first.wait(10)
    measurement.drop()
    go.set()
    eventually(lambda: measurement.done)
    assert len(measurement.records) <= 1 and measurement.error == ""


def test_it_says_how_many_are_ahead(engine):
    began, go = threading.Event(), threading.Event()

    def make():
        began.set()
        go.wait(10)
        yield {"i": 0}

    first = Measurement(engine, CPU, None, make)
    second = Measurement(engine, CPU, None, numbers(1))
    assert began.wait(10)
    assert first.ahead == 0 and second.ahead == 1
    go.set()
    eventually(lambda: second.done)
    assert second.ahead == 0


def test_two_measurements_take_turns(engine):
    order, go = [], threading.Event()

    def make(name):
        def records():
            go.wait(10)  # until both are there
            for i in range(4):
                order.append(name)
                yield {"i": i}

        return records

    one, other = Measurement(engine, CPU, None, make("one")), Measurement(engine, CPU, None, make("other"))
    go.set()
    eventually(lambda: one.done and other.done)
    assert order == ["one", "other"] * 4


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
                self.notes.append((begin, time.perf_counter(), "chunk" if fun is LiveRun._chunk else "record"))

        return super().submit(noted)


def test_no_chunk_runs_while_a_record_is_taken_and_one_runs_between_two(make_engine, make_run):
    notes, records = [], []
    engine = make_engine(lambda name: Recording(notes))
    runs = [make_run(engine) for _ in range(2)]
    for seed, run in enumerate(runs):
        run.configure(Spec(Mean(1024), CPU, seed, DATA, "line"), 0.1)
        run.run()
    eventually(lambda: all(run.look().step for run in runs))

    def make():
        for i in range(4):
            begin = time.perf_counter()
            time.sleep(0.02)
            records.append((begin, time.perf_counter()))
            yield {"i": i}

    both = [Measurement(engine, CPU, None, make) for _ in range(2)]
    eventually(lambda: [run.look() for run in runs] and all(measurement.done for measurement in both))
    chunks = [(begin, end) for begin, end, kind in notes if kind == "chunk"]
    records.sort()
    assert len(records) == 8
    for begin, end in records:
        assert not [chunk for chunk in chunks if chunk[0] < end and begin < chunk[1]]
    for (_, end), (begin, _) in pairwise(records):
        assert [chunk for chunk in chunks if end <= chunk[0] and chunk[1] <= begin]


def test_it_says_for_how_long_it_has_been_asked_for(engine):
    measurement = Measurement(engine, CPU, None, numbers(1))
    eventually(lambda: measurement.done)
    assert 0 <= measurement.elapsed_s < 60
