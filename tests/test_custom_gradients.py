"""The pairs of the page on custom gradients: the naive one fails, the mended one is right and trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import train_steps
from test_gradient_and_tree_pages import measured
from test_pages import numbers, open_page, pick, press, run_until, settle, show, show_every_mistake

from lib.lessons.custom_gradients import fixed_points, view
from lib.lessons.custom_gradients import measure as gradient_memory
from lib.lessons.custom_gradients import snippet as code_of
from lib.lessons.custom_gradients.mistakes import MISTAKES
from lib.lessons.custom_gradients.pair_training import PairTraining, pair_data
from lib.lessons.custom_gradients.routine import GRID, PAIRS, agrees, check_report, curves, gradient, gradient_clipper
from lib.measure.timing import records_of

DEVICE = jax.devices("cpu")[0]
NAMES = list(PAIRS)
SIGMOID, LOG, WHERE, CLIP, ROUND, FIXED = NAMES
SMALLEST = float(np.finfo(np.float32).smallest_normal)


def kepler(e, m):
    """The place on the orbit by Newton's method in float64."""
    x = np.full(np.shape(m), np.pi)
    for _ in range(50):
        x = x - (x - e * np.sin(x) - m) / (1 - e * np.cos(x))
    return x


def _kepler_slope(e):
    x = kepler(e, 0.1)
    return np.sin(x) / (1 - e * np.cos(x))


