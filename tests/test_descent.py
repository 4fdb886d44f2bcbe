"""`lib/lessons/jit_grad/routine.py`: descent from many points equals a loop in NumPy over one after the other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps

from lib.lessons.jit_grad import snippet, view
from lib.lessons.jit_grad.contours import TOLERANCE, contour, thinned
from lib.lessons.jit_grad.functions import FUNCTIONS, Sides, TypedScalarFunction, function_of
from lib.lessons.jit_grad.routine import (
    CURVES,
    DRAWN,
    LEVELS,
    MAX_CONTOUR_POINTS,
    SPACING,
    WAY,
    Descent,
    compiled_gradient,
    curve,
    descent_step,
    gradient_as_shown,
    gradient_report,
    landscape,
    surface,
)
from lib.measure import compile_log
from lib.measure.timing import Record, once

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
    gradient(jnp.float32(1.0), jnp.float32(0.0))
    before = gradient._cache_size()
    assert float(gradient(jnp.float32(2.0), jnp.float32(7.0))) == -10.0
    gradient_report("squared difference", (1.0,), (-3.0,))
    assert gradient._cache_size() == before


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_step_from_every_point_equals_a_loop_over_points(name):
    function, rate = FUNCTIONS[name], 0.001
    rng = np.random.default_rng(1)
    points = rng.uniform(*function.domain, (7, len(function.variables))).astype(np.float32)
    after, values = jax.jit(partial(descent_step, function.fun))(points, constants_of(name), rate)
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
    assert picture["points"].shape == picture["grads"].shape == (min(batch_size, DRAWN), 2)
    x, y = np.asarray(picture["points"], float).T
    np.testing.assert_allclose(picture["values"], (x**2 - y**2) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(picture["grads"], np.stack([x, -y], axis=1), rtol=1e-6)
    assert picture["way"].shape == (WAY + 1, min(batch_size, CURVES), 2)
    np.testing.assert_array_equal(picture["way"][-1], picture["points"][:CURVES])
    np.testing.assert_array_equal(picture["way"][-2], picture["points"][:CURVES])
    assert np.isnan(picture["way"][:-2]).all()
    np.testing.assert_array_equal(picture["heights"][-1], picture["values"][:CURVES])


def test_the_way_of_a_point_is_the_last_places_that_are_far_enough_apart():
    problem, rate = Descent("elliptic bowl", 3), jnp.float32(0.199)
    state = jax.jit(problem.init)(jax.random.key(0), ())
    kept, step = [[np.asarray(point)] for point in state.params["points"]], jax.jit(problem.step)
    for _ in range(40):
        state, _ = step(state, (), rate)
        for places, point in zip(kept, np.asarray(state.params["points"]), strict=True):
            if np.hypot(*(point - places[-1])) >= SPACING * 10:  # the domain is 10 wide
                places.append(point)
    assert max(map(len, kept)) > WAY
    for number, places in enumerate(kept):
        way, count = np.asarray(state.opt_state[:, number]), min(WAY, len(places))
        np.testing.assert_array_equal(way[WAY - count :], places[-count:])
        assert np.isnan(way[: WAY - count]).all()


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
def test_a_surface_has_values_on_a_grid_with_rows_along_the_second_variable(name):
    function, rows = FUNCTIONS[name], 6
    found = surface(name, data_of(name), rows)
    low, high = function.domain
    middle, half = (low + high) / 2, (high - low) / 2
    xs, ys = np.linspace(middle - 1.5 * half, middle + 1.5 * half, 9), np.linspace(low, high, rows)
    expected = [[float(function.fun(x, y)) for x in xs] for y in ys]
    np.testing.assert_allclose(found["values"], expected, rtol=1e-4, atol=1e-3)
    slopes = [np.hypot(*function.gradient(x, y)) for y in ys for x in xs]
    np.testing.assert_allclose(found["slope"], np.median(slopes), rtol=1e-4)


@pytest.mark.parametrize("name", TWO)
def test_contour_lines_of_a_landscape_lie_at_their_levels(name):
    found = landscape(name, data_of(name))
    assert len(found["x"]) <= 2 * MAX_CONTOUR_POINTS and found["finite"]
    low, high = FUNCTIONS[name].domain
    x, y = found["x"].astype(float), found["y"].astype(float)
    inside = np.isfinite(x)
    assert low - 1e-4 <= y[inside].min() and y[inside].max() <= high + 1e-4
    values = np.array(FUNCTIONS[name].fun(x, y))
    middles = []
    for level in range(LEVELS):
        here = values[inside & (found["level"] == level)]
        middles.append(np.median(here))
        spread = np.ptp(values[inside])
        np.testing.assert_allclose(here, middles[-1], atol=0.03 * spread)
    assert np.all(np.diff(middles) > 0)


def test_a_landscape_without_numbers_has_no_lines():
    found = landscape(TypedScalarFunction("log(-1 - x**2 - y**2)", ("x", "y"), (-1.0, 1.0)), ())
    assert len(found["x"]) == len(found["level"]) == 0 and not found["finite"]
    assert len(landscape(TypedScalarFunction("0 * x + 0 * y", ("x", "y"), (-1.0, 1.0)), ())["x"]) == 0


def test_a_contour_of_a_circle_is_one_closed_line_at_its_radius():
    y, x = np.mgrid[-1:1:21j, -1.5:1.5:31j]
    (line,) = contour(x**2 + y**2, 0.5)
    np.testing.assert_array_equal(line[0], line[-1])
    np.testing.assert_allclose(np.hypot(-1.5 + 0.1 * line[:, 0], -1 + 0.1 * line[:, 1]), np.sqrt(0.5), atol=0.002)


@pytest.mark.parametrize(("level", "cut_off"), [(0.4, {(1, 0), (0, 1)}), (0.6, {(0, 0), (1, 1)})])
def test_a_contour_in_a_cell_with_a_saddle_goes_by_its_middle(level, cut_off):
    # The middle is 0.5: above the first level it belongs to the corners at 1, below the second to those at 0.
    lines = contour(np.array([[1.0, 0.0], [0.0, 1.0]]), level)
    assert {tuple(np.round(line.mean(0)).astype(int).tolist()) for line in lines} == cut_off


def test_a_contour_leaves_out_cells_with_a_corner_that_is_not_finite():
    values = np.tile(np.arange(4.0), (4, 1))
    values[3, 3] = np.nan
    (line,) = contour(values, 2.5)
    assert sorted(line[:, 1]) == [0, 1, 2] and set(line[:, 0]) == {2.5}


def test_thinned_lines_keep_their_ends_and_stay_near_and_within_bounds():
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([10 * np.cos(turn), 10 * np.sin(turn)], axis=1)
    straight = np.stack([np.arange(50.0), np.arange(50.0)], axis=1)
    short = straight[:2] + 3
    round_, two, same = thinned([circle, straight, short], 100)
    assert len(two) == len(same) == 2 and len(round_) < 50
    np.testing.assert_array_equal(round_[[0, -1]], circle[[0, -1]])
    middles = (round_[1:] + round_[:-1]) / 2
    assert 10 - np.hypot(*middles.T).min() < 2 * TOLERANCE
    assert sum(map(len, thinned([circle, straight, short], 12))) <= 12
    assert [len(line) for line in thinned([straight, short], 3)] == [2, 0]


def test_a_typed_function_is_reported_drawn_and_descended():
    name = TypedScalarFunction("a * x * log(x)", ("x",), (-1.0, 1.0))
    report = gradient_report(name, (0.5,), (2.0,))
    expected = 2 * (np.log(0.5) + 1)
    np.testing.assert_allclose([report["automatic"], report["closed form"]], expected, rtol=1e-5)
    np.testing.assert_allclose(report["central difference"], expected, rtol=1e-2)
    found = curve(name, (np.float32(2.0),), 10)
    assert np.isnan(found["f"][:5]).all() and np.isfinite(found["f"][5:]).all()
    found = surface(TypedScalarFunction("x * y", ("x", "y"), (0.0, 1.0)), (), 2)
    assert found["values"].tolist() == [[0.0, 0.0, 0.0], [-0.25, 0.5, 1.25]]
    problem = Descent(TypedScalarFunction("a * x**2", ("x",), (1.0, 2.0)), 3)
    state = jax.jit(problem.init)(jax.random.key(0), (np.float32(0.5),))
    after, _ = jax.jit(problem.step)(state, (np.float32(0.5),), jnp.float32(0.1))
    np.testing.assert_allclose(after.params["points"], 0.9 * np.asarray(state.params["points"]), rtol=1e-5)


# What is drawn.


def drawn_points(name, count, rate, batch_size=3):
    problem, data = Descent(name, batch_size), data_of(name)
    state, step = jax.jit(problem.init)(jax.random.key(0), data), jax.jit(problem.step)
    for _ in range(count):
        state, _ = step(state, data, jnp.float32(rate))
    return jax.device_get(jax.jit(problem.observe)(state, data).picture)


def columns(chart, name):
    return {column: np.array(values, float) for column, values in chart.data[name].to_pydict().items()}


@pytest.mark.parametrize("name", ONE)
def test_each_point_has_a_piece_of_its_tangent(name):
    shape = jax.device_get(curve(name, data_of(name)))
    drawn = columns(view.descent(FUNCTIONS[name], shape, drawn_points(name, 2, 0.01), 3), "points")
    assert np.isfinite(drawn["f"]).all()
    np.testing.assert_allclose(drawn["f"], FUNCTIONS[name].fun(jnp.float32(drawn["x"]), *data_of(name)), atol=1e-4)
    slopes = FUNCTIONS[name].gradient(drawn["x"], *constants_of(name))[0]
    for one, other in ((drawn["x1"], drawn["f1"]), (drawn["x2"], drawn["f2"])):
        np.testing.assert_allclose(other - drawn["f"], slopes * (one - drawn["x"]), rtol=1e-3, atol=1e-4)
    assert (drawn["x1"] <= drawn["x"]).all() and (drawn["x2"] >= drawn["x"]).all()


def test_what_has_left_the_picture_does_not_stretch_its_axes():
    shape = jax.device_get(curve("double well", ()))
    picture = drawn_points("double well", 2, 1.5)
    assert np.abs(picture["values"]).max() > 100
    chart = view.descent(FUNCTIONS["double well"], shape, picture, 3)
    for name in ("points", "ways"):
        for column in ("f", "f1", "f2"):
            values = columns(chart, name).get(column, np.empty(0))
            assert not (np.nan_to_num(values) > shape["f"].max()).any() and not (values < shape["f"].min()).any()


def test_a_curve_is_not_drawn_across_a_jump_or_a_pole():
    for text, expected in (("floor(x)", 4), ("1 / x", 1), ("abs(x)", 0), ("sin(3 * x)", 0)):
        shape = jax.device_get(curve(TypedScalarFunction(text, ("x",), (-2.0, 2.0)), ()))
        drawn = view._drawn(shape)
        gaps = np.isnan(drawn["f"]).sum()
        assert gaps == expected, text
        slope_gaps = np.isnan(drawn["df"]).sum()
        assert slope_gaps == {"floor(x)": 0, "1 / x": 0, "abs(x)": 1, "sin(3 * x)": 0}[text]


def test_arrows_point_against_the_gradient_and_are_of_one_length():
    picture = drawn_points("saddle", 0, 0.01)
    chart = view.contours(FUNCTIONS["saddle"], landscape("saddle", ()), picture, 3)
    drawn = columns(chart, "points")
    moved = np.stack([drawn["x2"] - drawn["x"], drawn["y2"] - drawn["y"]], axis=1)
    np.testing.assert_allclose(np.hypot(*moved.T), 2 * view.REACH * view.UNITS, rtol=1e-3)
    against = -picture["grads"] / np.hypot(*picture["grads"].T)[:, None]
    np.testing.assert_allclose(moved / np.hypot(*moved.T)[:, None], against, atol=1e-3)
    high = FUNCTIONS["saddle"].domain[1]
    np.testing.assert_allclose(drawn["x"] * high / view.UNITS, picture["points"][:, 0], atol=1e-3)


def test_a_point_at_rest_has_no_arrow():
    picture = {"points": np.array([[1.0, 1.0]]), "grads": np.array([[0.0, 0.0]])}
    drawn = columns(view.contours(FUNCTIONS["Rosenbrock"], landscape("Rosenbrock", ()), picture, 1), "points")
    assert (drawn["x"], drawn["y"]) == (drawn["x2"], drawn["y2"])


@pytest.mark.parametrize("name", ["double well", "Himmelblau"])
def test_what_is_drawn_of_a_long_run_of_many_points_is_small(name):
    picture = drawn_points(name, 30, 0.001, 1024)
    function, two = function_of(name), name in TWO
    draw, shape = (view.contours, landscape) if two else (view.descent, curve)
    shown = draw(function, jax.device_get(shape(name, ())), picture, CURVES)
    assert sum(table.nbytes for table in shown.data.values()) < 7_000


def test_the_words_at_a_kink_name_both_slopes_or_the_jump():
    assert "-1 on the left and 1 on the right" in view.kink_in_words("x", Sides(-1.0, 1.0), 1.0)
    assert "`grad` gives 1 here: a convention" in view.kink_in_words("x", Sides(-1.0, 1.0), 1.0)
    assert "jumps" in view.kink_in_words("x", Sides(1e7, 0.0), 0.0)
    assert "not finite" in view.kink_in_words("x", Sides(np.nan, 2.0), np.inf)


@pytest.mark.parametrize("name", ["double well", "squared difference", "Himmelblau"])
def test_what_is_looked_into_is_the_code_that_is_shown(name):
    fun, values = gradient_as_shown(name)
    function, namespace = FUNCTIONS[name], {}
    exec(snippet.snippet(name, function.point, constants_of(name), 0.01), namespace)
    assert values == (*function.point, *constants_of(name))
    pasted = jax.make_jaxpr(jax.grad(namespace[function.fun.__name__], argnums=function.argnums))(*values)
    assert str(jax.make_jaxpr(fun)(*values)) == str(pasted)
    assert ("argnums=(0, 1)" in snippet.line(name, 32)) == (name == "Himmelblau")
    assert ("in_axes=(0, None)" in snippet.line(name, 32)) == (name == "squared difference")


@pytest.mark.parametrize(
    ("eager", "quartiles", "words"),
    [
        (2.01, (2.0, 2.1), "from call **51** on"),
        (1.01, (1.0, 1.1), "from call **101** on"),
        (0.0105, (0.009, 0.02), "not distinguishable"),
        (0.005, (0.004, 0.006), "takes 5 µs longer"),
    ],
)
def test_compiling_pays_from_the_call_that_the_measured_times_say(eager, quartiles, words):
    phases = {phase: once(phase, phase, ms) for phase, ms in (("trace", 10), ("lower", 10.4), ("compile", 80))}
    phases["steady"] = Record("f", "steady", 0.01, 0.0095, 0.0101)
    phases["eager"] = Record("f", "eager", eager, *quartiles)
    assert words in view.pays(phases) and "**100 ms**" in view.pays(phases)
