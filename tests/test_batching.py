"""`lib/lessons/jit_vmap/routine.py`: every batched function equals a Python loop over its examples."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps

from lib.lessons.jit_vmap import routine as batching
from lib.lessons.jit_vmap import snippet, view
from lib.lessons.jit_vmap.measure import batching_sweep
from lib.lessons.jit_vmap.routine import CURVES, EXAMPLES, FUNCTIONS, RIVALS, Ensemble, arguments, batched, try_axes
from lib.live.devices import devices
from lib.measure.timing import records_of
from lib.routines.typed import TextError, check, parse

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
    value, axis = mapped.output
    np.testing.assert_allclose(value, looped(name, function.in_axes, 8), rtol=1e-5)
    assert axis == 0
    assert [(n, axis) for n, _, axis in mapped.inputs] == [
        (argument.name, axis) for argument, axis in zip(function.arguments, function.in_axes, strict=True)
    ]
    assert mapped.one.startswith("{ lambda") and mapped.batch.startswith("{ lambda") and "f32[8" in mapped.batch


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_axis_of_one_example_is_as_long_as_the_batch_that_is_shown(name):
    size = batching.shown_size(name)
    one = jax.eval_shape(FUNCTIONS[name].fun, *(np.zeros(a.shape, np.float32) for a in FUNCTIONS[name].arguments))
    assert all(size not in shape for shape in (one.shape, *(a.shape for a in FUNCTIONS[name].arguments)))
    assert batching.shown_size(batching.TypedBatchFunction("x + y", ((4, 5), (6,)))) == 7


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_two_examples_give_the_same_result(name):
    rows = looped(name, FUNCTIONS[name].in_axes, 8)
    assert len({row.tobytes() for row in rows}) == 8


@pytest.mark.parametrize("out_axes", [0, 1, 2])
def test_out_axes_says_where_the_batch_comes_out(out_axes):
    mapped = try_axes("outer(x, y)", (0, 0), out_axes, 8)
    value, axis = mapped.output
    assert axis == out_axes
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


@pytest.mark.parametrize("in_axes", [(1, 1), (0, 1), (1, None), (None, 0)])
def test_all_rivals_follow_the_axes_that_are_chosen(in_axes):
    expected = looped("outer(x, y)", in_axes, 6)
    calls = batching.rivals("outer(x, y)", 6, CPU, in_axes)
    by_hand = None not in in_axes  # it was written for two arguments that are mapped
    assert tuple(calls) == (RIVALS if by_hand else RIVALS[:-1])
    for rival, call in calls.items():
        np.testing.assert_allclose(np.stack([np.asarray(v) for v in call()]), expected, rtol=1e-5, err_msg=rival)


def test_beyond_a_size_there_is_no_loop():
    calls = batching.rivals("dot(w, x)", batching.MAX_LOOP + 1, CPU)
    assert tuple(calls) == ("vmap(f), eager", "jit(vmap(f))", "NumPy vectorised")


def test_the_records_of_a_measurement_say_what_was_measured():
    axes = (None, None, 1)
    found = records_of(batching_sweep(CPU, "affine(w, b, x)", 16, axes))
    assert {record.size for record in found} == {1, 4, 16}
    assert {record.more["what"] for record in found} == {"vmap(affine, in_axes=(None, None, 1))"}


def test_the_largest_batch_of_a_typed_function_is_one_that_is_not_too_much_work():
    assert batching.largest_size("affine(w, b, x)") == batching.LARGEST
    small = batching.TypedBatchFunction("w @ x", ((64, 64), (64,)))
    assert batching.largest_size(small) == 256
    check(parse("w @ x"), small.shapes, 256)
    with pytest.raises(TextError, match="too much work"):
        check(parse("w @ x"), small.shapes, 1024)


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


@pytest.mark.parametrize(("own_targets", "own_rates"), list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("batch_size", [1, CURVES + 2])
def test_every_model_of_the_ensemble_trains_as_it_would_alone(batch_size, own_targets, own_rates):
    problem, rate, count = Ensemble(batch_size, own_targets, own_rates), 0.05, 10
    data = problem.data(0)
    start = jax.jit(problem.init)(jax.random.key(0), data)
    state, metrics, _ = train_steps(problem, start, data, jnp.float32(rate), jnp.int32(count))
    inputs = data[0].astype(float)
    targets = [np.sin(4 * inputs + 2 * np.pi / batch_size * i * own_targets) for i in range(batch_size)]
    lowest = 1 / 30  # of the rates, and each further one is as many times as high
    ratios = [lowest * 30 ** (i / max(1, batch_size - 1)) if own_rates else 1 for i in range(batch_size)]
    models = [{name: np.asarray(leaf[i], float) for name, leaf in start.params.items()} for i in range(batch_size)]
    shown = batching.shown_models(batch_size)
    for step in range(count):
        losses, models = zip(
            *[numpy_step(models[i], inputs, targets[i], rate * ratios[i]) for i in range(batch_size)], strict=True
        )
        np.testing.assert_allclose(metrics["each"][step], np.array(losses)[shown], rtol=1e-4)
        np.testing.assert_allclose(metrics["loss"][step], np.mean(losses), rtol=1e-4)
        np.testing.assert_allclose(metrics["lowest"][step], np.min(losses), rtol=1e-4)
        np.testing.assert_allclose(metrics["highest"][step], np.max(losses), rtol=1e-4)
    for i, model in enumerate(models):
        for name, leaf in model.items():
            np.testing.assert_allclose(state.params[name][i], leaf, rtol=1e-4, atol=1e-5)


def test_the_models_that_are_shown_are_spread_over_all():
    assert batching.shown_models(3).tolist() == [0, 1, 2]
    assert batching.shown_models(1).tolist() == [0]
    shown = batching.shown_models(1024)
    assert len(set(shown.tolist())) == CURVES and (shown[0], shown[-1]) == (0, 1023)


@pytest.mark.parametrize("own_targets", [False, True])
def test_the_models_start_differently_and_the_picture_shows_predictions_of_some(own_targets):
    problem = Ensemble(CURVES + 2, own_targets)
    data = problem.data(0)
    state = jax.jit(problem.init)(jax.random.key(0), data)
    assert len({float(w) for w in state.params["w1"][:, 0]}) == CURVES + 2
    preds = jax.jit(problem.observe)(state, data).picture["preds"]
    w1, b1, w2, b2 = (np.asarray(state.params[name], float) for name in ("w1", "b1", "w2", "b2"))
    shown = batching.shown_models(CURVES + 2)
    expected = [np.tanh(data[0][:, None] * w1[i] + b1[i]) @ w2[i] + b2[i] for i in shown]
    np.testing.assert_allclose(preds, expected, rtol=1e-4, atol=1e-5)
    targets = batching.shown_data(problem)[1]
    assert targets.shape == ((CURVES, EXAMPLES) if own_targets else (EXAMPLES,))


@pytest.mark.parametrize(
    ("own_targets", "own_rates", "in_axes"),
    [(False, False, "(0, None, None, None)"), (True, True, "(0, None, 0, 0)")],
)
def test_what_is_looked_into_is_the_code_that_is_shown(own_targets, own_rates, in_axes):
    problem = Ensemble(4, own_targets, own_rates)
    fun, args = batching.train_all(own_targets, own_rates, 4)
    namespace = {}
    exec(snippet.snippet(problem, 0.03), namespace)
    values = namespace["params"], namespace["inputs"], namespace["targets"], namespace["rate"]
    pasted = jax.make_jaxpr(jax.vmap(namespace["train_step"], in_axes=problem.in_axes))(*values)
    assert str(jax.make_jaxpr(fun)(*args)) == str(pasted).replace(":f32[]{weak_type=True}", ":f32[]")
    assert f"in_axes={in_axes}" in snippet.snippet(problem, 0.03) and in_axes in snippet.line(problem)


@pytest.mark.parametrize("own_targets", [False, True])
def test_the_chart_of_many_models_is_small_and_says_how_many_there_are(own_targets):
    problem = Ensemble(1024, own_targets)
    inputs, targets = batching.shown_data(problem)
    preds = np.zeros((CURVES, EXAMPLES), np.float32)
    chart = view.fits(inputs, targets, preds, problem)
    assert chart.spec["title"].startswith("16 of 1,024 models")
    assert sum(table.nbytes for table in chart.data.values()) < 9_000


# Rows.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_rows_show_each_example_in_its_own_colour(name):
    in_axes, count = FUNCTIONS[name].in_axes, batching.shown_size(name)
    mapped = try_axes(name, in_axes, 0, count)
    html = view.rows_html(mapped, snippet.calls(name, in_axes))
    for example in range(count):
        tint = view.SERIES[example] + "55"
        values = np.take(mapped.output[0], example, 0)
        inputs = sum(value.size // count for _, value, axis in mapped.inputs if axis is not None)
        assert html.count(tint) == inputs + 2 * values.size  # in the loop and in the batch
    assert f"The loop: {count} calls" in html


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_numbers_of_an_array_are_coloured_along_its_axis(axis):
    value = np.arange(24.0).reshape(2, 3, 4)
    cells = re.findall(r"<td( style='background: (#\w{6})55')?>([\d.]+)</td>", view.array_html(value, axis))
    assert {float(number): colour for _, colour, number in cells} == {
        float(value[place]): view.SERIES[place[axis]] for place in np.ndindex(value.shape)
    }
    assert "style" not in view.array_html(value, None)
    assert "240 numbers, too many to show" in view.array_html(np.zeros((4, 60)), 0)


def test_a_loop_calls_the_function_with_each_example_in_its_place():
    assert snippet.calls("affine(w, b, x)", (None, 0, 1))[2] == "affine(w, b[2], x[:, 2])"
    assert snippet.calls(batching.TypedBatchFunction("i * x", ((2, 2), ())), (2, None))[0] == "f(i[:, :, 0], x)"


def test_the_data_of_the_ensemble_are_a_sine():
    inputs, targets = batching.sine_data()
    assert inputs.dtype == targets.dtype == np.float32 and len(inputs) == EXAMPLES
    assert (inputs.min(), inputs.max()) == (-1, 1)
    np.testing.assert_allclose(targets, np.sin(4 * inputs.astype(float)), rtol=1e-5, atol=1e-6)


def test_a_typed_function_is_mapped_and_raced_like_the_built_in_ones():
    name = batching.TypedBatchFunction("w @ sin(x)", ((2, 3), (3,)))
    w, x = arguments(name, (None, 1), 4)
    mapped = try_axes(name, (None, 1), 0, 4)
    assert mapped.output[0].shape == (4, 2)
    assert [(n, v.shape, axis) for n, v, axis in mapped.inputs] == [("w", (2, 3), None), ("x", (3, 4), 1)]
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
