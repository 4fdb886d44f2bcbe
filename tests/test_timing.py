"""`lib/measure/timing.py`: structure, blocking and turns. No absolute time is asserted."""

from contextlib import suppress
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import uninterrupted

from lib.measure import timing
from lib.measure.timing import (
    LONG_S,
    MAX_SAMPLES,
    MIN_SAMPLES,
    PAUSE,
    SAMPLE_S,
    Record,
    calibrate,
    compare,
    interleaved,
    once,
    profile,
    profile_rows,
    records_of,
    summary,
    sweep,
    timed,
    times_as_fast,
)


class Now:
    """A clock that moves when something takes time."""

    def __init__(self):
        self.seconds = 0.0

    def perf_counter(self):
        return self.seconds


@pytest.fixture
def now(monkeypatch):
    clock = Now()
    monkeypatch.setattr(timing, "time", clock)
    return clock


class Result:
    """Stands for an array that is ready some time after the call has returned."""

    def __init__(self, now, seconds):
        self.now, self.ready, self.blocked = now, now.seconds + seconds, 0

    def block_until_ready(self):
        self.blocked += 1
        self.now.seconds = max(self.now.seconds, self.ready)
        return self


class Asynchronous:
    """Takes `dispatch` seconds to return what is ready `seconds` later."""

    def __init__(self, now, seconds, dispatch=0.0):
        self.now, self.seconds, self.dispatch, self.results = now, seconds, dispatch, []

    def __call__(self):
        self.now.seconds += self.dispatch
        self.results.append(Result(self.now, self.seconds))
        return {"leaf": self.results[-1], "other": [Result(self.now, 0)]}


def test_a_blocked_sample_waits_for_every_result(now):
    call = Asynchronous(now, 3.0, dispatch=0.5)
    assert timing._sample(call, 4, block=True) == pytest.approx(3.5)
    assert [result.blocked for result in call.results] == [1] * 4


def test_an_unblocked_sample_times_the_call_alone_and_leaves_the_device_idle(now):
    call = Asynchronous(now, 3.0, dispatch=0.5)
    assert timing._sample(call, 4, block=False) == pytest.approx(0.5)
    assert call.results[-1].blocked == 1 and now.seconds == pytest.approx(4 * 0.5 + 3.0)


@pytest.mark.parametrize("seconds", [1e-8, 1e-6, 1e-4, 1.9e-3, 2e-3, 5.0])
def test_calibration_makes_samples_just_long_enough(now, seconds):
    calls = calibrate(Asynchronous(now, seconds))
    assert calls * seconds >= SAMPLE_S * 0.999
    assert calls <= 1 + 1.3 * SAMPLE_S / seconds


def test_calibration_trusts_no_slow_first_call(now):
    costs = iter([1e-3])

    def call():
        now.seconds += next(costs, 1e-6)

    assert calibrate(call) * 1e-6 >= SAMPLE_S * 0.999


def test_a_summary_is_median_and_quartiles():
    samples = [5.0, 1.0, 2.0, 4.0, 3.0]
    found = summary(samples, 7)
    assert found == (3.0, 2.0, 4.0, 5, 7)
    assert summary([2.0], 1) == (2.0, 2.0, 2.0, 1, 1)


def test_variants_are_timed_in_turns(now):
    turns = []

    def call(name):
        turns.append(name)
        now.seconds += 1.0

    timings = uninterrupted(interleaved({name: partial(call, name) for name in "abc"}, budget_s=29.0))
    assert turns == [*"abc", *"abc" * 10], "one each to calibrate, then ten turns of three seconds"
    assert {t.samples for t in timings.values()} == {10}


@pytest.mark.parametrize(("budget_s", "expected"), [(0.0, MIN_SAMPLES), (1000.0, MAX_SAMPLES)])
def test_the_number_of_samples_is_bounded(monkeypatch, budget_s, expected):
    monkeypatch.setattr(timing, "calibrate", lambda call: 1)
    assert uninterrupted(interleaved({"a": lambda: None}, budget_s))["a"].samples == expected


def test_an_unblocked_variant_is_not_waited_for(now):
    call = Asynchronous(now, 3.0, dispatch=0.5)
    timings = uninterrupted(interleaved({"steady": call, "dispatch": call}, 0.0, unblocked=("dispatch",)))
    assert timings["steady"].median == pytest.approx(3.5)
    assert timings["dispatch"].median == pytest.approx(0.5)


def test_dispatch_is_timed_on_few_calls(monkeypatch):
    monkeypatch.setattr(timing, "calibrate", lambda call: 5000)
    monkeypatch.setattr(timing, "_sample", lambda call, calls, block: 1.0)
    timings = uninterrupted(interleaved({"a": int, "b": int}, 0.0, unblocked=("b",)))
    assert timings["a"].calls == 5000 and timings["b"].calls == 20


def test_a_profile_compiles_anew_each_time_and_counts_flops():
    traces = []

    def fun(a, b):
        traces.append(1)
        return a @ b

    args = tuple(jax.device_put(np.ones((2, 16, 16), np.float32)))
    for expected in (1, 2):
        found = uninterrupted(profile(fun, args, budget_s=0.01))
        assert len(traces) == expected
        assert all(phase > 0 for phase in found.phases) and found.first_ms > 0
        assert found.steady.low <= found.steady.median <= found.steady.high
        assert found.cost.flops == pytest.approx(2 * 16**3, rel=0.05)
        assert found.gflops_per_s == pytest.approx(found.cost.flops / found.steady.median / 1e9)
        assert found.gbytes_per_s == pytest.approx(found.cost.size_bytes / found.steady.median / 1e9)


