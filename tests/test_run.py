"""`lib/live/run.py`: what a visitor's run does, step by step, on a queue and a clock that the test drives."""

import threading
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from support import DATA, LossBreaks, Mean, Refuses, eventually, mean_loop

from lib.live.devices import devices
from lib.live.engine import BACKGROUND_THREADS
from lib.live.pace import CHUNK_S, TURN_S, Pace
from lib.live.program import steps_key
from lib.live.recorder import AXES
from lib.live.run import LEASE_S, PICTURE_S, Spec, Status
from lib.measure import compile_log

CPU = devices()["cpu:0"]


def spec(problem=None, device=CPU, seed=0):
    return Spec(problem or Mean(8), device, seed)


@pytest.fixture
def run(make_run, manual_engine, clock):
    """A run that is configured and has not been started."""
    run = make_run(manual_engine, clock=clock)
    run.configure(spec(), 0.1)
    return run


def settled(run, executor):
    """Looks and computes until nothing more is to be done at the present time, the last picture among it."""
    while True:
        snapshot = run.look()
        if not executor.tasks:
            return snapshot
        executor.take_all()


def go_to(run, executor, step):
    """Runs to a step, all of it."""
    run.run(stop_at=step)
    while run.look().status is not Status.FINISHED:
        executor.take()
    return settled(run, executor)


def diverge(run, executor):
    run.run()
    eventually(lambda: (executor.take_all(), run.look().status is Status.DIVERGED)[1])
    return settled(run, executor)


def all_finite(arrays):
    return all(np.isfinite(values).all() for values in arrays.values())


def assert_whole(snapshot):
    """Every step is in the history, once: each bucket is in the middle of its steps."""
    steps = snapshot.coordinates["step"]
    width = int(2 * steps[0] - 1) if len(steps) > 1 else snapshot.step
    every = np.arange(1, snapshot.step + 1)
    begins = range(0, snapshot.step - width + 1, width)
    ends = [*begins[1:], snapshot.step]  # the last bucket has the steps that do not fill another
    np.testing.assert_array_equal(steps, [every[begin:end].mean() for begin, end in zip(begins, ends, strict=True)])


# Start, stop, step.


def test_nothing_happens_before_it_is_started(run, executor):
    snapshot = run.look()
    assert snapshot.status is Status.READY and not snapshot.active
    assert snapshot.step == 0
    assert not snapshot.metrics and not snapshot.latest and snapshot.picture is None
    assert not executor.tasks and snapshot.compilations == ()


def test_an_unconfigured_run_can_be_looked_at_and_started(make_run, manual_engine):
    run = make_run(manual_engine)
    assert run.look().step == 0
    run.run()
    run.pause()
    assert run.look().step == 0


def test_it_says_that_it_compiles_and_for_how_long(make_run, manual_engine, clock):
    blocked = threading.Event()
    for _ in range(2):  # both background threads: the compilation has to wait
        manual_engine.background(blocked.wait)
    run = make_run(manual_engine, clock=clock)
    run.configure(spec(Mean(8, size=21)), 0.1)
    run.run()
    clock.now += 2.5
    snapshot = run.look()
    assert snapshot.status is Status.COMPILING and snapshot.active
    assert snapshot.since_s == pytest.approx(2.5)
    blocked.set()
    eventually(lambda: run.look().status is Status.RUNNING)
    assert run.look().since_s == 0
    assert run.look().compilations[0].waited_s == pytest.approx(2.5)


def test_it_says_how_long_it_compiles_by_a_clock_that_starts_at_zero(make_run, manual_engine, clock):
    blocked = threading.Event()
    for _ in range(2):
        manual_engine.background(blocked.wait)
    clock.now = 0.0
    run = make_run(manual_engine, clock=clock)
    run.configure(spec(Mean(8, size=22)), 0.1)
    run.run()
    clock.now = 2.5
    since_s = run.look().since_s
    blocked.set()
    assert since_s == pytest.approx(2.5)


@pytest.mark.parametrize("stop_at", [1, 2, 7, 100, 20_000])
def test_it_ends_at_exactly_the_last_step(run, executor, stop_at):
    snapshot = go_to(run, executor, stop_at)
    assert snapshot.step == stop_at
    assert not executor.tasks
    assert_whole(snapshot)


def test_a_last_step_that_is_behind_is_refused_in_words(run, executor):
    go_to(run, executor, 10)
    run.run(stop_at=10)
    snapshot = run.look()
    assert snapshot.status is Status.FINISHED and "step 10" in snapshot.message
    assert not executor.tasks
    run.run(stop_at=12)
    assert run.look().message == ""
    assert settled(run, executor).step == 12


def test_it_goes_on_after_its_last_step_when_there_is_a_further_one(run, executor):
    go_to(run, executor, 10)
    snapshot = go_to(run, executor, 25)
    assert snapshot.step == 25
    assert_whole(snapshot)


@pytest.mark.parametrize("already", [0, 1, 17])
def test_step_takes_exactly_one_step_and_pauses(run, executor, already):
    if already:
        go_to(run, executor, already)
    run.step()
    executor.take()
    snapshot = settled(run, executor)
    assert snapshot.step == already + 1 and snapshot.status is Status.PAUSED
    assert sum(chunk.num_steps for chunk in executor.results) == already + 1


