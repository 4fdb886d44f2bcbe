"""`lib/routines/problem.py`: a chunk of steps in one compiled loop, traced once."""

import re
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import DATA, LossBreaks, Mean, mean_loop, train_steps

from lib.lessons.composition.routine import FUNCTIONS as COMPOSED
from lib.lessons.composition.routine import StackDescent, gradient_of
from lib.lessons.composition.transforms import parse
from lib.lessons.control_flow.recurrent import Recurrent
from lib.lessons.custom_gradients.pair_training import PairTraining
from lib.lessons.custom_gradients.routine import PAIRS
from lib.lessons.debugging.routine import Watched
from lib.lessons.jit_grad.functions import FUNCTIONS
from lib.lessons.jit_grad.routine import Descent
from lib.lessons.jit_grad_vmap.routine import LinearRegression, regression_data
from lib.lessons.jit_vmap.routine import Ensemble, sine_data
from lib.lessons.multi_device.many_devices import ManyDevices
from lib.lessons.multi_device.routine import Layout
from lib.lessons.pytrees.random_keys import Dropout
from lib.lessons.pytrees.routine import TreeTraining
from lib.lessons.state_libraries.routine import PLAIN, Libraries
from lib.lessons.training.routine import Training
from lib.live import comparison
from lib.live.devices import devices
from lib.measure import compile_log
from lib.measure.timing import records_of
from lib.routines.datasets import load
from lib.routines.networks import Network
from lib.routines.problem import (
    MAX_METRIC_VALUES,
    MAX_STEPS,
    Observed,
    ProblemError,
    capacity,
    check_problem,
    new_state,
    without_data,
)

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


# What a problem computes with, and the mistakes that are easily made in one.

SQUARED = COMPOSED["squared loss"]
GRADIENT = gradient_of(SQUARED, parse("grad(mean(vmap(f, in_axes=(None, 0, 0))))"), 4)
LESSONS = {
    "Descent": Descent("Rosenbrock", 5),
    "Dropout": Dropout(8),
    "Ensemble": Ensemble(3),
    "Libraries": Libraries((PLAIN,), 8),
    "LinearRegression": LinearRegression(16),
    "ManyDevices": ManyDevices(8, Layout((2, 1))),
    "PairTraining": PairTraining(next(iter(PAIRS)), 8),
    "Recurrent": Recurrent(8),
    "StackDescent": StackDescent(SQUARED, GRADIENT, 4),
    "Training": Training(Network(2, 1), 2, "surface", "Adam", 8, load("XOR", 0)),
    "TreeTraining": TreeTraining(1, 8),
    "Watched": Watched(8, 5, np.int32(7)),
}
DRAWN = {
    "Libraries",
    "LinearRegression",
    "ManyDevices",
    "PairTraining",
    "Recurrent",
    "StackDescent",
    "TreeTraining",
    "Watched",
}


def content(data):
    return [(leaf.dtype, leaf.shape, leaf.tobytes()) for leaf in jax.tree.leaves(data)]


@pytest.mark.parametrize("name", LESSONS)
def test_the_problems_of_the_lessons_are_without_mistakes(name):
    check_problem(LESSONS[name], LESSONS[name].data(0))


@pytest.mark.parametrize("name", LESSONS)
def test_each_way_to_take_a_step_that_is_compared_gives_the_same(name, monkeypatch):
    """Each is called once; how it is timed is tested elsewhere."""
    results = {}

    def compare(calls, unblocked=()):
        results.update({label: jax.block_until_ready(call()) for label, call in calls.items()})
        return iter(())

    monkeypatch.setattr(comparison, "compare", compare)
    records = records_of(comparison.compare_step(devices()["cpu:0"], LESSONS[name], 0, 0.1))
    assert [record.phase for record in records] == ["trace", "lower", "compile"]
    assert set(results) == (
        {comparison.HOST} if name == "ManyDevices" else {comparison.EAGER, comparison.JIT, comparison.DISPATCH}
    )
    first, *others = (jax.tree.leaves((state.params, metrics)) for state, metrics in results.values())
    for other in others:
        for leaf, expected in zip(other, first, strict=True):
            np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LESSONS)
def test_data_are_arrays_that_depend_on_the_seed_alone(name):
    problem = LESSONS[name]
    data = problem.data(1)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(data))
    assert content(data) == content(replace(problem).data(1))
    assert (content(data) != content(problem.data(2))) == (name in DRAWN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LESSONS["Training"], replace(LESSONS["Training"], dataset=load("XOR", 1))),
        (Descent("Rosenbrock", 5), Descent("Rosenbrock", 5, (2.0, 50.0))),
        (Watched(8, 5, np.int32(7)), Watched(8, 5, np.int32(8))),
    ],
    ids=["Training", "Descent", "Watched"],
)
def test_other_data_are_the_same_problem_and_the_same_program(one, other):
    assert content(one.data(0)) != content(other.data(0))
    assert one == other and hash(one) == hash(other) and repr(one) == repr(other) and one.lineage == other.lineage
    assert content(Descent("Rosenbrock", 5, (2.0, 50.0)).data(0)) == content((np.float32(2), np.float32(50)))


def test_a_problem_is_compiled_without_what_its_data_are_made_of():
    problem = LESSONS["Training"]
    bare = without_data(problem)
    assert bare == problem and bare.dataset is None and problem.lineage.dataset is None
    assert without_data(Mean(8, 4, DATA + 1)).numbers is None
    with pytest.raises(ValueError, match="and `dataset` is None; give a `Dataset`"):
        bare.data(0)


