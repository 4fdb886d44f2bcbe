"""`lib/live/program.py`: compiled for a device, and chunks of steps that are pure functions of the state."""

import gc
import threading
import weakref
from concurrent.futures import Future

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import DATA, LossBreaks, Mean, Refuses, mean_loop, program_of, train_steps

from lib.lessons.training.routine import Training
from lib.live.devices import devices
from lib.live.engine import BACKGROUND_THREADS, Unwanted, Wish
from lib.live.program import compute_chunk, request_program, request_start_picture, shapes_of, start_state, steps_key
from lib.measure import compile_log
from lib.routines.datasets import load
from lib.routines.networks import Network

CPU = devices()["cpu:0"]


def chunk(program, state, steps, rate=0.1, want_picture=False, data=DATA):
    return compute_chunk(program, state, jax.device_put(data, program.device), rate, steps, want_picture)


def assert_equal(one, other):
    """Two trees, to the last bit; keys by their data."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_a_chunk_equals_an_explicit_loop(engine):
    program = program_of(engine, Mean(8), DATA, CPU)
    done = chunk(program, start_state(program, 3, DATA), 50)
    path = mean_loop(3, 3, [(8, 0.1)] * 50)
    assert done.num_steps == 50 and done.diverged == "" and done.elapsed_s > 0
    np.testing.assert_allclose(done.metrics["each"], path[:-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(done.state.params["b"], path[-1], rtol=1e-5, atol=1e-6)
    assert int(done.state.step) == 50


def test_the_picture_of_the_start_is_that_of_the_first_state_and_needs_no_steps(engine):
    picture = request_start_picture(engine, Mean(8), DATA, CPU, 3).result(60)
    np.testing.assert_array_equal(picture["b"], jax.random.normal(jax.random.key(3), (3,)))
    assert not engine.programs.has(steps_key(Mean(8), DATA, CPU))


@pytest.mark.parametrize("optimizer", ["SGD", "momentum", "Adam"])
def test_the_trajectory_of_a_network_does_not_depend_on_the_chunks(engine, optimizer):
    dataset = load("circles", 0)
    problem = Training(Network(2, 1, 1, 4), 2, "surface", optimizer, 16)
    program = program_of(engine, problem, dataset.arrays, CPU)
    start = start_state(program, 0, dataset.arrays)
    whole = chunk(program, start, 90, data=dataset.arrays)
    for sizes in ([1] * 90, [1, 2, 40, 47], [89, 1]):
        state, losses = start, []
        for size in sizes:
            part = chunk(program, state, size, data=dataset.arrays)
            state = part.state
            losses.append(part.metrics["loss"])
        assert_equal(state, whole.state)
        np.testing.assert_array_equal(np.concatenate(losses), whole.metrics["loss"])


def test_a_chunk_is_a_pure_function_of_its_arguments(engine):
    program = program_of(engine, Mean(8), DATA, CPU)
    state = start_state(program, 0, DATA)
    before = np.asarray(state.params["b"]).copy()
    one, other = chunk(program, state, 20), chunk(program, state, 20)
    assert_equal(one.state, other.state)
    np.testing.assert_array_equal(state.params["b"], before)


def test_the_picture_is_taken_of_the_new_state_and_only_when_wanted(engine):
    program = program_of(engine, Mean(8), DATA, CPU)
    state = start_state(program, 0, DATA)
    assert chunk(program, state, 5).observed is None
    done = chunk(program, state, 5, want_picture=True)
    np.testing.assert_array_equal(done.observed.picture["b"], done.state.params["b"])
    assert all(isinstance(value, np.ndarray) for value in done.observed.picture.values())


def test_equal_seeds_start_alike_and_others_do_not(engine):
    program = program_of(engine, Mean(8), DATA, CPU)
    starts = [np.asarray(start_state(program, seed, DATA).params["b"]) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    np.testing.assert_array_equal(starts[0], jax.random.normal(jax.random.key(1), (3,)))


@pytest.mark.parametrize("name", list(devices()))
def test_a_chunk_takes_the_state_to_the_device_of_its_program(engine, name):
    device = devices()[name]
    state = start_state(program_of(engine, Mean(8), DATA, CPU), 0, DATA)
    assert {leaf.devices().pop() for leaf in jax.tree.leaves(state)} == {CPU}
    done = chunk(program_of(engine, Mean(8), DATA, device), state, 20)
    assert {leaf.devices().pop() for leaf in jax.tree.leaves(done.state)} == {device}
    np.testing.assert_allclose(done.state.params["b"], mean_loop(0, 3, [(8, 0.1)] * 20)[-1], rtol=1e-5, atol=1e-6)


def test_the_steps_start_and_picture_live_on_the_device_of_the_program(engine):
    device = list(devices().values())[-1]
    program = program_of(engine, Mean(8), DATA, device)
    state = start_state(program, 0, jax.device_put(DATA, device))
    assert {leaf.devices().pop() for leaf in jax.tree.leaves(state)} == {device}
    assert program.observe(state, jax.device_put(DATA, device)).picture["b"].devices() == {device}


# Divergence.


@pytest.mark.parametrize("steps", [1, 2, 3, 31, 32, 33, 64, 100, 200])
def test_a_chunk_ends_with_the_last_finite_step_however_long_it_is(engine, steps):
    program = program_of(engine, Mean(8), DATA, CPU)
    path = mean_loop(0, 3, [(8, 17.0)] * 200)
    last = int(np.isfinite(path).all(1).sum()) - 1
    assert 3 < last < 64
    done = chunk(program, start_state(program, 0, DATA), steps, 17.0, want_picture=True)
    assert done.num_steps == min(steps, last)
    assert done.diverged == ("" if steps <= last else "`params['b']`")
    np.testing.assert_allclose(done.state.params["b"], path[done.num_steps], rtol=1e-4)
    assert len(done.metrics["loss"]) == len(done.metrics["each"]) == done.num_steps
    assert all(np.isfinite(values).all() for values in [*done.metrics.values(), *done.observed.picture.values()])
    assert int(done.state.step) == done.num_steps


@pytest.mark.parametrize("steps", [6, 7, 20, 100])
def test_a_loss_that_is_not_finite_ends_a_chunk_though_the_parameters_are(engine, steps):
    program = program_of(engine, LossBreaks(breaks_at=5), (), CPU)
    done = chunk(program, start_state(program, 0, ()), steps, data=())
    assert done.num_steps == 5 and done.diverged == "the loss"
    assert float(done.state.params["x"]) == 5


def test_the_first_leaf_that_breaks_is_named_by_its_path(engine):
    dataset = load("regression", 0)
    problem = Training(Network(1, 1, 1, 4, "relu"), 0, "curve", "SGD", 32)
    program = program_of(engine, problem, dataset.arrays, CPU)
    done = chunk(program, start_state(program, 0, dataset.arrays), 2000, 1e20, data=dataset.arrays)
    _, _, finite = train_steps(problem, done.state, dataset.arrays, jnp.float32(1e20), jnp.int32(1))
    broken = [leaf for leaf, is_finite in zip(program.steps.leaves, finite, strict=True) if not is_finite]
    assert len(broken) > 1 and done.diverged == f"`{broken[0]}`"
    assert program.steps.leaves == ("params[0]['b']", "params[0]['w']", "params[1]['b']", "params[1]['w']")


# Programs.


def test_one_program_serves_every_learning_rate_and_every_number_of_steps(engine):
    program = program_of(engine, Mean(8), DATA, CPU)
    state = start_state(program, 0, DATA)
    chunk(program, state, 1)
    before = compile_log.compilations()
    for steps, rate in ((1, 0.1), (2, 0.2), (77, 1.5)):
        chunk(program, state, steps, rate)
    assert compile_log.compilations() == before


def test_a_problem_that_is_compiled_already_is_found(engine):
    first = program_of(engine, Mean(8, size=5), DATA, CPU)
    before = compile_log.compilations()
    again = program_of(engine, Mean(8, size=5), DATA + 1, CPU)  # other data of the same shape
    assert compile_log.compilations() == before
    assert again.steps is first.steps and again.start is first.start and again.observe is first.observe


def test_a_problem_of_the_same_lineage_compiles_its_steps_alone(engine):
    first = program_of(engine, Mean(8, size=6), DATA, CPU)
    before = compile_log.compilations()
    other = program_of(engine, Mean(16, size=6), DATA, CPU)
    assert compile_log.compilations() == before + 1
    assert other.steps is not first.steps and other.start is first.start and other.observe is first.observe


@pytest.mark.parametrize("data", [DATA[:32], DATA.astype(np.int32)], ids=["shape", "dtype"])
def test_data_of_another_shape_or_dtype_are_another_program(data):
    assert steps_key(Mean(8), data, CPU) != steps_key(Mean(8), DATA, CPU)
    assert shapes_of(data) != shapes_of(DATA)
    assert steps_key(Mean(8), DATA + 1, CPU) == steps_key(Mean(8), DATA, CPU)


def test_a_reason_for_tracing_anew_names_the_setting_or_is_left_out(engine):
    """JAX 0.12 explains no static argument."""
    program_of(engine, Mean(8, size=7), DATA, CPU)
    reason = program_of(engine, Mean(16, size=7), DATA, CPU).steps.reason
    assert "batch_size=16" in reason if jax.__version_info__ < (0, 11) else not reason


def test_a_program_reports_phases_capacity_and_cost(engine):
    steps = program_of(engine, Mean(8, size=9), DATA, CPU).steps
    assert min(steps.phases) >= 0 and steps.phases.compile_ms > 0
    assert steps.capacity >= 16
    assert steps.leaves == ("params['a']", "params['b']")


def test_the_engine_keeps_programs_but_nobody_who_has_waited_for_one(engine):
    class Waits(Future):
        pass

    go = threading.Event()
    held = [engine.background(go.wait, 10) for _ in range(BACKGROUND_THREADS)]
    waits, picture = Waits(), request_start_picture(engine, Mean(8), DATA, CPU, 3)
    request_program(engine, Mean(8), DATA, CPU, waits.set_result)
    there = weakref.ref(waits), weakref.ref(picture)
    go.set()
    assert waits.result(30).result().steps and picture.result(30) and all(each.result(10) for each in held)
    del waits, picture
    engine.submit(CPU, int).result(10)  # the thread that drew it has let go
    gc.collect()
    assert [each() for each in there] == [None, None]
    assert len(engine.programs) == 3


def test_the_start_of_what_a_visitor_has_left_is_not_compiled(engine):
    go, wish = threading.Event(), Wish()
    held = [engine.background(go.wait, 10) for _ in range(BACKGROUND_THREADS)]
    picture = request_start_picture(engine, Mean(8), DATA, CPU, 3, wish)
    run: Future = Future()
    request_program(engine, Mean(16), DATA, CPU, run.set_result)  # shares both ends with it
    other = request_start_picture(engine, LossBreaks(), DATA, CPU, 3, wish)
    del wish
    before = compile_log.compilations()
    go.set()
    assert all(each.result(10) for each in held) and run.result(30).result()
    assert picture.result(30) and isinstance(other.exception(30), Unwanted)
    assert compile_log.compilations() <= before + 3


def test_an_error_while_compiling_arrives_in_the_future_once(engine):
    got = []
    request_program(engine, Refuses(early=True), (), CPU, got.append)
    holder: Future = Future()
    request_program(engine, Refuses(early=True), (), CPU, holder.set_result)
    assert isinstance(holder.result(30).exception(), ValueError)
    assert len(got) == 1 and "depth" in str(got[0].exception())