def test_pause_stops_after_the_chunk_under_way(run, executor):
    run.run()
    executor.take()
    run.pause()
    before = run.look().step
    assert run.look().active, "what is under way will still change it"
    chunk = executor.take()
    snapshot = settled(run, executor)
    assert snapshot.status is Status.PAUSED and not snapshot.active
    assert snapshot.step == before + chunk.num_steps
    assert_whole(snapshot)


def test_a_paused_run_goes_on_where_it_was(run, executor):
    run.run()
    executor.take()
    run.pause()
    executor.take()
    before = run.look().step
    snapshot = go_to(run, executor, before + 5)
    assert snapshot.step == before + 5
    losses = np.concatenate([chunk.metrics["loss"] for chunk in executor.results if chunk.num_steps])
    expected = np.abs(mean_loop(0, 3, [(8, 0.1)] * snapshot.step)).max(1)
    np.testing.assert_allclose(losses, expected[:-1], rtol=1e-4, atol=1e-7)


def test_a_pause_while_it_compiles_holds(run, executor):
    run.run()
    run.pause()
    eventually(lambda: run.look().compilations)
    assert run.look().status is Status.PAUSED and not executor.tasks
    assert run.look().step == 0


def test_reset_goes_back_before_the_first_step_and_starts_alike(run, executor):
    first = go_to(run, executor, 30)
    run.reset()
    nothing = run.look()
    assert nothing.status is Status.READY and nothing.step == 0 and nothing.examples == 0
    assert not nothing.metrics and nothing.computing_s == 0 and nothing.picture is None
    assert nothing.compilations == () and nothing.events == ()
    again = go_to(run, executor, 30)
    np.testing.assert_array_equal(again.metrics["each"], first.metrics["each"])


def test_reset_ignores_the_chunk_that_comes_late(run, executor):
    run.run()
    executor.take()
    assert len(executor.tasks) == 1
    run.reset()
    executor.take()
    snapshot = run.look()
    assert snapshot.step == 0 and snapshot.status is Status.READY and not snapshot.metrics
    assert not executor.tasks


def test_after_a_reset_a_late_chunk_does_not_mix_with_the_new_run(run, executor):
    run.run()
    executor.take()
    run.reset()
    run.run(stop_at=3)
    executor.take_all()  # the late one, then those of the new run
    eventually(lambda: (executor.take_all(), run.look().status is Status.FINISHED)[1])
    snapshot = run.look()
    assert snapshot.step == 3
    np.testing.assert_array_equal(snapshot.coordinates["step"], [1, 2, 3])


# What it reports.