class WithoutLineage:
    batch_size = 1


class WithoutAHash(Mean):
    __hash__ = None


def mistaken(**methods):
    return type("Mistaken", (Mean,), methods)(8)


def stepping(change):
    """A problem whose step is that of `Mean`, its state and its metrics changed."""

    def step(self, state, data, learning_rate):
        return change(*Mean.step(self, state, data, learning_rate))

    return mistaken(step=step)


def observing(observed):
    return mistaken(observe=lambda self, state, data: observed(state.params["b"]))


def with_b(state, b):
    return state._replace(params=state.params | {"b": b})


STATE = "`step` must return a state of the structure, shapes and dtypes that it takes, as `init` makes it, and "
MISTAKES = {
    "no hash": (
        WithoutAHash(8),
        "A problem and its lineage must be hashable, since programs are kept by them, and `WithoutAHash` is not "
        "(unhashable type: 'WithoutAHash'); make it a frozen dataclass of numbers, strings and tuples.",
    ),
    "a list in a field": (
        Mean([8]),
        "A problem and its lineage must be hashable, since programs are kept by them, and `Mean` is not "
        "(unhashable type: 'list'); make it a frozen dataclass of numbers, strings and tuples.",
    ),
    "no lineage": (
        WithoutLineage(),
        "A problem needs a `lineage`, and `WithoutLineage` has none; add a property that returns what its state depends "
        "on.",
    ),
    "a lineage without a hash": (
        mistaken(lineage=property(lambda self: [self.size])),
        "A problem and its lineage must be hashable, since programs are kept by them, and the `lineage` of `Mistaken` is "
        "not (unhashable type: 'list'); build it of numbers, strings and tuples.",
    ),
    "data that are a number": (
        mistaken(data=lambda self, seed: {"rate": 0.5}),
        "`data` must return a pytree of arrays of numbers, and `data['rate']` is of type `float`; make it a NumPy array of "
        "numbers.",
    ),
    "data that are text": (
        mistaken(data=lambda self, seed: (np.zeros(2), np.array(["a", "b"]))),
        "`data` must return a pytree of arrays of numbers, and `data[1]` is <U1[2]; make it a NumPy array of numbers.",
    ),
    "no loss": (
        stepping(lambda state, metrics: (state, {"error": metrics["loss"], "each": metrics["each"]})),
        "`step` must report a `loss` among its metrics, and it reports 'each', 'error'; return it as "
        "`(state, {'loss': loss})`.",
    ),
    "no metrics": (
        stepping(lambda state, metrics: (state, {})),
        "`step` must report a `loss` among its metrics, and it reports nothing; return it as `(state, {'loss': loss})`.",
    ),
    "a loss of each": (
        stepping(lambda state, metrics: (state, {"loss": metrics["each"]})),
        "The `loss` that `step` reports must be a scalar, and it is float32[3]; take its mean.",
    ),
    "a leaf too many": (
        stepping(lambda state, metrics: (state._replace(opt_state=jnp.zeros(2)), metrics)),
        STATE + "`state.opt_state` is new; let both return the same.",
    ),
    "a leaf left out": (
        stepping(lambda state, metrics: (state._replace(params={"b": state.params["b"]}), metrics)),
        STATE + "`state.params['a']` is left out; let both return the same.",
    ),
    "another shape": (
        stepping(lambda state, metrics: (with_b(state, state.params["b"].mean()), metrics)),
        STATE + "`state.params['b']` goes in as float32[3] and comes out as float32[]; let both return the same.",
    ),
    "another dtype": (
        stepping(lambda state, metrics: (with_b(state, state.params["b"].astype(jnp.float16)), metrics)),
        STATE + "`state.params['b']` goes in as float32[3] and comes out as float16[3]; let both return the same.",
    ),
    "a dict observed": (
        observing(lambda b: {"b": b}),
        "`observe` must return an `Observed`, and it returns a `dict`; return `Observed(metrics, picture)`, which are two "
        "dicts.",
    ),
    "a vector observed as a curve": (
        observing(lambda b: Observed({"b": b}, {})),
        "The metrics of `observe` must be scalars, and `b` is float32[3]; put it into `picture`.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_problem_is_told_in_one_sentence(name):
    problem, sentence = MISTAKES[name]
    with pytest.raises(ProblemError) as told:
        check_problem(problem, problem.data(0) if hasattr(problem, "data") else DATA)
    assert str(told.value) == sentence


def test_another_container_in_the_state_is_a_mistake():
    problem = stepping(lambda state, metrics: ((*state,), metrics))
    with pytest.raises(ProblemError, match=re.escape(STATE)):
        check_problem(problem, problem.data(0) if hasattr(problem, "data") else DATA)


def test_a_step_that_reads_what_its_data_are_made_of_is_refused():
    """It would be part of a program that is kept for others."""
    check_problem(Mean(8, numbers=DATA), DATA)
    reads = type("Reads", (Mean,), {"step": lambda self, state, data, rate: (state, {"loss": self.numbers.mean()})})
    with pytest.raises(AttributeError):
        check_problem(reads(8, numbers=DATA), DATA)


def test_looking_for_mistakes_compiles_nothing():
    check_problem(Mean(8, size=21), DATA)
    before = compile_log.compilations()
    check_problem(Mean(8, size=22), DATA)
    assert compile_log.compilations() == before
