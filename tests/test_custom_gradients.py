"""The pairs of the page on custom gradients: the naive one fails, the mended one is right and trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import train_steps

from lib.lessons.custom_gradients import fixed_points
from lib.lessons.custom_gradients import measure as gradient_memory
from lib.lessons.custom_gradients.pair_training import PairTraining, gradient_of_a_batch, pair_data
from lib.lessons.custom_gradients.routine import GRID, PAIRS, agrees, check_report, clip_gradient, curves
from lib.measure.timing import records_of

DEVICE = jax.devices()[0]
NAMES = list(PAIRS)
LOG, WHERE, CLIP, ROUND, FIXED = NAMES


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


def test_the_naive_ones_fail_where_they_are_said_to():
    x = np.asarray(curves(LOG)["x"])
    np.testing.assert_array_equal(np.isfinite(curves(LOG)["f naive"]), x < 88.7)
    np.testing.assert_array_equal(np.isnan(curves(LOG)["df naive"]), x > 88.7)
    found = curves(WHERE)
    assert np.isfinite(found["f naive"]).all()
    np.testing.assert_array_equal(np.isnan(found["df naive"]), np.asarray(found["x"]) <= 0)
    assert np.abs(curves(CLIP)["df naive"]).max() > 30
    assert not np.any(curves(ROUND)["df naive"])
    found = curves(FIXED)
    assert np.abs(found["df naive"] - found["df mended"]).max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_check_grads_takes_the_mended_gradient_unless_it_is_wrong_on_purpose(name):
    said = [row["mended"] for row in check_report(name)]
    assert said == ["agrees"] * 3 if PAIRS[name].exact else "refused" in said


@pytest.mark.parametrize(("name", "x"), [(LOG, 100.0), (WHERE, -0.5)])
def test_check_grads_refuses_a_gradient_that_is_nan(name, x):
    assert not agrees(PAIRS[name].naive, x) and agrees(PAIRS[name].mended, x)


@pytest.mark.parametrize("x", [-3.0, 0.5, 2.0])
def test_the_rule_for_log1pexp_holds_in_both_modes_and_twice(x):
    check_grads(PAIRS[LOG].mended, (jnp.float32(x),), order=2, modes=["fwd", "rev"], eps=1e-2, rtol=2e-2, atol=2e-2)


def test_the_clipper_is_the_identity_and_keeps_its_limit():
    assert clip_gradient(5.0) == 5.0
    np.testing.assert_allclose(
        [jax.grad(lambda x, c=c: c * clip_gradient(x))(2.0) for c in (0.5, 3.0, -3.0)], [0.5, 1, -1]
    )


def trained(name, batch_size, num_steps, learning_rate=0.03, seed=0):
    problem, data = PairTraining(name, batch_size), pair_data(name, seed)
    state, metrics, _ = train_steps(problem, problem.init(jax.random.key(0), data), data, learning_rate, num_steps)
    return state, {key: np.asarray(values[:num_steps]) for key, values in metrics.items()}


@pytest.mark.parametrize("batch_size", [1, 4096])
@pytest.mark.parametrize("name", NAMES[:4])
def test_a_training_fails_with_the_naive_one_and_works_with_the_mended_one(name, batch_size):
    state, metrics = trained(name, batch_size, 4000)
    assert all(np.isfinite(values).all() for values in metrics.values())
    if name == LOG:
        assert np.median(metrics["loss"][-500:]) < 0.3
    else:
        assert metrics["loss"][-1] < 0.05
    broken_at = int(state.opt_state["broken_at"])
    assert PairTraining(name, batch_size).observe(state, ()).picture["broken_at"] == broken_at
    if name == ROUND:
        assert broken_at == 0
        np.testing.assert_allclose(metrics["naive"], metrics["naive"][0])
        assert metrics["naive"][0] > 5
        np.testing.assert_allclose(np.round(state.params["mended"]), PAIRS[name].truth)
    else:
        assert 1 <= broken_at <= 30


def test_eight_unrolled_iterations_learn_another_orbit():
    state, metrics = trained(FIXED, 32, 1500)
    assert int(state.opt_state["broken_at"]) == 0
    assert metrics["loss"][-1] < 1e-6 < 1e-3 < metrics["naive"][-1]
    assert state.params["mended"][0] == pytest.approx(0.9, abs=1e-3)
    assert abs(state.params["naive"][0] - 0.9) > 2e-3


def test_the_naive_version_stops_before_the_step_that_breaks_it():
    state, metrics = trained(CLIP, 32, 50)
    broken_at = int(state.opt_state["broken_at"])
    assert np.isfinite(state.params["naive"]).all()
    before, _ = trained(CLIP, 32, broken_at - 1)
    np.testing.assert_array_equal(state.params["naive"], before.params["naive"])
    np.testing.assert_array_equal(metrics["naive"][broken_at - 1 :], metrics["naive"][broken_at - 2])


@pytest.mark.parametrize("name", [WHERE, ROUND])
def test_the_gradient_for_the_stages_is_that_of_the_first_batch(name):
    gradient, args = gradient_of_a_batch(name, "mended", 8)
    state, _ = trained(name, 8, 1, learning_rate=1.0)
    np.testing.assert_allclose(np.array(PAIRS[name].start) - gradient(*args) / 8, state.params["mended"], rtol=1e-4)


def test_both_derivatives_of_the_fixed_point_agree_when_there_are_enough_iterations():
    times = np.linspace(0.05, 3, 7).astype(np.float32)
    places = kepler(0.9, times.astype(float))
    expected = (np.sin(places) / (1 - 0.9 * np.cos(places))).sum()
    for gradient in fixed_points.orbit_gradients(512).values():
        assert gradient(np.float32(0.9), times) == pytest.approx(expected, rel=1e-4)


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
