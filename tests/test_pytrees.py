"""The trees, the update, the timings and the pure functions of the page on pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps

from lib.lessons.pytrees import measure as pytree_timings
from lib.lessons.pytrees import mistakes as pytree_mistakes
from lib.lessons.pytrees import routine as pytrees
from lib.lessons.pytrees import snippet, view
from lib.lessons.pytrees.mistakes import MISTAKES
from lib.measure.timing import records_of
from lib.routines import datasets
from lib.routines.mistakes import provoke
from lib.routines.networks import forward, init_params
from lib.ui.controls import LEARNING_RATES

DEVICE = jax.devices()[0]


def params_of(depth, seed=0):
    return init_params(pytrees.network(depth), jax.random.key(seed))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("container", pytrees.CONTAINERS)
def test_every_leaf_is_reported_whatever_holds_it(container, depth):
    report = pytrees.leaf_report(container, depth, 3)
    arrays = {f"params[{i}].{name}": np.asarray(leaf) for i, layer in enumerate(params_of(depth, 3)) for name, leaf in layer.items()}  # fmt: skip
    assert len(report["path"]) == 2 * (depth + 1) == len(arrays)
    for path, shape, size, norm in zip(
        *(report[name] for name in ("path", "shape", "size_bytes", "norm")), strict=True
    ):
        array = arrays[path.replace("['", ".").replace("']", "")]
        assert shape == str(array.shape) and size == 4 * array.size
        assert norm == pytest.approx(np.sqrt((array.astype(float) ** 2).sum()), rel=1e-5, abs=1e-9)
    assert report["structure"].count("*") == len(arrays)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_every_number_of_every_leaf_has_a_cell_of_its_own_in_the_order_of_the_leaves(depth):
    places, names = view._cells(depth)
    params = params_of(depth)
    assert names["text"] == [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    cells = list(zip(places["x"].tolist(), places["y"].tolist(), strict=True))
    assert len(set(cells)) == len(cells) == pytrees.number_of_parameters(params)
    start = 0
    for leaf, left, top in zip(jax.tree.leaves(params), names["x"], names["y"], strict=True):
        for place, value in enumerate(np.ravel(leaf)):
            x, y = cells[start + place]
            assert np.atleast_2d(leaf)[y - top, x - left] == value
        start += leaf.size


@pytest.mark.parametrize("name", pytrees.OPERATIONS)
@pytest.mark.parametrize("depth", [1, 4])
def test_every_operation_gives_a_text(name, depth):
    assert pytrees.operation_report(name, depth, 0)


def test_the_operations_give_what_they_say():
    params = params_of(1)
    assert pytrees.number_of_parameters(params) == 16 + 16 + 16 + 1
    assert pytrees.operation_report("jax.tree.reduce", 1, 0) == "49"
    assert pytrees.operation_report("jax.tree.map_with_path", 1, 0).count("0.0001") == 2
    _, count, same = pytrees.flatten_and_back(params)
    assert count == 4 and same
    vector, doubled = pytrees.one_vector(params)
    np.testing.assert_array_equal(vector, np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]))
    np.testing.assert_array_equal(doubled[0]["w"], 2 * params[0]["w"])
    assert all(not leaf.any() for leaf in jax.tree.leaves(pytrees.zeros_like(params)))
    assert "float32[1,16]" in pytrees.operation_report("jax.tree.leaves", 1, 0)
    structure, shapes = pytrees.registered_dataclass(params)
    assert "tanh" in str(structure) and (shapes.w, shapes.b) == ((1, 16), (16,))


def test_a_static_field_is_structure_and_an_array_is_a_leaf():
    layer = pytrees.Layer(jnp.ones(2), jnp.zeros(2), "relu")
    assert len(jax.tree.leaves(layer)) == 2
    assert jax.tree.structure(layer) != jax.tree.structure(pytrees.Layer(layer.w, layer.b, "tanh"))


@pytest.mark.parametrize("depth", [1, 3])
def test_all_ways_of_updating_agree_with_numpy(depth):
    params, grads = params_of(depth), params_of(depth, 1)
    expected = [np.asarray(p) - np.float32(0.1) * np.asarray(g) for p, g in zip(jax.tree.leaves(params), jax.tree.leaves(grads), strict=True)]  # fmt: skip
    for way in (pytrees.sgd_update, pytrees.update_in_a_loop, pytrees.update_through_a_vector):
        for made, wanted in zip(jax.tree.leaves(way(params, grads, 0.1)), expected, strict=True):
            np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-7)


def test_the_training_takes_the_steps_of_a_python_loop_and_shows_every_number():
    inputs, targets = datasets.load("regression", 0).train
    problem = pytrees.TreeTraining(1, 7)
    state = problem.init(jax.random.key(0), (inputs, targets))
    params = state.params
    state, metrics, _ = train_steps(problem, state, (inputs, targets), 0.1, 20)
    for step in range(20):
        rows = (7 * step + np.arange(7)) % len(targets)

        def loss(params, rows=rows):
            return sum((forward(params, inputs[i], "tanh")[0] - targets[i]) ** 2 for i in rows) / 7

        grads = jax.grad(loss)(params)
        params = [{k: layer[k] - 0.1 * g[k] for k in layer} for layer, g in zip(params, grads, strict=True)]
    leaves = problem.observe(state, (inputs, targets)).picture["leaves"]
    np.testing.assert_allclose(
        leaves, np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)]), rtol=1e-3, atol=1e-5
    )
    preds = np.array([forward(params, x, "tanh")[0] for x in inputs])
    assert metrics["loss"][19] == pytest.approx(((preds - targets) ** 2).mean(), rel=1e-4)


def test_the_line_above_the_run_is_its_update():
    params, batch = params_of(2), (jnp.linspace(-1, 1, 8)[:, None], jnp.ones(8))
    names = {"jax": jax, "params": params, "batch": batch, "curve_loss": pytrees.curve_loss}
    code = snippet.line(0.03)
    expected, _ = pytrees.train_step(params, batch, 0.03)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), eval(code, names), expected)
    assert max(len(snippet.line(rate)) for rate in LEARNING_RATES) <= 100


def test_the_training_learns():
    data = datasets.load("regression", 0).train
    problem = pytrees.TreeTraining(1, 32)
    _, metrics, _ = train_steps(problem, problem.init(jax.random.key(0), data), data, 0.03, 3000)
    assert metrics["loss"][2999] < 0.1 < metrics["loss"][0]


def test_the_timings_have_every_way_at_every_number_of_leaves():
    records = records_of(pytree_timings.update_sweep(DEVICE, 4, 2))
    assert [record.size for record in records] == [2] * 8 + [4] * 8
    assert {record.label for record in records} == set(pytree_timings.WAYS)
    assert all(record.median_ms > 0 for record in records)


def test_what_is_timed_are_updates_of_the_same_parameters():
    calls = pytree_timings.updates(DEVICE, 4, 3)
    expected = jax.tree.leaves(calls["tree.map, eager"]())
    assert len(expected) == 6
    for name, call in calls.items():
        if not name.startswith("gradient"):
            flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(call())])
            np.testing.assert_allclose(
                flat, np.concatenate([np.ravel(leaf) for leaf in expected]), rtol=1e-5, atol=1e-7
            )


def test_a_side_effect_happens_while_tracing_and_a_callback_at_each_call():
    rows = pytrees.call_the_impure()
    assert len(rows) == 4
    for row in rows:
        value = row["call"][2:-1]
        assert row["without jit"] == f"x is {value}" == row["jit, debug.callback"]
    said = [row["jit"] for row in rows]
    assert said[1] == said[2] == "nothing" and all("Trace" in text for text in (said[0], said[3]))
    assert [row["jit, pure: calls so far"] for row in rows] == ["1", "2", "3", "4"]


def test_one_key_gives_one_number():
    assert pytree_mistakes.two_draws_from_one_key() == 0


def test_the_checker_is_off_again_afterwards():
    provoke(MISTAKES["a key used twice, under debug_key_reuse"])
    assert pytree_mistakes.two_draws_from_one_key() == 0
