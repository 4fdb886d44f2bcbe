"""`lib/live/comparison.py`: what is measured of a step is that step, and the sentence follows from the numbers."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from support import Mean

from lib.lessons.multi_device.many_devices import ManyDevices
from lib.lessons.multi_device.routine import Layout
from lib.live import comparison
from lib.live.comparison import DISPATCH, EAGER, HOST, JIT, break_even, compare_step, lines_of
from lib.live.devices import devices
from lib.measure import compile_log
from lib.measure.timing import PAUSE, Record, once, records_of
from lib.ui import live_view

CPU = devices()["cpu:0"]


@dataclass(frozen=True)
class Watched(Mean):
    """Keeps how it was called: by values, or by what stands for them while JAX traces."""

    calls: Any = None

    def step(self, state, data, learning_rate):
        self.calls.append((isinstance(state.params["b"], jax.core.Tracer), learning_rate, data))
        return super().step(state, data, learning_rate)

    __hash__ = Mean.__hash__


def test_a_step_is_measured_eagerly_compiled_and_by_its_dispatch():
    problem = Watched(8, calls=[])
    records = records_of(compare_step(CPU, problem, 0, 0.25))
    assert [(record.label, record.phase) for record in records[3:]] == [
        (EAGER, "eager"), (JIT, "steady"), (DISPATCH, "dispatch")
    ]  # fmt: skip
    assert [record.phase for record in records[:3]] == ["trace", "lower", "compile"]
    assert lines_of(records) == records[3:]
    assert all(0 < record.low_ms <= record.median_ms <= record.high_ms for record in records)
    traced = [call for call in problem.calls if call[0]]
    eager = [call for call in problem.calls if not call[0]]
    assert len(traced) == 1, "it is compiled once, and all compiled calls find it"
    assert len(eager) > 5 and {float(call[1]) for call in eager} == {0.25}
    np.testing.assert_array_equal(eager[0][2], problem.data(0))
    assert break_even(records).startswith("The step alone compiled in ")


def test_it_compiles_anew_what_a_run_has_compiled_before():
    list(compare_step(CPU, Mean(8), 0, 0.1))
    before = compile_log.compilations()
    records_of(compare_step(CPU, Mean(8), 0, 0.1))
    assert compile_log.compilations() > before


@pytest.mark.parametrize("name", list(devices())[:2])
def test_it_runs_on_the_device_that_is_asked_for(name, monkeypatch):
    seen = set()

    def compare(calls, unblocked=()):
        for label, call in calls.items():
            state, _ = call()
            seen.update(state.params["b"].devices())
            yield once(label, "steady", 1.0)

    monkeypatch.setattr(comparison, "compare", compare)
    records_of(compare_step(devices()[name], Mean(8), 0, 0.1))
    assert seen == {devices()[name]}


def test_it_may_be_interrupted_before_each_part():
    rows = list(compare_step(CPU, Mean(8), 0, 0.1))
    first = next(i for i, row in enumerate(rows) if row is not PAUSE)
    assert first >= 2 and rows.count(PAUSE) > 20


def test_a_step_on_the_host_is_measured_as_it_is():
    records = records_of(compare_step(CPU, ManyDevices(32, Layout((2, 1))), 0, 0.1))
    assert [(record.label, record.phase) for record in records[3:]] == [(HOST, "steady")]
    assert sum(record.median_ms for record in records[:3]) > 0
    assert break_even(records) == "", "nothing to compare with"
    assert live_view._worth(SimpleNamespace(records=records, error="", done=True)) == [], "and no empty box says so"


def measured(eager_ms, jit_ms, compile_ms=100.0, spread=0.01):
    def steady(label, phase, ms):
        return Record(label, phase, ms, ms * (1 - spread), ms * (1 + spread), 20, 5)

    return [
        once("trace the step", "trace", 10.0), once("lower the step", "lower", 4.0),
        once("compile the step", "compile", compile_ms),
        steady(EAGER, "eager", eager_ms), steady(JIT, "steady", jit_ms), steady(DISPATCH, "dispatch", jit_ms / 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (measured(5.1, 0.1), "The step alone compiled in 114 ms, saves 5 ms a call: pays from the 23rd call."),
        (measured(114.2, 0.1), "The step alone compiled in 114 ms, saves 114 ms a call: pays from the 1st call."),
        (measured(114.1, 0.1), "The step alone compiled in 114 ms, saves 114 ms a call: pays from the 2nd call."),
        (measured(10.1, 0.1), "The step alone compiled in 114 ms, saves 10 ms a call: pays from the 12th call."),
        (measured(0.06, 0.01), "The step alone compiled in 114 ms, saves 50 µs a call: pays from the 2,281st call."),
        (
            measured(50.1, 0.1, 2000.0),
            "The step alone compiled in 2.01 s, saves 50 ms a call: pays from the 41st call.",
        ),
        (
            measured(1.0, 3.0),
            "The step alone compiled in 114 ms, and a call takes 2 ms longer than the eager step: it never pays.",
        ),
        (
            measured(1.0, 0.99, spread=0.1),
            "The step alone compiled in 114 ms; a call and the eager step are not distinguishable: their quartiles overlap.",
        ),
        (measured(1.0, 0.5)[:4], ""),
        ([], ""),
    ],
)
def test_the_sentence_follows_from_the_numbers(records, sentence):
    assert break_even(records) == sentence


@pytest.mark.parametrize("eager_ms", [0.5, 1.0, 7.3, 114.0, 300.0])
def test_the_call_that_it_pays_from_is_the_first_whose_sum_is_less(eager_ms):
    words = break_even(measured(eager_ms, 0.2))
    n = int("".join(filter(str.isdigit, words.split("from the ")[1])))
    assert 114 + n * 0.2 < n * eager_ms
    assert n == 1 or 114 + (n - 1) * 0.2 >= (n - 1) * eager_ms
