"""`lib/routines/problem.py`: a chunk of steps in one compiled loop, traced once."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import DATA, LossBreaks, Mean, mean_loop, train_steps

from lib.lessons.jit_grad.functions import FUNCTIONS
from lib.lessons.jit_grad.routine import Descent
from lib.lessons.jit_grad_vmap.routine import LinearRegression, regression_data
from lib.lessons.jit_vmap.routine import Ensemble, sine_data
from lib.measure import compile_log
from lib.routines.problem import MAX_METRIC_VALUES, MAX_STEPS, capacity, new_state

TRACES = []


@dataclass(frozen=True)
class Counted(Mean):
    """Notes each time its step is traced."""

    def step(self, state, data, learning_rate):
        TRACES.append(self.batch_size)
        return super().step(state, data, learning_rate)


@dataclass(frozen=True)
class Wide:
    """Reports a vector of `width` and a loss."""

    width: int
    batch_size: int = 1

    def step(self, state, data, learning_rate):
        return state, {"loss": jnp.float32(0), "each": jnp.zeros(self.width - 1)}


def take(problem, state, steps, rate=0.1, data=DATA):
    return train_steps(problem, state, data, jnp.float32(rate), jnp.int32(steps))


def test_steps_equal_an_explicit_loop():
    problem = Mean(8)
    state, metrics, finite = take(problem, problem.init(jax.random.key(0), DATA), 40)
    path = mean_loop(0, 3, [(8, 0.1)] * 40)
    np.testing.assert_allclose(state.params["b"], path[-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["each"][:40], path[:-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"][:40], np.abs(path[:-1]).max(1), rtol=1e-5)
    assert int(state.step) == 40 and finite.tolist() == [True, True]


PROBLEMS = {
    **{
        f"Descent, {name}": (Descent(name, 5), tuple(map(np.float32, f.constants.values())))
        for name, f in FUNCTIONS.items()
    },
    "Ensemble": (Ensemble(3), sine_data()),
    "LinearRegression": (LinearRegression(16), regression_data(0)),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_compiled_loop_equals_step_after_step_in_python(name):
    problem, data = PROBLEMS[name]
    state = start = problem.init(jax.random.key(0), data)
    rate = jnp.float32(0.001)
    step = jax.jit(problem.step)
    losses = []
    for _ in range(12):
        state, metrics = step(state, data, rate)
        losses.append(float(metrics["loss"]))
    after, buffers, finite = train_steps(problem, start, data, rate, jnp.int32(12))
    np.testing.assert_allclose(buffers["loss"][:12], losses, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(after.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert bool(finite.all())


def test_no_steps_change_nothing():
    problem = Mean(8)
    start = problem.init(jax.random.key(0), DATA)
    state, metrics, _ = take(problem, start, 0)
    np.testing.assert_array_equal(state.params["b"], start.params["b"])
    assert int(state.step) == 0 and not metrics["loss"].any()


def test_only_the_first_rows_of_the_buffers_are_written():
    _, metrics, _ = take(Mean(8), Mean(8).init(jax.random.key(0), DATA), 7)
    assert metrics["loss"][:7].all() and not metrics["loss"][7:].any()


def test_a_learning_rate_or_a_number_of_steps_traces_and_compiles_nothing():
    problem = Counted(8, size=11)
    start = problem.init(jax.random.key(0), DATA)
    arguments = [(jnp.float32(rate), jnp.int32(steps)) for rate in (0.1, 0.2, 3.0) for steps in (1, 5, 1000)]
    train_steps(problem, start, DATA, *arguments[0])
    traces, compilations = len(TRACES), compile_log.compilations()
    for rate, steps in arguments:
        train_steps(problem, start, DATA, rate, steps)
        train_steps(Counted(8, size=11), start, DATA + 1, rate, steps)  # an equal problem, other data
    assert len(TRACES) == traces and compile_log.compilations() == compilations


def test_another_batch_size_traces_and_compiles_once():
    problem = Counted(8, size=12)
    start = problem.init(jax.random.key(0), DATA)
    rate, steps = jnp.float32(0.1), jnp.int32(5)
    train_steps(problem, start, DATA, rate, steps)
    traces, compilations = len(TRACES), compile_log.compilations()
    other = replace(problem, batch_size=16)
    train_steps(other, start, DATA, rate, steps)
    assert compile_log.compilations() == compilations + 1
    assert set(TRACES[traces:]) == {16}
    traces = len(TRACES)
    train_steps(other, start, DATA, rate, steps)
    assert len(TRACES) == traces


def test_each_leaf_is_told_whether_it_is_finite():
    problem = Mean(8)
    state, _, finite = take(problem, problem.init(jax.random.key(0), DATA), 200, 17.0)
    assert finite.tolist() == [bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.params)] == [True, False]


def test_one_number_that_is_not_finite_is_enough():
    problem = Mean(8)
    start = problem.init(jax.random.key(0), DATA)
    broken = start._replace(params=start.params | {"a": jnp.array([1.0, jnp.inf, 1.0])})
    assert take(problem, broken, 1)[2].tolist() == [False, True]


def test_a_loss_that_breaks_shows_in_its_buffer():
    problem = LossBreaks(breaks_at=3)
    _, metrics, finite = take(problem, problem.init(jax.random.key(0), ()), 5, data=())
    np.testing.assert_allclose(metrics["loss"][:5], [1 / 3, 1 / 2, 1, np.inf, -1], rtol=1e-6)
    assert finite.tolist() == [True]


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1, MAX_STEPS), (4, MAX_STEPS), (64, 4096), (1000, MAX_METRIC_VALUES // 1000), (2**17, 16)],
)
def test_many_metrics_make_fewer_steps(width, expected):
    state = new_state({}, jax.random.key(0))
    assert capacity(Wide(width), state, ()) == expected


def test_a_new_state_is_before_the_first_step():
    state = new_state({"w": 1.0}, jax.random.key(0))
    assert int(state.step) == 0 and state.opt_state == () and state.params == {"w": 1.0}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_hashable_and_equal_when_their_settings_are(name):
    problem, _ = PROBLEMS[name]
    same = replace(problem)
    assert same == problem and hash(same) == hash(problem) and hash(problem.lineage) == hash(same.lineage)
    assert replace(problem, batch_size=problem.batch_size + 1) != problem