def test_the_history_equals_an_explicit_loop(run, executor):
    snapshot = go_to(run, executor, 100)
    path = mean_loop(0, 3, [(8, 0.1)] * 100)
    for part in (snapshot.metrics, snapshot.lows, snapshot.highs):  # a step a bucket
        np.testing.assert_allclose(part["each"], path[:-1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(part["loss"], np.abs(path[:-1]).max(1), rtol=1e-5)
        assert {name: values.shape for name, values in part.items()} == {"loss": (100,), "each": (100, 3)}
    for name, values in snapshot.metrics.items():
        np.testing.assert_array_equal(snapshot.latest[name], values[-1])


def test_a_long_history_is_mean_minimum_and_maximum_of_the_explicit_loop(run, executor):
    snapshot = go_to(run, executor, 200)
    path = mean_loop(0, 3, [(8, 0.1)] * 200)[:-1]
    width = 200 // len(snapshot.metrics["each"])
    assert width > 1
    pairs = path.reshape(-1, width, 3)
    np.testing.assert_allclose(snapshot.metrics["each"], pairs.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(snapshot.lows["each"], pairs.min(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(snapshot.highs["each"], pairs.max(1), rtol=1e-5, atol=1e-6)


def test_coordinates_are_steps_computing_seconds_and_examples(run, executor):
    snapshot = go_to(run, executor, 60)
    steps, seconds, examples = (snapshot.coordinates[axis] for axis in AXES)
    np.testing.assert_array_equal(steps, np.arange(1, 61))
    np.testing.assert_array_equal(examples, 8 * steps)
    assert np.all(np.diff(seconds) > 0) and seconds[-1] == pytest.approx(snapshot.computing_s)
    chunks = sum(chunk.elapsed_s for chunk in executor.results if chunk.num_steps)
    assert snapshot.computing_s == pytest.approx(chunks)


@pytest.mark.parametrize("stop", [1, 2, 40])
def test_the_picture_of_a_run_at_rest_is_of_its_last_state(run, executor, stop):
    snapshot = go_to(run, executor, stop)
    path = mean_loop(0, 3, [(8, 0.1)] * stop)
    np.testing.assert_allclose(snapshot.picture["b"], path[-1], rtol=1e-5, atol=1e-6)
    assert set(snapshot.observed) == {"test_loss"}
    assert snapshot.observed["test_loss"][-1] == pytest.approx(np.abs(path[-1]).max(), rel=1e-5)
    assert snapshot.observed_coordinates["step"][-1] == stop
    assert not snapshot.active


def test_the_picture_of_a_paused_run_and_of_a_diverged_one_are_of_their_last_states(run, executor):
    run.run()
    executor.take()
    run.pause()
    snapshot = settled(run, executor)
    path = mean_loop(0, 3, [(8, 0.1)] * snapshot.step)
    np.testing.assert_allclose(snapshot.picture["b"], path[-1], rtol=1e-5, atol=1e-6)
    run.reset()
    run.configure(spec(), 17.0)
    snapshot = diverge(run, executor)
    path = mean_loop(0, 3, [(8, 17.0)] * snapshot.step)
    np.testing.assert_allclose(snapshot.picture["b"], path[-1], rtol=1e-4)


def test_no_picture_is_taken_while_nobody_looks(run, executor, clock):
    run.run()
    assert executor.take().observed is not None
    assert [executor.take().observed for _ in range(3)] == [None] * 3
    run.look()
    assert [executor.take().observed for _ in range(3)] == [None] * 3, "the last picture is new enough"
    clock.now += PICTURE_S
    run.look()
    executor.take()  # was submitted before the look
    assert executor.take().observed is not None


def test_pictures_are_taken_more_often_at_first(run, executor, clock):
    run.run()
    executor.take()
    for later_s, observed in ((0.0, True), (LEASE_S / 2, False)):
        clock.now += later_s
        run.look()
        executor.take()
        executor.take()
        clock.now += PICTURE_S / 2
        run.look()
        executor.take()  # was submitted before the look
        assert (executor.take().observed is not None) == observed


@pytest.mark.parametrize("pace", [20.0, 1000.0, 10_000.0])
def test_what_is_observed_of_a_run_with_a_pace_begins_without_a_long_chord(run, executor, clock, pace):
    begun = clock.now
    started_at(run, executor, clock, pace)
    for _ in range(3):
        clock.now += 0.24
        run.look()
        executor.take_all()
    snapshot = run.snapshot()
    steps = snapshot.observed_coordinates["step"]
    assert steps[-1] == snapshot.step == pytest.approx(pace * (clock.now - begun), abs=1)
    assert np.all(np.diff(steps) <= 1 + steps[:-1] / 4) and steps[0] == 1
    path = mean_loop(0, 3, [(8, 0.1)] * snapshot.step)
    losses = np.abs(path[steps.astype(int)]).max(1)
    np.testing.assert_allclose(snapshot.observed["test_loss"], losses, rtol=1e-5)


def test_what_was_observed_last_is_told_as_it_is_however_long_the_history(run, executor, clock):
    run.configure(spec(), 0.01, pace=10.0)
    run.run()
    eventually(lambda: run.look().compilations)
    for _ in range(150):
        clock.now += 0.1
        run.look()
        executor.take_all()
    snapshot = run.snapshot()
    assert snapshot.step > 128 and len(snapshot.observed["test_loss"]) <= 64, (
        "the history has no buckets of several rows"
    )
    path = mean_loop(0, 3, [(8, 0.01)] * snapshot.step)
    assert float(snapshot.latest_observed["test_loss"]) == pytest.approx(np.abs(path[-1]).max(), rel=1e-5)
    run.reset()
    assert run.snapshot().latest_observed == {}


def test_a_long_history_stays_below_the_size_of_a_frame(run, executor):
    snapshot = go_to(run, executor, 30_000)
    assert sum(values.nbytes for values in snapshot.metrics.values()) <= 10_000
    assert_whole(snapshot)


def test_the_time_of_a_step_is_that_of_its_chunk_and_the_first_execution_is_apart(run, executor):
    snapshot = go_to(run, executor, 60)
    first, *later = [chunk for chunk in executor.results if chunk.num_steps]
    assert first.num_steps == 1 and snapshot.compilations[0].first_ms == pytest.approx(1e3 * first.elapsed_s)
    times = snapshot.step_ms
    for part in times[1:]:
        np.testing.assert_allclose(part, [1e3 * chunk.elapsed_s / chunk.num_steps for chunk in later], rtol=1e-6)
    np.testing.assert_array_equal(times.coordinates["step"], 1 + np.cumsum([chunk.num_steps for chunk in later]))
    np.testing.assert_array_equal(times.coordinates["examples"], 8 * times.coordinates["step"])


def test_each_program_has_a_first_execution(run, executor):
    go_to(run, executor, 20)
    run.configure(spec(Mean(16)), 0.1)
    snapshot = go_to(run, executor, 40)
    firsts = [chunk for chunk in executor.results if chunk.num_steps]
    assert [made.step for made in snapshot.compilations] == [0, 20]
    by_step = dict(zip(np.cumsum([chunk.num_steps for chunk in firsts]).tolist(), firsts, strict=True))
    for made in snapshot.compilations:
        assert made.first_ms == pytest.approx(1e3 * by_step[made.step + 1].elapsed_s)
        assert made.step + 1 not in snapshot.step_ms.coordinates["step"]


def test_the_times_of_many_chunks_are_bounded(run, executor, clock):
    run.configure(spec(), 0.1, pace=10.0)
    run.run()
    eventually(lambda: run.look().compilations)
    for _ in range(300):
        clock.now += 0.1
        run.look()
        executor.take_all()
    times = run.snapshot().step_ms
    elapsed = [1e3 * chunk.elapsed_s / chunk.num_steps for chunk in executor.results if chunk.num_steps][1:]
    assert len(elapsed) > 250 and 24 <= len(times.mean) <= 48
    assert times.low.min() == pytest.approx(min(elapsed)) and times.high.max() == pytest.approx(max(elapsed))
    assert np.all((times.low <= times.mean * (1 + 1e-6)) & (times.mean <= times.high * (1 + 1e-6)))


# Seeds and chunks.


def test_equal_seeds_give_equal_runs_and_other_seeds_do_not(make_run, manual_engine, executor):
    values = []
    for seed in (5, 5, 6):
        run = make_run(manual_engine)
        run.configure(spec(seed=seed), 0.1)
        values.append(go_to(run, executor, 50).metrics["each"])
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.allclose(values[0], values[2])


@pytest.mark.parametrize("stops", [[64], range(1, 65), [1, 2, 30, 64], [63, 64]])
def test_the_trajectory_does_not_depend_on_the_chunks(run, executor, stops):
    for stop in stops:
        snapshot = go_to(run, executor, stop)
    path = mean_loop(0, 3, [(8, 0.1)] * 64)
    losses = snapshot.metrics["loss"]
    np.testing.assert_allclose(losses, np.abs(path[:-1]).max(1), rtol=1e-5)
    assert sum(chunk.num_steps for chunk in executor.results) == 64


# The lease.


def test_without_a_look_it_stops_computing_when_the_lease_is_over(run, executor, clock):
    run.run()
    executor.take()
    run.look()
    clock.now += LEASE_S - 0.1
    executor.take()
    assert executor.tasks, "the lease is not over yet"
    clock.now += 0.2
    executor.take()  # under way already
    assert not executor.tasks


def test_a_look_after_the_lease_goes_on_with_the_history_whole(run, executor, clock):
    run.run()
    executor.take()
    clock.now += 100 * LEASE_S
    executor.take_all()
    step = run.snapshot().step  # not by a look, which would go on
    snapshot = run.look()
    assert snapshot.step == step and snapshot.status is Status.RUNNING
    assert len(executor.tasks) == 1
    executor.take()
    executor.take()
    snapshot = run.look()
    assert snapshot.step > step
    assert_whole(snapshot)
    losses = np.abs(mean_loop(0, 3, [(8, 0.1)] * snapshot.step)).max(1)
    assert snapshot.latest["loss"] == pytest.approx(losses[-2], rel=1e-5)


# The pace.


def started_at(run, executor, clock, pace):
    """Starts a run with a pace, compiled, at a known step and time."""
    run.configure(spec(), 0.1, pace=pace)
    run.run()
    eventually(lambda: run.look().compilations)
    clock.now += 0.5
    return settled(run, executor).step, clock.now


def pass_time(run, executor, clock, ticks):
    for _ in range(ticks):
        clock.now += 0.2
        snapshot = settled(run, executor)
    return snapshot


@pytest.mark.parametrize("pace", [5, 20, 100, 1000])
def test_a_paced_run_takes_as_many_steps_as_are_due(run, executor, clock, pace):
    at, begun = started_at(run, executor, clock, pace)
    for _ in range(30):
        snapshot = pass_time(run, executor, clock, 1)
        assert snapshot.step - at == pytest.approx(pace * (clock.now - begun), abs=1)
    assert_whole(snapshot)


def test_a_paced_run_does_not_catch_up_in_one_leap(run, executor, clock):
    before, _ = started_at(run, executor, clock, 100)
    clock.now += 4.0  # the processor was busy with others
    at, now = settled(run, executor).step, clock.now
    assert before < at <= before + 2
    assert pass_time(run, executor, clock, 5).step - at == pytest.approx(100 * (clock.now - now), abs=2)


def test_a_changed_pace_holds_from_then_on(run, executor, clock):
    at, now = started_at(run, executor, clock, 100)
    run.configure(spec(), 0.1, pace=20)
    snapshot = pass_time(run, executor, clock, 10)
    assert snapshot.step - at == pytest.approx(20 * (clock.now - now), abs=1)
    assert len(snapshot.compilations) == 1


def test_a_paused_time_is_not_caught_up(run, executor, clock):
    at, _ = started_at(run, executor, clock, 100)
    run.pause()
    clock.now += 0.9
    run.run()
    now = clock.now
    assert pass_time(run, executor, clock, 5).step - at == pytest.approx(100 * (clock.now - now), abs=1)


def lengths(pace, elapsed_s, load, chunks):
    """The lengths of chunks that take `elapsed_s(i, count)` each."""
    counts, step = [], 0
    for i in range(chunks):
        counts.append(pace.steps(0.0, step, load))
        step += counts[-1]
        pace.took(0.0, step, counts[-1], elapsed_s(i, counts[-1]), True)
    return counts


@pytest.mark.parametrize("load", [1, 30, 100])
def test_a_chunk_fills_the_turn_that_everybody_has(load):
    *_, last = lengths(Pace(), lambda i, count: 1e-4 + 1e-5 * count, load, 30)
    turn_s = CHUNK_S[1] if load == 1 else TURN_S / load
    assert 1e-4 + 1e-5 * last == pytest.approx(turn_s, rel=0.05)


def test_who_is_held_up_time_and_again_has_chunks_of_the_same_length():
    """Every other chunk of one of a hundred runs waits for Python's lock for twice as long as its turn is."""
    counts = lengths(Pace(), lambda i, count: (i % 2) * 2.4e-3 + 1e-4 + 1e-5 * count, 100, 40)
    assert min(counts[20:]) == max(counts) >= 0.95 * (TURN_S / 100 - 1e-4) / 1e-5


def test_a_step_that_became_dearer_is_so_known_after_a_few_chunks():
    counts = lengths(Pace(), lambda i, count: (1e-5 if i < 20 else 1e-3) * count, 1, 40)
    assert counts[19] == pytest.approx(10_000, rel=0.01) and counts[-1] == pytest.approx(100, abs=1)


def test_a_run_says_whether_others_wait_for_the_processor(run, make_run, manual_engine, executor, clock):
    told = []
    run.on_change = told.append
    run.run()
    eventually(lambda: run.snapshot().status is Status.RUNNING)
    executor.take()
    alone = len(told)
    assert not any(told)
    manual_engine.submit(CPU, lambda: None)  # somebody else's turn, behind the next of this run
    executor.take()
    assert told[alone:] == [True]
    executor.take(), executor.take()
    assert told[-1] is False


# Settings that change on the way.


@pytest.fixture
def compilers(manual_engine):
    """Keeps all threads that compile busy until it is set."""
    go, begun = threading.Event(), threading.Barrier(BACKGROUND_THREADS + 1)
    for _ in range(BACKGROUND_THREADS):
        manual_engine.background(lambda: (begun.wait(10), go.wait(30)))
    begun.wait(10)
    yield go
    go.set()


def has_steps(engine, problem):
    return engine.programs.has(steps_key(problem, problem.data(0), CPU))


def test_settings_that_were_left_before_their_turn_are_not_compiled(run, manual_engine, compilers):
    run.run()
    assert has_steps(manual_engine, Mean(8)), "it stands in the line"
    run.configure(spec(Mean(16)), 0.1)
    compilers.set()
    eventually(lambda: run.look().status is Status.RUNNING)
    assert has_steps(manual_engine, Mean(16)) and not has_steps(manual_engine, Mean(8))


def test_a_run_that_nobody_looks_at_is_not_compiled_until_somebody_does(run, manual_engine, compilers, monkeypatch):
    run.run()
    now = time.monotonic()
    monkeypatch.setattr("lib.live.engine.time", SimpleNamespace(monotonic=lambda: now + 2 * LEASE_S))
    compilers.set()
    eventually(lambda: not has_steps(manual_engine, Mean(8)))
    monkeypatch.undo()
    assert run.snapshot().status is Status.COMPILING
    eventually(lambda: run.look().status is Status.RUNNING)
    assert has_steps(manual_engine, Mean(8))


def test_what_another_run_still_wants_is_compiled(run, make_run, manual_engine, clock, compilers):
    other = make_run(manual_engine, clock=clock)
    other.configure(spec(), 0.1)
    run.run()
    other.run()
    run.configure(spec(Mean(16)), 0.1)
    compilers.set()
    eventually(lambda: other.look().status is Status.RUNNING)
    assert other.snapshot().compilations[-1].shared


def test_a_changed_learning_rate_compiles_nothing_and_applies(run, executor):
    go_to(run, executor, 20)
    before = compile_log.compilations()
    run.configure(spec(), 0.4)
    snapshot = go_to(run, executor, 60)
    assert compile_log.compilations() == before
    assert len(snapshot.compilations) == 1
    assert snapshot.learning_rate == 0.4
    assert snapshot.events == ((20, "learning rate 0.1 → 0.4"),)
    losses = np.abs(mean_loop(0, 3, [(8, 0.1)] * 20 + [(8, 0.4)] * 40)).max(1)
    np.testing.assert_allclose(snapshot.metrics["loss"], losses[:-1], rtol=1e-5)


def test_the_event_of_a_learning_rate_names_the_step_from_which_it_holds(run, executor):
    run.run(stop_at=300)
    executor.take()
    run.configure(spec(), 0.4)  # the next chunk waits in the queue already, with the old rate
    snapshot = go_to(run, executor, 300)
    (at, _), *_ = snapshot.events
    rates = [(8, 0.1 if step < at else 0.4) for step in range(snapshot.step)]
    losses = np.concatenate([chunk.metrics["loss"] for chunk in executor.results if chunk.num_steps])
    np.testing.assert_allclose(losses, np.abs(mean_loop(0, 3, rates)[:-1]).max(1), rtol=1e-4)


def test_a_changed_batch_size_compiles_keeps_the_state_and_says_the_difference(run, executor):
    go_to(run, executor, 20)
    before = compile_log.compilations()
    run.configure(spec(Mean(16)), 0.1)
    snapshot = go_to(run, executor, 60)
    assert compile_log.compilations() == before + 1  # the steps alone: start and picture are taken over
    assert [c.step for c in snapshot.compilations] == [0, 20]
    assert snapshot.compilations[1].change == "batch size 8 → 16"
    assert snapshot.events == ((20, "batch size 8 → 16"),)
    losses = np.abs(mean_loop(0, 3, [(8, 0.1)] * 20 + [(16, 0.1)] * 40)).max(1)
    np.testing.assert_allclose(snapshot.metrics["loss"], losses[:-1], rtol=1e-5)
    assert snapshot.examples == 20 * 8 + 40 * 16 and snapshot.batch_size == 16
    np.testing.assert_array_equal(snapshot.coordinates["examples"][[19, 20]], [160, 176])


def test_a_batch_size_that_is_there_already_compiles_nothing(run, executor):
    go_to(run, executor, 5)
    run.configure(spec(Mean(16)), 0.1)
    go_to(run, executor, 10)
    before = compile_log.compilations()
    run.configure(spec(Mean(8)), 0.1)
    snapshot = go_to(run, executor, 15)
    assert compile_log.compilations() == before
    assert [c.shared for c in snapshot.compilations] == [False, False, True]


def test_examples_of_a_chunk_under_way_count_with_its_own_batch_size(run, executor):
    run.run()
    executor.take()
    run.configure(spec(Mean(32)), 0.1)  # the next chunk waits in the queue already, of batches of 8
    executor.take()
    run.pause()
    snapshot = run.look()
    assert snapshot.examples == 8 * snapshot.step


def test_settings_that_do_not_change_do_nothing(run, executor):
    go_to(run, executor, 20)
    for _ in range(3):
        run.configure(spec(), 0.1)
    snapshot = run.look()
    assert snapshot.step == 20 and snapshot.events == () and len(snapshot.compilations) == 1


@pytest.mark.parametrize(
    "changed",
    [spec(seed=1), spec(Mean(8, size=4)), spec(Mean(8, numbers=DATA + 1))],
    ids=["seed", "shape", "data"],
)
def test_another_lineage_starts_anew(run, executor, changed):
    go_to(run, executor, 20)
    run.configure(changed, 0.1)
    assert run.look().step == 0 and run.look().status is Status.READY
    snapshot = go_to(run, executor, 10)
    path = mean_loop(changed.seed, changed.problem.size, [(8, 0.1)] * 10, changed.data)
    np.testing.assert_allclose(snapshot.metrics["loss"], np.abs(path[:-1]).max(1), rtol=1e-5)


def test_another_lineage_while_it_runs_runs_anew(run, executor):
    run.run()
    executor.take()
    run.configure(spec(seed=1), 0.1)
    executor.take()  # the late chunk of the run as it was
    assert run.look().active
    executor.take()
    snapshot = run.look()
    assert snapshot.step > 0
    start = mean_loop(1, 3, [(8, 0.1)])
    assert snapshot.metrics["loss"][0] == pytest.approx(np.abs(start[0]).max(), rel=1e-5)


def test_another_batch_size_while_it_compiles_its_first_program_runs_with_that(run, executor):
    run.run()
    run.configure(spec(Mean(16)), 0.1)
    snapshot = go_to(run, executor, 10)
    assert snapshot.step == 10 and snapshot.examples == 160 and snapshot.batch_size == 16


@pytest.mark.parametrize("name", list(devices()))
def test_another_device_moves_the_state_there_and_goes_on(run, executor, name):
    device = devices()[name]
    go_to(run, executor, 10)
    run.configure(spec(device=device), 0.1)
    snapshot = go_to(run, executor, 30)
    for leaf in jax.tree.leaves(executor.results[-1].state):
        assert leaf.devices() == {device}
    assert snapshot.device == str(device)
    losses = np.abs(mean_loop(0, 3, [(8, 0.1)] * 30)).max(1)
    np.testing.assert_allclose(snapshot.metrics["loss"], losses[:-1], rtol=1e-5)
    moved = device != CPU
    assert len(snapshot.compilations) == 1 + moved
    assert [text for _, text in snapshot.events] == ([f"device {CPU} → {device}"] if moved else [])


def test_there_are_simulated_devices_to_choose_from():
    assert len(devices()) >= 4


def test_a_second_run_of_equal_shapes_compiles_nothing(make_run, manual_engine, executor):
    first, second = make_run(manual_engine), make_run(manual_engine)
    first.configure(spec(seed=1), 0.1)
    go_to(first, executor, 10)
    before = compile_log.compilations()
    second.configure(spec(seed=2), 0.2)
    snapshot = go_to(second, executor, 10)
    assert compile_log.compilations() == before
    assert [c.shared for c in snapshot.compilations] == [True]
    assert [c.shared for c in first.look().compilations] == [False]


# Divergence.


def last_finite_step(rate, steps=400):
    """After how many steps the explicit loop is finite for the last time."""
    return int(np.isfinite(mean_loop(0, 3, [(8, rate)] * steps)).all(1).sum()) - 1


@pytest.mark.parametrize("rate", [17.0, 5.0, 1e30])
def test_a_diverging_run_stops_at_the_last_finite_step(run, executor, rate):
    run.configure(spec(), rate)
    snapshot = diverge(run, executor)
    last = last_finite_step(rate)
    assert 0 < last < 400
    assert snapshot.step == last
    assert not executor.tasks and not snapshot.active
    assert all_finite(snapshot.metrics) and all_finite(snapshot.latest)
    assert_whole(snapshot)
    assert f"Step {last + 1:,} " in snapshot.message
    assert "`params['b']`" in snapshot.message and "`params['a']`" not in snapshot.message
    assert f"learning rate {rate:g}" in snapshot.message
    assert snapshot.events == ((last, "diverged: params['b'] is not finite"),), "the charts have a mark there"
    assert snapshot.step_ms.coordinates["step"].max(initial=0) < last, "to look for the last finite step is no step"
    run.run()  # as it is, it goes nowhere, and there is nothing new to mark
    assert diverge(run, executor).events == snapshot.events


def test_after_a_divergence_a_lower_rate_goes_on_from_the_last_finite_step(run, executor):
    run.configure(spec(), 17.0)
    last = diverge(run, executor).step
    run.configure(spec(), 0.5)
    snapshot = go_to(run, executor, last + 200)
    assert snapshot.message == "" and snapshot.step == last + 200
    assert all_finite(snapshot.metrics)
    # With a rate of a half and 2**128 to come down from, 200 steps are enough to arrive at the data.
    assert snapshot.latest["loss"] < 3
    assert_whole(snapshot)


# The loss goes up and down with the batches: after 44 steps it is near its lowest.


def test_it_goes_back_to_before_it_diverged_as_if_no_later_step_had_been_taken(run, executor):
    before = go_to(run, executor, 44)
    run.configure(spec(), 17.0)
    diverged = diverge(run, executor)
    assert diverged.step > 44 and "**Go back** returns to step 44," in diverged.message
    run.go_back()
    back = settled(run, executor)
    assert back.status is Status.PAUSED and back.message == ""
    assert back.step == 44 and back.examples == before.examples and back.computing_s == before.computing_s
    assert back.events == () and len(back.compilations) == 1
    np.testing.assert_array_equal(back.metrics["each"], before.metrics["each"])
    np.testing.assert_array_equal(back.step_ms.mean, before.step_ms.mean)
    np.testing.assert_array_equal(back.picture["b"], before.picture["b"])
    np.testing.assert_array_equal(back.observed["test_loss"], before.observed["test_loss"])
    run.configure(spec(), 0.05)
    on = go_to(run, executor, 60)
    assert on.events == ((44, "learning rate 0.1 → 0.05"),)
    expected = mean_loop(0, 3, [(8, 0.1)] * 44 + [(8, 0.05)] * 16)
    np.testing.assert_allclose(on.metrics["each"], expected[:60], rtol=1e-5, atol=1e-6)
    assert_whole(on)


def test_it_goes_back_as_often_as_it_diverges_and_what_is_on_its_way_is_ignored(run, executor):
    go_to(run, executor, 44)
    run.configure(spec(), 17.0)
    for _ in range(3):
        diverge(run, executor)
        run.go_back()
        assert settled(run, executor).step == 44
    run.run()
    run.go_back()
    executor.take()  # a chunk of the run as it was
    assert run.look().step == 44 and run.look().status is Status.PAUSED


def test_the_point_to_go_back_to_is_the_latest_whose_loss_was_near_the_lowest(run, executor):
    go_to(run, executor, 100)
    run.configure(spec(), 5.0)
    for _ in range(6):  # step by step, so that any of them could be the point
        run.step()
        settled(run, executor)
    diverge(run, executor)
    run.go_back()
    losses = np.abs(mean_loop(0, 3, [(8, 0.1)] * 100 + [(8, 5.0)] * 6)).max(1)
    near = 0.9 * losses[:101].min() + 0.1 * losses[0]
    after = 100 + np.flatnonzero(losses[100:] <= near)
    assert len(after) and settled(run, executor).step == after[-1]


def test_a_run_that_only_rises_goes_back_to_its_start(run, executor):
    run.configure(spec(), 17.0)
    diverged = diverge(run, executor)
    assert "press **Reset**" in diverged.message and "Go back" not in diverged.message
    run.go_back()
    assert run.look().status is Status.READY and run.look().step == 0


def test_a_change_that_needed_a_program_is_marked_where_it_goes_on_from(run, executor):
    go_to(run, executor, 44)
    run.configure(spec(Mean(16)), 17.0)
    diverge(run, executor)
    run.go_back()
    back = settled(run, executor)
    assert back.step == 44 and [made.step for made in back.compilations] == [0, 44]
    assert back.events == ((44, "batch size 8 → 16"),)


def test_it_goes_back_while_it_compiles_and_then_runs(run, executor):
    go_to(run, executor, 44)
    run.step()
    settled(run, executor)
    run.configure(spec(Mean(32)), 0.1)
    run.run()
    run.go_back()
    snapshot = run.look()
    assert snapshot.status is Status.PAUSED and snapshot.step == 44 and snapshot.since_s == 0
    assert go_to(run, executor, 50).examples == 44 * 8 + 6 * 32


def test_after_a_reset_there_is_nothing_to_go_back_to(run, executor):
    go_to(run, executor, 44)
    run.reset()
    run.go_back()
    assert run.look().status is Status.READY and run.look().step == 0


def test_a_run_that_diverges_at_its_first_step_keeps_nothing_and_says_so(run, executor):
    run.configure(spec(Mean(8, numbers=np.full(64, 1e38, np.float32))), 1e30)
    run.run()
    executor.take()
    snapshot = run.look()
    assert snapshot.status is Status.DIVERGED and snapshot.step == 0 and not snapshot.metrics
    assert "Step 1 " in snapshot.message


def test_a_loss_that_breaks_alone_is_named(run, executor):
    run.configure(spec(LossBreaks(breaks_at=5)), 0.1)
    snapshot = diverge(run, executor)
    assert snapshot.step == 5 and "the loss" in snapshot.message
    np.testing.assert_allclose(snapshot.metrics["loss"], [1 / 5, 1 / 4, 1 / 3, 1 / 2, 1], rtol=1e-6)


def test_the_message_of_a_divergence_names_the_rate_that_did_it(run, executor):
    run.configure(spec(), 1e30)  # overflows within the first steps
    run.run()
    executor.take()
    run.configure(spec(), 0.5)  # too late for the chunk that waits in the queue
    assert executor.take().diverged
    assert "learning rate 1e+30" in run.look().message


# Errors.


@pytest.mark.filterwarnings("ignore")
def test_an_error_while_it_runs_ends_that_run_and_no_other(engine, make_run):
    good, bad = make_run(engine), make_run(engine)
    good.configure(spec(), 0.1)
    good.run()
    eventually(lambda: good.look().step)
    bad.configure(spec(Refuses()), 0.1)
    bad.run()
    eventually(lambda: bad.look().status is Status.FAILED)
    assert "callback" in bad.look().message
    assert not bad.look().active
    step = good.look().step
    eventually(lambda: good.look().step > step)
    assert good.look().status is Status.RUNNING


def test_an_error_while_it_compiles_is_told(run, executor):
    run.configure(spec(Refuses(early=True)), 0.1)
    run.run()
    eventually(lambda: run.look().status is Status.FAILED)
    assert "`depth` must be positive, got -1" in run.look().message
    assert run.look().since_s == 0 and not executor.tasks


def test_after_an_error_other_settings_run(run, executor):
    run.configure(spec(Refuses(early=True)), 0.1)
    run.run()
    eventually(lambda: run.look().status is Status.FAILED)
    run.configure(spec(), 0.1)
    assert go_to(run, executor, 5).step == 5


# Several runs on one processor.


def test_runs_take_turns(make_run, manual_engine, executor):
    runs = [make_run(manual_engine) for _ in range(5)]
    for seed, run in enumerate(runs):
        run.configure(spec(seed=seed), 0.1)
        run.run()
    eventually(lambda: len(executor.tasks) == 5)
    turns = []
    for _ in range(40):
        _, _, args = executor.tasks[0]
        turns += [next(arg.seed for arg in args if isinstance(arg, Spec))]
        executor.take()
    for begin in range(0, 40, 5):
        assert sorted(turns[begin : begin + 5]) == [0, 1, 2, 3, 4]


def test_five_equal_runs_get_equal_shares_of_a_processor(engine, make_run):
    runs = [make_run(engine) for _ in range(5)]
    for seed, run in enumerate(runs):  # batches so large that a chunk takes its full time
        run.configure(spec(Mean(4096), seed=seed), 0.1)
        run.run()
    eventually(lambda: all(run.look().step > 1000 for run in runs))
    before = [run.look() for run in runs]
    eventually(lambda: all(run.look().computing_s - b.computing_s > 0.3 for run, b in zip(runs, before, strict=True)))
    taken = [run.look().step - b.step for run, b in zip(runs, before, strict=True)]
    assert min(taken) >= 0.5 * max(taken)


def test_the_queue_is_seen(make_run, manual_engine, executor):
    runs = [make_run(manual_engine) for _ in range(3)]
    for seed, run in enumerate(runs):
        run.configure(spec(seed=seed), 0.1)
        run.run()
    eventually(lambda: len(executor.tasks) == 3)
    assert manual_engine.load(CPU) == 3
    for run in runs:
        run.pause()
    executor.take_all()
    assert manual_engine.load(CPU) == 0


def test_every_method_returns_at_once_while_the_processor_is_busy(engine, make_run):
    busy = threading.Event()
    engine.submit(CPU, busy.wait)
    run = make_run(engine)
    run.configure(spec(), 0.1)
    run.run()
    eventually(lambda: run.look().compilations)
    run.step()
    run.pause()
    assert run.look().step == 0 and run.look().status is Status.PAUSED
    run.reset()
    busy.set()
    eventually(lambda: engine.load(CPU) == 0)
    assert run.look().step == 0
