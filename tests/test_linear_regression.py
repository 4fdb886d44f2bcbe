"""`lib/lessons/jit_grad_vmap/routine.py`: one gradient in four ways, and SGD on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps

from lib.lessons.jit_grad_vmap.routine import (
    EXAMPLES,
    FEATURES,
    LOSSES,
    NOISE,
    TRUE_WEIGHTS,
    WAYS,
    LinearRegression,
    batch_gradient,
    example_gradient_norms,
    four_steps,
    gradient_report,
    least_squares,
    loss,
    regression_data,
    suitable_rates,
)


def data_in_double(seed=0, count=EXAMPLES):
    return tuple(a[:count].astype(float) for a in regression_data(seed))


def exact_gradient(w, inputs, targets):
    """Of the mean loss, by a loop over examples in double precision."""
    total = np.zeros(FEATURES)
    for x, y in zip(inputs, targets, strict=True):
        total += 2 * (w @ x - y) * x
    return total / len(inputs)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_every_way_gives_the_gradient_of_a_loop_in_double_precision(name, batch_size):
    way, whole = WAYS[name]
    w = np.random.default_rng(3).normal(size=FEATURES)
    inputs, targets = data_in_double(0, batch_size)
    args = tuple(jnp.array(a, jnp.float32) for a in (w, inputs, targets))
    expected = exact_gradient(w, inputs, targets)
    np.testing.assert_allclose(way(*args), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    if whole:
        np.testing.assert_allclose(jax.jit(way)(*args), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_loss_of_a_batch_equals_numpy(reduction):
    w = np.arange(FEATURES) / 3
    inputs, targets = data_in_double(0, 50)
    losses = (inputs @ w - targets) ** 2
    args = tuple(jnp.array(a, jnp.float32) for a in (w, inputs, targets))
    np.testing.assert_allclose(LOSSES[reduction](*args), getattr(losses, reduction)(), rtol=1e-5)
    np.testing.assert_allclose(loss(args[0], args[1][0], args[2][0]), losses[0], rtol=1e-5)


def test_the_gradient_of_the_mean_equals_central_differences():
    inputs, targets = data_in_double(0, 20)
    w, step = np.ones(FEATURES), 1e-5
    mean = lambda w: ((inputs @ w - targets) ** 2).mean()  # noqa: E731
    slopes = [(mean(w + m) - mean(w - m)) / (2 * step) for m in step * np.eye(FEATURES)]
    grads = jax.grad(LOSSES["mean"])(*(jnp.array(a, jnp.float32) for a in (w, inputs, targets)))
    np.testing.assert_allclose(grads, slopes, rtol=1e-3)


def test_the_norms_are_of_each_example_s_own_gradient():
    inputs, targets = data_in_double(0, 30)
    w = np.full(FEATURES, 0.5)
    expected = [np.linalg.norm(2 * (w @ x - y) * x) for x, y in zip(inputs, targets, strict=True)]
    norms = example_gradient_norms(*(jnp.array(a, jnp.float32) for a in (w, inputs, targets)))
    np.testing.assert_allclose(norms, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_the_report_has_every_way_and_the_norms(batch_size):
    report = gradient_report(batch_size, 1)
    assert set(report) == {*WAYS, "norms"} and report["norms"].shape == (batch_size,)
    inputs, targets = data_in_double(1, batch_size)
    expected = exact_gradient(np.zeros(FEATURES), inputs, targets)
    for name in WAYS:
        np.testing.assert_allclose(report[name], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("reduction", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_four_steps_have_the_shapes_that_they_say(batch_size, reduction):
    inputs, targets = (a[:batch_size] for a in regression_data(0))
    w = np.zeros(FEATURES, np.float32)
    names = {"vmap": jax.vmap, "grad": jax.grad, "jit": jax.jit, "loss": loss, reduction: getattr(jnp, reduction)}
    for code, shapes in four_steps(batch_size, reduction):
        name = code.split(" = ")[0]
        exec(code, names)
        assert shapes.startswith(f"{w.shape}, {inputs.shape}, {targets.shape} → ")
        assert shapes.endswith(f"→ {names[name](w, inputs, targets).shape}")
    whole, args = batch_gradient(batch_size, reduction)
    np.testing.assert_allclose(names["compiled"](*args), jax.jit(whole)(*args), rtol=1e-6)


def test_the_data_are_the_true_weights_plus_noise():
    inputs, targets = data_in_double(0)
    assert inputs.shape == (EXAMPLES, FEATURES)
    noise = targets - inputs @ TRUE_WEIGHTS
    assert noise.std() == pytest.approx(NOISE, rel=0.1) and abs(noise.mean()) < 0.05
    assert np.abs(inputs.mean(0)).max() < 0.15 and np.abs(inputs.std(0) - 1).max() < 0.1


def test_data_follow_the_seed():
    for one, other in zip(regression_data(4), regression_data(4), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32
    assert not np.allclose(regression_data(4)[0], regression_data(5)[0])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_least_squares_weights_solve_the_normal_equations(seed):
    inputs, targets = data_in_double(seed)
    weights, loss = least_squares(seed)
    np.testing.assert_allclose(inputs.T @ (inputs @ weights - targets), 0, atol=1e-8)
    assert loss == pytest.approx(((inputs @ weights - targets) ** 2).mean())
    np.testing.assert_allclose(weights, TRUE_WEIGHTS, atol=0.05)


def numpy_sgd(batch_size, reduction, rate, steps, seed=0):
    """The loss before each step, and the weights at the end."""
    inputs, targets = data_in_double(seed)
    w, losses = np.zeros(FEATURES), []
    for step in range(steps):
        losses.append(((inputs @ w - targets) ** 2).mean())
        rows = (step * batch_size + np.arange(batch_size)) % EXAMPLES
        gradient = exact_gradient(w, inputs[rows], targets[rows])
        w = w - rate * (gradient if reduction == "mean" else gradient * batch_size)
    return np.array(losses), w


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("batch_size", [1, 100])
def test_sgd_equals_a_loop_in_double_precision(batch_size, reduction):
    rate = 0.05 if reduction == "mean" else 0.05 / batch_size
    problem, data = LinearRegression(batch_size, reduction), regression_data(0)
    start = problem.init(jax.random.key(0), data)
    state, metrics, _ = train_steps(problem, start, data, jnp.float32(rate), jnp.int32(25))
    losses, w = numpy_sgd(batch_size, reduction, rate, 25)
    np.testing.assert_allclose(metrics["loss"][:25], losses, rtol=1e-4)
    np.testing.assert_allclose(problem.observe(state, data).picture["w"], w, rtol=1e-4, atol=1e-5)


def test_sgd_arrives_at_least_squares_with_the_whole_data():
    problem, data = LinearRegression(EXAMPLES), regression_data(0)
    state, metrics, _ = train_steps(
        problem, problem.init(jax.random.key(0), data), data, jnp.float32(0.3), jnp.int32(200)
    )
    weights, loss = least_squares(0)
    np.testing.assert_allclose(state.params["w"], weights, rtol=1e-3, atol=1e-4)
    assert float(metrics["loss"][199]) == pytest.approx(loss, rel=1e-4)


def test_the_sum_needs_a_rate_smaller_by_the_batch_size():
    data = regression_data(0)
    ends = {}
    for reduction in ("mean", "sum"):
        problem = LinearRegression(64, reduction)
        start = problem.init(jax.random.key(0), data)
        _, metrics, _ = train_steps(problem, start, data, jnp.float32(0.1), jnp.int32(60))
        ends[reduction] = float(metrics["loss"][59])
    assert ends["mean"] < 1 and not ends["sum"] < 1e3


@pytest.mark.parametrize("reduction", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 32, 1024])
def test_the_rates_that_suit_get_near_the_optimum_and_ten_times_the_highest_does_not(batch_size, reduction):
    problem, data, (_, lowest) = LinearRegression(batch_size, reduction), regression_data(0), least_squares(0)
    start = problem.init(jax.random.key(0), data)
    low, high = suitable_rates(batch_size, reduction)
    ends = []
    for rate in (low, high, 10 * high):
        _, metrics, _ = train_steps(problem, start, data, jnp.float32(rate), jnp.int32(400))
        ends.append(float(np.mean(metrics["loss"][350:400])))
    assert max(ends[:2]) < 3 * lowest and not ends[2] < 3 * lowest


def test_batch_size_and_reduction_go_on_from_the_same_weights():
    assert LinearRegression(8, "mean").lineage == LinearRegression(16, "sum").lineage
