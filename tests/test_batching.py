"""`lib/lessons/jit_vmap/routine.py`: every batched function equals a Python loop over its examples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps

from lib.lessons.jit_vmap import routine as batching
from lib.lessons.jit_vmap.routine import CURVES, EXAMPLES, FUNCTIONS, RIVALS, Ensemble, arguments, batched, try_axes
from lib.live.devices import devices

CPU = devices()["cpu:0"]


def looped(name, in_axes, batch_size):
    """One example after the other, in NumPy's float64."""
    args = [a.astype(float) for a in arguments(name, in_axes, batch_size)]
    rows = []
    for i in range(batch_size):
        example = [a if axis is None else np.take(a, i, axis) for a, axis in zip(args, in_axes, strict=True)]
        rows.append(FUNCTIONS[name].fun(*example))
    return np.stack(rows)


def all_axes(name):
    """Every choice of axes that has one to map."""
    choices = [(None, *range(len(argument.shape) + 1)) for argument in FUNCTIONS[name].arguments]
    return [axes for axes in itertools.product(*choices) if any(axis is not None for axis in axes)]


ALL = [(name, axes) for name in FUNCTIONS for axes in all_axes(name)]


@pytest.mark.parametrize(("name", "in_axes"), ALL)
def test_every_choice_of_axes_equals_a_loop_over_examples(name, in_axes):
    args = arguments(name, in_axes, 4)
    value = batched(FUNCTIONS[name].fun, in_axes, 0)(*args)
    np.testing.assert_allclose(value, looped(name, in_axes, 4), rtol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_the_arguments_have_the_batch_where_in_axes_says(name, batch_size):
    function = FUNCTIONS[name]
    args = arguments(name, function.in_axes, batch_size)
    for argument, axis, arg in zip(function.arguments, function.in_axes, args, strict=True):
        assert arg.dtype == np.float32
        assert arg.shape == (argument.shape if axis is None else (batch_size, *argument.shape))
    again = arguments(name, function.in_axes, batch_size)
    assert all(np.array_equal(a, b) for a, b in zip(args, again, strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_starting_axes_are_accepted_and_described(name):
    function = FUNCTIONS[name]
    mapped = try_axes(name, function.in_axes, 0, 8)
    assert mapped.error == "" and mapped.explanation == ""
    expected = looped(name, function.in_axes, 8)
    assert mapped.output == (expected.shape, 0)
    assert mapped.text == np.array2string(expected.astype(np.float32), precision=4, threshold=40)
    assert [(n, axis) for n, _, axis in mapped.inputs] == [
        (argument.name, axis) for argument, axis in zip(function.arguments, function.in_axes, strict=True)
    ]


@pytest.mark.parametrize("out_axes", [0, 1, 2])
def test_out_axes_says_where_the_batch_comes_out(out_axes):
    mapped = try_axes("outer(x, y)", (0, 0), out_axes, 8)
    shape = [3, 4]
    shape.insert(out_axes, 8)
    assert mapped.output == (tuple(shape), out_axes)
    value = batched(batching.outer, (0, 0), out_axes)(*arguments("outer(x, y)", (0, 0), 8))
    np.testing.assert_allclose(value, np.moveaxis(looped("outer(x, y)", (0, 0), 8), 0, out_axes), rtol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_to_map_is_refused_with_the_reason(name):
    mapped = try_axes(name, (None,) * len(FUNCTIONS[name].arguments), 0, 4)
    assert mapped.error == "ValueError" and mapped.output is None
    assert "nothing to map over" in mapped.explanation


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_axis_beyond_the_argument_is_refused_with_its_name(name):
    function = FUNCTIONS[name]
    beyond = len(function.arguments[-1].shape) + 1
    mapped = try_axes(name, (*function.in_axes[:-1], beyond), 0, 4)
    assert mapped.error in ("ValueError", "IndexError") and mapped.text
    assert f"`{function.arguments[-1].name}`" in mapped.explanation and f"axis {beyond}" in mapped.explanation


def test_no_out_axis_for_a_result_that_depends_on_the_batch_is_refused():
    mapped = try_axes("dot(w, x)", (None, 0), None, 4)
    assert mapped.error == "ValueError" and "out_axes=None" in mapped.explanation


def test_an_out_axis_beyond_the_result_is_refused():
    mapped = try_axes("dot(w, x)", (None, 0), 2, 4)
    assert mapped.error and "too few axes" in mapped.explanation


@pytest.mark.parametrize("in_axes", list(itertools.product((None, 0, 1, 2), repeat=2)))
@pytest.mark.parametrize("out_axes", [None, 0, 1, 2])
def test_whatever_is_chosen_gives_a_value_or_an_explanation(in_axes, out_axes):
    mapped = try_axes("squared distance", in_axes, out_axes, 3)
    assert bool(mapped.error) == bool(mapped.explanation) == (mapped.output is None)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_all_rivals_give_the_loop_s_result(name, batch_size):
    expected = looped(name, FUNCTIONS[name].in_axes, batch_size)
    calls = batching.rivals(name, batch_size, CPU)
    assert tuple(calls) == RIVALS
    for rival, call in calls.items():
        value = call()
        np.testing.assert_allclose(np.stack([np.asarray(v) for v in value]), expected, rtol=1e-5, err_msg=rival)


def test_the_rivals_of_numpy_stay_with_numpy_and_those_of_jax_on_their_device():
    device = list(devices().values())[-1]
    calls = batching.rivals("affine(w, b, x)", 3, device)
    assert isinstance(calls["NumPy vectorised"](), np.ndarray)
    assert not any(isinstance(value, jax.Array) for value in calls["NumPy loop"]())
    assert calls["jit(vmap(f))"]().devices() == {device}
    assert calls["vmap(f), eager"]().devices() == {device}
    assert all(value.devices() == {device} for value in calls["Python loop of jit(f)"]())


# The ensemble.


def numpy_step(params, inputs, targets, rate):
    """Loss of one model and its parameters after a step, by backpropagation by hand in float64."""
    w1, b1, w2, b2 = (params[name] for name in ("w1", "b1", "w2", "b2"))
    hidden = np.tanh(inputs[:, None] * w1 + b1)
    residuals = hidden @ w2 + b2 - targets
    out = 2 * residuals / len(inputs)
    back = out[:, None] * w2 * (1 - hidden**2)
    grads = {"w1": (back * inputs[:, None]).sum(0), "b1": back.sum(0), "w2": hidden.T @ out, "b2": out.sum()}
    return (residuals**2).mean(), {name: params[name] - rate * grads[name] for name in params}


@pytest.mark.parametrize("batch_size", [1, CURVES + 2])
def test_every_model_of_the_ensemble_trains_as_it_would_alone(batch_size):
    problem, data, rate, count = Ensemble(batch_size), batching.sine_data(), 0.05, 10
    start = jax.jit(problem.init)(jax.random.key(0), data)
    state, metrics, _ = train_steps(problem, start, data, jnp.float32(rate), jnp.int32(count))
    inputs, targets = (a.astype(float) for a in data)
    models = [{name: np.asarray(leaf[i], float) for name, leaf in start.params.items()} for i in range(batch_size)]
    for step in range(count):
        losses, models = zip(*[numpy_step(model, inputs, targets, rate) for model in models], strict=True)
        np.testing.assert_allclose(metrics["each"][step], losses[:CURVES], rtol=1e-4)
        np.testing.assert_allclose(metrics["loss"][step], np.mean(losses), rtol=1e-4)
        np.testing.assert_allclose(metrics["lowest"][step], np.min(losses), rtol=1e-4)
        np.testing.assert_allclose(metrics["highest"][step], np.max(losses), rtol=1e-4)
    for i, model in enumerate(models):
        for name, leaf in model.items():
            np.testing.assert_allclose(state.params[name][i], leaf, rtol=1e-4, atol=1e-5)


def test_the_models_start_differently_and_the_picture_shows_predictions_of_the_first():
    problem, data = Ensemble(CURVES + 2), batching.sine_data()
    state = jax.jit(problem.init)(jax.random.key(0), data)
    assert len({float(w) for w in state.params["w1"][:, 0]}) == CURVES + 2
    preds = jax.jit(problem.observe)(state, data).picture["preds"]
    w1, b1, w2, b2 = (np.asarray(state.params[name], float) for name in ("w1", "b1", "w2", "b2"))
    expected = [np.tanh(data[0][:, None] * w1[i] + b1[i]) @ w2[i] + b2[i] for i in range(CURVES)]
    np.testing.assert_allclose(preds, expected, rtol=1e-4, atol=1e-5)


def test_the_data_of_the_ensemble_are_a_sine():
    inputs, targets = batching.sine_data()
    assert inputs.dtype == targets.dtype == np.float32 and len(inputs) == EXAMPLES
    assert (inputs.min(), inputs.max()) == (-1, 1)
    np.testing.assert_allclose(targets, np.sin(4 * inputs.astype(float)), rtol=1e-5, atol=1e-6)


def test_a_typed_function_is_mapped_and_raced_like_the_built_in_ones():
    name = batching.TypedBatchFunction("w @ sin(x)", ((2, 3), (3,)))
    w, x = arguments(name, (None, 1), 4)
    mapped = try_axes(name, (None, 1), 0, 4)
    assert mapped.output == ((4, 2), 0) and mapped.inputs == (("w", (2, 3), None), ("x", (3, 4), 1))
    np.testing.assert_allclose(
        batched(batching.function_of(name).fun, (None, 1), 0)(w, x), (w @ np.sin(x)).T, rtol=1e-5
    )
    ws, xs = arguments(name, (0, 0), 4)
    expected = np.einsum("bij,bj->bi", ws, np.sin(xs))
    calls = batching.rivals(name, 4, CPU)
    assert tuple(calls) == RIVALS[:-1]
    for rival, call in calls.items():
        np.testing.assert_allclose(np.stack(call()), expected, rtol=1e-5, err_msg=rival)
    assert not any(isinstance(value, jax.Array) for value in calls["NumPy loop"]())
