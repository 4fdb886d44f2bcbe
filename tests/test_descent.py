"""`lib/lessons/jit_grad/routine.py`: descent from many points equals a loop in NumPy over one after the other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps

from lib.lessons.jit_grad.functions import FUNCTIONS, TypedScalarFunction
from lib.lessons.jit_grad.routine import (
    CURVES,
    DRAWN,
    Descent,
    compiled_gradient,
    curve,
    descent_step,
    gradient_report,
    surface,
)
from lib.measure import compile_log

ONE = [name for name, function in FUNCTIONS.items() if len(function.variables) == 1]
TWO = [name for name, function in FUNCTIONS.items() if len(function.variables) == 2]


def constants_of(name):
    return tuple(FUNCTIONS[name].constants.values())


def data_of(name):
    return tuple(np.float32(c) for c in constants_of(name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_three_gradients_of_the_report_agree(name):
    function = FUNCTIONS[name]
    report = gradient_report(name, function.point, constants_of(name))
    exact = np.array(function.gradient(*function.point, *constants_of(name)))
    tolerance = max(1, np.abs(exact).max())
    np.testing.assert_allclose(report["closed form"], exact)
    np.testing.assert_allclose(report["automatic"], exact, rtol=1e-5, atol=1e-6 * tolerance)
    np.testing.assert_allclose(report["central difference"], exact, rtol=1e-3, atol=1e-3 * tolerance)
    np.testing.assert_allclose(report["f"], function.fun(*function.point, *constants_of(name)), rtol=1e-5, atol=1e-6)


def test_another_constant_or_point_compiles_no_gradient_anew():
    gradient_report("squared difference", (5.0,), (3.0,))
    gradient = compiled_gradient("squared difference")
    gradient(np.array([1.0], np.float32), (np.float32(0.0),))
    before = gradient._cache_size()
    assert float(gradient(np.array([2.0], np.float32), (np.float32(7.0),))[0]) == -10.0
    gradient_report("squared difference", (1.0,), (-3.0,))
    assert gradient._cache_size() == before


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_step_from_every_point_equals_a_loop_over_points(name):
    function, rate = FUNCTIONS[name], 0.001
    rng = np.random.default_rng(1)
    points = rng.uniform(*function.domain, (7, len(function.variables))).astype(np.float32)
    f = partial(function.at, constants=constants_of(name))
    after, values = jax.jit(partial(descent_step, f))(points, rate)
    for i, point in enumerate(points.astype(float)):
        gradient = np.array(function.gradient(*point, *constants_of(name)))
        np.testing.assert_allclose(after[i], point - rate * gradient, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(values[i], function.fun(*points[i], *constants_of(name)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_many_steps_equal_a_loop_in_double_precision(name):
    function, count = FUNCTIONS[name], 20
    rate = function.learning_rate / 10
    problem = Descent(name, 6)
    start = jax.jit(problem.init)(jax.random.key(2), data_of(name))
    points = np.asarray(start.params["points"], float)
    state, metrics, _ = train_steps(problem, start, data_of(name), jnp.float32(rate), jnp.int32(count))
    for step in range(count):
        values = np.array([float(function.fun(*map(np.float32, point), *constants_of(name))) for point in points])
        if step in (0, count - 1):
            np.testing.assert_allclose(metrics["loss"][step], values.mean(), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(metrics["lowest"][step], values.min(), rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(metrics["highest"][step], values.max(), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(metrics["each"][step], values, rtol=1e-3, atol=1e-4)
        points = np.stack([p - rate * np.array(function.gradient(*p, *constants_of(name))) for p in points])
    np.testing.assert_allclose(state.params["points"], points, rtol=1e-3, atol=1e-4)
    assert int(state.step) == count


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_points_start_inside_the_domain_and_follow_the_key(name):
    problem = Descent(name, 100)
    init = jax.jit(problem.init)
    points = [np.asarray(init(jax.random.key(seed), ()).params["points"]) for seed in (0, 0, 1)]
    low, high = FUNCTIONS[name].domain
    assert points[0].shape == (100, len(FUNCTIONS[name].variables))
    assert low <= points[0].min() and points[0].max() <= high
    assert np.ptp(points[0]) > 0.8 * (high - low)
    np.testing.assert_array_equal(points[0], points[1])
    assert not np.allclose(points[0], points[2])


@pytest.mark.parametrize("batch_size", [1, CURVES + 1, DRAWN + 5])
def test_losses_and_points_that_are_drawn_are_bounded(batch_size):
    problem = Descent("saddle", batch_size)
    state = jax.jit(problem.init)(jax.random.key(0), ())
    _, metrics = jax.jit(problem.step)(state, (), jnp.float32(0.01))
    picture = jax.jit(problem.observe)(state, ()).picture
    assert metrics["each"].shape == (min(batch_size, CURVES),)
    assert picture["points"].shape == (min(batch_size, DRAWN), 2)
    x, y = np.asarray(picture["points"], float).T
    np.testing.assert_allclose(picture["values"], (x**2 - y**2) / 2, rtol=1e-5, atol=1e-6)


def test_another_number_of_points_is_another_run():
    assert Descent("saddle", 4).lineage != Descent("saddle", 8).lineage
    assert Descent("saddle", 4).lineage == Descent("saddle", 4).lineage


SECOND = {  # of f, in closed form
    "squared difference": lambda x: 2 + 0 * x,
    "double well": lambda x: 3 * x**2 - 2,
    "wavy bowl": lambda x: 0.5 - 9 * np.sin(3 * x),
    "log cosh": lambda x: 1 / np.cosh(x) ** 2,
    "Gaussian well": lambda x: (2 - 4 * x**2) * np.exp(-(x**2)),
}


@pytest.mark.parametrize("name", ONE)
def test_a_curve_has_f_and_both_derivatives_over_the_domain(name):
    function = FUNCTIONS[name]
    found = curve(name, data_of(name), 50)
    xs = np.linspace(*function.domain, 50)
    np.testing.assert_allclose(found["x"], xs, rtol=1e-5, atol=1e-6)
    at = np.asarray(found["x"], float)
    np.testing.assert_allclose(found["df"], function.gradient(at, *constants_of(name))[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["d2f"], SECOND[name](at), rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(
        found["f"], function.fun(at.astype(np.float32), *constants_of(name)), rtol=1e-5, atol=1e-6
    )


def test_another_constant_compiles_no_curve_anew():
    curve("squared difference", (np.float32(3.0),))
    before = compile_log.compilations()
    found = curve("squared difference", (np.float32(1.0),))
    assert compile_log.compilations() == before
    np.testing.assert_allclose(found["f"], (np.asarray(found["x"]) - 1) ** 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TWO)
def test_a_surface_has_values_at_cell_centres_with_rows_along_the_second_variable(name):
    function, cells = FUNCTIONS[name], 6
    low, high = function.domain
    values = surface(name, data_of(name), cells)
    width = (high - low) / cells
    assert values.shape == (cells, cells)
    for row in range(cells):
        for column in range(cells):
            x, y = low + (column + 0.5) * width, low + (row + 0.5) * width
            np.testing.assert_allclose(values[row, column], float(function.fun(x, y)), rtol=1e-4, atol=1e-4)


def test_a_typed_function_is_reported_drawn_and_descended():
    name = TypedScalarFunction("a * x * log(x)", ("x",), (-1.0, 1.0))
    report = gradient_report(name, (0.5,), (2.0,))
    expected = 2 * (np.log(0.5) + 1)
    np.testing.assert_allclose([report["automatic"], report["closed form"]], expected, rtol=1e-5)
    np.testing.assert_allclose(report["central difference"], expected, rtol=1e-2)
    found = curve(name, (np.float32(2.0),), 10)
    assert np.isnan(found["f"][:5]).all() and np.isfinite(found["f"][5:]).all()
    assert surface(TypedScalarFunction("x * y", ("x", "y"), (0.0, 1.0)), (), 2).tolist() == [
        [0.0625, 0.1875],
        [0.1875, 0.5625],
    ]
    problem = Descent(TypedScalarFunction("a * x**2", ("x",), (1.0, 2.0)), 3)
    state = jax.jit(problem.init)(jax.random.key(0), (np.float32(0.5),))
    after, _ = jax.jit(problem.step)(state, (np.float32(0.5),), jnp.float32(0.1))
    np.testing.assert_allclose(after.params["points"], 0.9 * np.asarray(state.params["points"]), rtol=1e-5)