def test_no_throughput_without_a_cost():
    found = uninterrupted(profile(lambda x: x, (jnp.float32(1),), budget_s=0.0))
    found = found._replace(cost=found.cost._replace(flops=None, size_bytes=None))
    assert found.gflops_per_s is None and found.gbytes_per_s is None


def test_records_are_in_milliseconds():
    found = timed("jit(f)", "steady", timing.Timing(0.002, 0.001, 0.003, 5, 7), flops=8)
    assert found == Record("jit(f)", "steady", 2.0, 1.0, 3.0, samples=5, calls=7, size=None, more={"flops": 8})
    assert once("trace", "trace", 4.0) == Record("trace", "trace", 4.0, 4.0, 4.0, samples=1, calls=1)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((2.0, 1.0, 3.0), (8.0, 7.0, 9.0), 4.0), ((8.0, 7.0, 9.0), (2.0, 1.0, 3.0), 0.25),
     ((2.0, 1.0, 3.0), (4.0, 3.0, 5.0), None), ((2.0, 1.0, 9.0), (5.0, 4.0, 6.0), None)],
)  # fmt: skip
def test_what_overlaps_in_its_quartiles_is_not_distinguishable(one, other, expected):
    assert times_as_fast(Record("a", "steady", *one), Record("b", "steady", *other)) == expected


def test_a_profile_has_its_rows_in_the_order_of_what_happens():
    records = records_of(profile_rows(lambda x: jnp.sin(x).sum(), (jnp.ones(8),), "jit(f)", "f"))
    assert [record.phase for record in records] == [
        "trace", "lower", "compile", "first run", "steady", "dispatch", "eager",
    ]  # fmt: skip
    assert [record.label for record in records] == [
        "trace", "lower", "compile", "first run", "jit(f), steady", "not blocked: dispatch alone", "f, eager",
    ]  # fmt: skip
    assert all(0 < record.low_ms <= record.median_ms <= record.high_ms for record in records)
    assert {"flops", "size_bytes", "gflops_per_s", "gbytes_per_s"} == set(records[4].more)


def test_rivals_are_warm_before_they_are_compared(monkeypatch):
    called = []
    calls = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}

    def at_once(calls, budget_s, unblocked):
        yield
        return {name: summary([1.0], 1) for name in calls}

    monkeypatch.setattr(timing, "interleaved", at_once)
    records = records_of(compare(calls, unblocked=("b",)))
    assert called == ["a", "b"]
    assert [(record.label, record.phase) for record in records] == [("a", "steady"), ("b", "dispatch")]
    assert records[0].median_ms == 1000.0


def test_a_sweep_leaves_out_what_has_become_too_slow(now):
    made = []

    def take(seconds):
        now.seconds += seconds

    def make(size):
        made.append(size)
        return {"quick": partial(take, 0.01), "slow": partial(take, 0.1 * size)}

    records = records_of(sweep(make, [1, 4, 8, 16], limit_ms=500))
    assert made == [1, 4, 8, 16]
    assert [record.size for record in records if record.label == "quick"] == [1, 4, 8, 16]
    assert [record.size for record in records if record.label == "slow"] == [1, 4, 8]
    for record in records:
        exact = 10 if record.label == "quick" else 100 * record.size
        assert record.median_ms == pytest.approx(exact) and record.phase == "steady"
        assert record.samples >= MIN_SAMPLES


def test_a_sweep_measures_what_it_is_told_to_and_gives_each_record_its_size():
    def measure(rivals):
        for name, ms in rivals.items():
            yield PAUSE
            yield once(name, "compile", ms)

    rows = list(sweep(lambda size: {"a": 1.0, "b": 10.0 * size}, [1, 2, 3], measure, limit_ms=15))
    assert [row for row in rows if row] == [
        Record(name, "compile", ms, ms, ms, size=size)
        for name, ms, size in [("a", 1, 1), ("b", 10, 1), ("a", 1, 2), ("b", 20, 2), ("a", 1, 3)]
    ]
    assert rows.count(PAUSE) == 3 + 5


# Interruptions.


def test_after_an_interruption_each_call_is_made_once_untimed(now):
    made, timed_calls = [], []

    def call(name):
        made.append(name)
        now.seconds += 0.01 if name in cold else 0.001
        cold.discard(name)

    cold: set[str] = set()
    slices = interleaved({name: partial(call, name) for name in "ab"}, budget_s=0.0)
    turns = 0
    try:
        while True:
            next(slices)
            turns += 1
            if turns in (5, 8):  # others have the processor, and leave nothing of ours in its caches
                now.seconds += 7.0
                cold.update("ab")
                timed_calls.append(len(made))
    except StopIteration as end:
        found = end.value
    assert len(timed_calls) == 2 and not cold
    for timing_ in found.values():
        assert timing_.samples == MIN_SAMPLES
        assert timing_[:3] == pytest.approx((0.001,) * 3), "neither the pause nor the cold call is in it"


def test_a_long_call_is_not_made_twice_after_an_interruption(now):
    made = []

    def call():
        made.append(now.seconds)
        now.seconds += 2 * LONG_S

    slices = interleaved({"a": call}, budget_s=0.0)
    turns = 0
    with suppress(StopIteration):
        while True:
            next(slices)
            turns += 1
            now.seconds += 1.0 if turns > 2 else 0.0
    assert len(made) == 1 + MIN_SAMPLES, "one to calibrate"


@pytest.mark.parametrize(("pause_s", "samples"), [(1.0, 9), (60.0, MIN_SAMPLES)])
def test_pauses_do_not_use_up_the_budget_unless_they_are_long(now, pause_s, samples):
    def call():
        now.seconds += 0.1

    slices = interleaved({"a": call}, budget_s=0.95)
    try:
        while True:
            next(slices)
            now.seconds += pause_s
    except StopIteration as end:
        assert end.value["a"].samples == samples, "and one to be warm again"