# Values and derivatives in float64, by formula. Where the mended derivative differs on purpose, so does the formula.
ORACLES = {
    SIGMOID: (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    LOG: (lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x))),
    WHERE: (
        lambda x: np.where(x > 0, x * np.log(np.maximum(x, 1e-30)), 0),
        lambda x: np.where(x > 0, 1 + np.log(np.maximum(x, 1e-30)), 0),
    ),
    CLIP: (lambda x: x**4, lambda x: np.clip(4 * x**3, -1, 1)),
    ROUND: (np.round, np.ones_like),
    FIXED: (lambda e: kepler(e, 0.1), _kepler_slope),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_mended_version_is_right_and_finite_all_over_its_domain(name):
    found = curves(name)
    x = np.asarray(found["x"], float)
    value, derivative = ORACLES[name]
    assert len(x) == GRID
    inside = slice(1, None) if name == FIXED else slice(None)
    np.testing.assert_allclose(found["f mended"], value(x), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(found["df mended"][inside], derivative(x)[inside], rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("name", [SIGMOID, WHERE, CLIP, ROUND, FIXED])
def test_where_only_the_derivative_is_wrong_both_versions_have_the_same_value(name):
    found = curves(name)
    np.testing.assert_allclose(found["f naive"], found["f mended"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_derivative_of_the_naive_sigmoid_is_0_and_then_nan_where_it_is_said(compiled):
    def derivative(fun):
        return (jax.jit if compiled else lambda f: f)(jax.vmap(jax.grad(fun)))

    x = jnp.array([-120.0, -88.8, -88.6, -60.0, -44.4])
    found = np.asarray(derivative(PAIRS[SIGMOID].naive)(x))
    np.testing.assert_array_equal(np.isnan(found), [True, True, False, False, False])
    np.testing.assert_array_equal(found[2:], [0, 0, 0])
    assert derivative(PAIRS[SIGMOID].naive)(jnp.array([-44.3]))[0] == pytest.approx(np.exp(-44.3), rel=1e-4)
    assert np.exp(-44.4) * (1 + np.exp(44.4)) ** 2 > np.finfo(np.float32).max ** 0.5
    np.testing.assert_allclose(derivative(PAIRS[SIGMOID].mended)(x)[3:], np.exp([-60.0, -44.4]), rtol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_derivative_of_the_naive_log1pexp_is_0_where_the_reciprocal_is_too_small(compiled, on_cpu):
    derivative = jax.vmap(jax.grad(PAIRS[LOG].naive))
    x = np.array([87.0, 87.3, 87.4, 88.0, 88.7, 88.8, 100.0], np.float32)
    found = np.asarray((jax.jit(derivative) if compiled else derivative)(x))
    np.testing.assert_allclose(found[:2], 1, rtol=1e-5)
    np.testing.assert_array_equal(found[2:5], 0)
    assert np.isnan(found[5:]).all()
    reciprocal = 1 / (1 + np.exp(x[:5].astype(float)))
    np.testing.assert_array_equal(reciprocal < SMALLEST, [False, False, True, True, True])
    np.testing.assert_array_equal(np.isfinite(PAIRS[LOG].naive(x)), [True] * 5 + [False] * 2)


def test_the_body_of_log1pexp_needs_its_rule_at_its_kinks():
    body = PAIRS[LOG].mended.fun
    assert jax.grad(body)(0.0) == 0 and not agrees(body, 0.0)
    assert jax.grad(PAIRS[LOG].mended)(0.0) == 0.5 and agrees(PAIRS[LOG].mended, 0.0)


def test_the_naive_ones_fail_where_they_are_said_to():
    found = curves(WHERE)
    np.testing.assert_array_equal(np.isnan(found["df naive"]), np.asarray(found["x"]) <= 0)
    assert np.abs(curves(CLIP)["df naive"]).max() > 30
    assert not np.any(curves(ROUND)["df naive"])


def test_unrolled_and_implicit_have_the_same_derivative_too():
    found = curves(FIXED)
    np.testing.assert_allclose(found["df naive"][1:], found["df mended"][1:], rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_check_grads_takes_the_mended_gradient_unless_it_is_wrong_on_purpose(name):
    said = [row["mended"] for row in check_report(name)]
    assert said == ["agrees"] * len(said) if PAIRS[name].exact else "refused" in said


@pytest.mark.parametrize(("name", "x"), [(SIGMOID, -90.0), (LOG, 100.0), (LOG, 88.0), (WHERE, -0.5)])
def test_check_grads_refuses_a_gradient_that_is_nan_or_wrong(name, x, on_cpu):
    assert not agrees(PAIRS[name].naive, x) and agrees(PAIRS[name].mended, x)
    if x == PAIRS[name].points[0]:
        fun, args = gradient(name, "naive")
        assert np.isnan(jax.jit(fun)(*args))


def test_check_grads_finds_a_rule_that_forgets_the_cotangent():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x,))
    assert jax.grad(square)(3.0) == 6 and not agrees(square, 3.0)


@pytest.mark.parametrize("x", [-3.0, 0.5, 2.0])
@pytest.mark.parametrize("name", [SIGMOID, LOG])
def test_a_rule_by_custom_jvp_holds_in_both_modes_and_twice(name, x):
    check_grads(PAIRS[name].mended, (jnp.float32(x),), order=2, modes=["fwd", "rev"], eps=1e-2, rtol=2e-2, atol=2e-2)


def test_the_clipper_is_the_identity_and_keeps_its_limit():
    clip_gradient = gradient_clipper(limit=1.0)
    assert clip_gradient(5.0) == 5.0
    np.testing.assert_allclose(
        [jax.grad(lambda x, c=c: c * clip_gradient(x))(2.0) for c in (0.5, 3.0, -3.0)], [0.5, 1, -1]
    )


def trained(name, batch_size, num_steps, learning_rate=0.03, seed=0):
    problem, data = PairTraining(name, batch_size), pair_data(name, seed)
    state, metrics, _ = train_steps(problem, problem.init(jax.random.key(0), data), data, learning_rate, num_steps)
    return state, {key: np.asarray(values[:num_steps]) for key, values in metrics.items()}


@pytest.mark.parametrize("batch_size", [1, 4096])
@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_training_fails_with_the_naive_one_and_works_with_the_mended_one(name, batch_size):
    state, metrics = trained(name, batch_size, 4000)
    assert all(np.isfinite(values).all() for values in metrics.values())
    if name == LOG:
        assert np.median(metrics["loss"][-500:]) < 0.3
    else:
        assert metrics["loss"][-1] < 0.05
    broken_at = int(state.opt_state["broken_at"])
    assert PairTraining(name, batch_size).observe(state, pair_data(name, 0)).picture["broken_at"] == broken_at
    if name == ROUND:
        assert broken_at == 0
        np.testing.assert_allclose(metrics["naive"], metrics["naive"][0])
        assert metrics["naive"][0] > 5
        np.testing.assert_allclose(np.round(state.params["mended"]), PAIRS[name].truth)
    else:
        assert 1 <= broken_at <= 30


def test_unrolled_and_implicit_learn_the_same_orbit():
    state, metrics = trained(FIXED, 32, 500)
    assert int(state.opt_state["broken_at"]) == 0
    assert metrics["loss"][-1] < 1e-6
    np.testing.assert_allclose(metrics["naive"], metrics["loss"], rtol=1e-2, atol=1e-7)
    np.testing.assert_allclose([state.params[version][0] for version in state.params], 0.9, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_has_the_derivative_at_the_argument_of_each_example(name):
    problem, data = PairTraining(name, 8), pair_data(name, 0)
    picture = problem.observe(problem.init(jax.random.key(0), data), data).picture
    x = np.asarray(picture["x mended"], float)
    assert len(x) == (3 if name == ROUND else 128)
    np.testing.assert_allclose(picture["df mended"], ORACLES[name][1](np.maximum(x, -700)), rtol=1e-3, atol=1e-6)
    assert np.isnan(picture["df naive"]).any() == (name in (SIGMOID, LOG, WHERE))


def test_one_missing_input_stops_the_naive_sigmoid_and_no_other():
    inputs, _ = pair_data(SIGMOID, 3)
    assert np.flatnonzero(inputs[:, 0] == -999).tolist() == [5]
    state, _ = trained(SIGMOID, 1, 20)
    assert state.opt_state["broken_at"] == 6


def test_the_naive_version_stops_before_the_step_that_breaks_it():
    state, metrics = trained(CLIP, 32, 50)
    broken_at = int(state.opt_state["broken_at"])
    assert np.isfinite(state.params["naive"]).all()
    before, _ = trained(CLIP, 32, broken_at - 1)
    np.testing.assert_array_equal(state.params["naive"], before.params["naive"])
    np.testing.assert_array_equal(metrics["naive"][broken_at - 1 :], metrics["naive"][broken_at - 2])


def test_both_derivatives_of_the_fixed_point_agree_when_there_are_enough_iterations():
    times = np.linspace(0.05, 3, 7).astype(np.float32)
    places = kepler(0.9, times.astype(float))
    expected = (np.sin(places) / (1 - 0.9 * np.cos(places))).sum()
    for derivative in fixed_points.orbit_gradients(512).values():
        assert derivative(np.float32(0.9), times) == pytest.approx(expected, rel=1e-4)


def test_the_implicit_derivative_with_respect_to_time_is_right_too():
    x = kepler(0.5, 1.0)
    slope = jax.grad(PAIRS[FIXED].mended, argnums=1)(0.5, 1.0)
    assert slope == pytest.approx(1 / (1 - 0.5 * np.cos(x)), rel=1e-4)


def test_memory_grows_with_the_iterations_unrolled_and_not_implicitly():
    records = records_of(gradient_memory.fixed_point_sweep(DEVICE, 16, (8, 64)))
    assert [record.label for record in records] == ["unrolled", "implicit"] * 2
    size = {(record.label, record.size): record.more["size_bytes"] for record in records}
    assert size["unrolled", 64] > 4 * size["unrolled", 8]
    assert size["implicit", 64] == size["implicit", 8]


def test_checkpoint_needs_less_memory_for_the_same_gradient():
    records = records_of(gradient_memory.checkpoint_sweep(DEVICE, 16, (8,)))
    kept, again, products = (record.more["size_bytes"] for record in records)
    assert again < products < kept
    assert all(record.median_ms > 0 for record in records)
    args = (fixed_points.deep_weights(3), np.ones((4, fixed_points.WIDTH), np.float32))
    made = [jax.tree.leaves(jax.jit(gradient)(*args)) for gradient in fixed_points.deep_gradients().values()]
    for other in made[1:]:
        for a, b in zip(made[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_the_chart_has_the_examples_inside_its_domain_and_a_cross_for_each_that_breaks_the_naive_version():
    problem, data = PairTraining(WHERE, 8), pair_data(WHERE, 0)
    picture = jax.device_get(problem.observe(problem.init(jax.random.key(0), data), data).picture)
    columns = view.curves_chart(WHERE, "df", jax.device_get(curves(WHERE)), picture).columns
    low, high = PAIRS[WHERE].domain
    x = np.asarray(data[0])[:, 0]  # at the start the unit is the identity
    np.testing.assert_array_equal(columns["examples"]["x"], x[(low <= x) & (x <= high)])
    np.testing.assert_allclose(columns["examples"]["y"], ORACLES[WHERE][1](columns["examples"]["x"]), rtol=1e-4)
    np.testing.assert_array_equal(columns["bad"]["x"], x[x <= 0].clip(low))
    np.testing.assert_array_equal(np.isnan(columns["curves"]["naive"]), columns["curves"]["x"] <= 0)


# The page.


def shown_page(panel=None, name=SIGMOID):
    app = pick(open_page("custom_gradients"), "Pair", name)
    return app if panel is None else show(app, "custom_gradients", panel)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_and_says_at_which_step_the_naive_version_broke(name):
    app = shown_page(name=name)
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: int(shown["Step"].replace(",", "")) > 40)
    press(app, "Pause")
    run_until(app, lambda shown: "paused" in shown["Status"])
    settle(app.run())
    shown = numbers(app)
    state, metrics = trained(name, 32, 40)
    broken_at = int(state.opt_state["broken_at"])
    assert shown["NaN at step"] == (str(broken_at) if broken_at else "–")
    assert (shown["Naive loss"] == "–") == (broken_at > 0)
    assert float(shown["Loss"]) <= metrics["loss"][0]


@pytest.mark.parametrize(("panel", "name"), [("Code", FIXED), ("Curves", SIGMOID), ("Inside", CLIP)])
def test_each_panel_is_of_the_pair(panel, name):
    app = shown_page(panel, name)
    texts = [element.value for element in [*app.markdown, *app.code]]
    if panel == "Code":
        assert code_of.snippet(name) in texts
    if panel == "Curves":
        assert f"{PAIRS[name].why} {PAIRS[name].fails}" in texts
        table = app.dataframe[0].value
        assert table["gradient, naive"].tolist() == [row["grad naive"] for row in check_report(name)]
    if panel == "Inside":
        assert any(f"jax.grad({PAIRS[name].mended.__name__})" in text for text in texts)


def test_every_mistake_on_the_page_shows_its_error_and_its_explanation():
    show_every_mistake("custom_gradients", MISTAKES)


@pytest.mark.parametrize(
    ("panel", "key", "words"),
    [
        ("Fixed point", "fixed_point_measure", "unrolled takes"),
        ("Checkpoint", "checkpoint_measure", "all kept takes"),
        ("Timings", "pair_measure", "naive one."),
    ],
)
def test_a_measurement_ends_in_words(panel, key, words, own_measurements):
    text = measured(shown_page(panel), key)
    assert words in text or "not distinguishable" in text
