"""One network in five libraries: they coincide, each alone can be missing, and each mistake is one."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from support import train_steps
from test_pages import numbers, open_page, press, run_until, settle

from lib.lessons.state_libraries import common, snippet, view
from lib.lessons.state_libraries import measure as costs
from lib.lessons.state_libraries import routine as state_libraries
from lib.lessons.state_libraries.mistakes import mistakes_of
from lib.lessons.state_libraries.routine import LIBRARIES, PLAIN, Libraries, load
from lib.measure.stages import stages_made
from lib.measure.timing import Record, records_of
from lib.routines import datasets
from lib.routines.networks import batched_forward, init_params

DEVICE = jax.devices("cpu")[0]
NAMES = tuple(LIBRARIES)
DATA = datasets.load(costs.DATA, 0).arrays
PARAMS = init_params(common.NETWORK, jax.random.key(3))


def trained(num_steps, learning_rate, batch_size=32, names=NAMES):
    problem = Libraries(names, batch_size)
    state = jax.jit(problem.init)(jax.random.key(0), DATA)
    state, metrics, finite = train_steps(problem, state, DATA, jnp.float32(learning_rate), jnp.int32(num_steps))
    assert finite.all()
    return state, {name: np.asarray(values)[:num_steps] for name, values in metrics.items()}


@pytest.fixture(scope="module")
def run():
    return trained(100, 0.3)


@pytest.fixture(params=NAMES)
def library(request):
    return load(request.param)


def test_the_losses_of_all_libraries_coincide_after_100_steps(run):
    _, metrics = run
    assert metrics["loss"][-20:].mean() < 0.8 * metrics["loss"][:5].mean()
    assert metrics["spread"].max() < 1e-5
    np.testing.assert_allclose(metrics["losses"], metrics["losses"][:, :1].repeat(len(NAMES), 1), atol=1e-5, rtol=0)


def test_at_a_high_learning_rate_rounding_grows_until_equinox_parts_from_the_others(on_cpu):
    state, metrics = trained(300, 3.0)
    assert metrics["spread"][:3].max() < 1e-5 and metrics["spread"].max() > 0.01
    apart = Libraries(NAMES, 32).observe(state, DATA).picture["weights_apart"]
    assert apart[NAMES.index("Equinox")] > 0.01 > np.delete(apart, NAMES.index("Equinox")).max()


def test_so_do_the_weights(run):
    state, _ = run
    apart = Libraries(NAMES, 32).observe(state, DATA).picture["weights_apart"]
    assert apart.shape == (len(NAMES),) and apart[0] == 0 and apart.max() < 1e-5


def test_the_run_is_that_of_a_loop_in_numpy(run):
    _, metrics = run
    key, _ = jax.random.split(jax.random.key(0))
    params = [
        {name: np.asarray(a, np.float64) for name, a in layer.items()} for layer in init_params(common.NETWORK, key)
    ]
    inputs, targets = (np.asarray(a, np.float64) for a in DATA["train"])
    mean, means = 0.0, []
    for step in range(100):
        rows = DATA["order"][(32 * step) % (datasets.PASSES * len(inputs)) :][:32]
        outputs = [inputs[rows]]
        for layer in params:
            outputs.append(outputs[-1] @ layer["w"] + layer["b"])
            if layer is not params[-1]:
                outputs[-1] = np.tanh(outputs[-1])
        logits, y = outputs[-1][:, 0], targets[rows]
        loss = np.mean(np.logaddexp(0, logits) - y * logits)
        np.testing.assert_allclose(metrics["loss"][step], loss, rtol=1e-4)
        mean = state_libraries.SMOOTHING * mean + (1 - state_libraries.SMOOTHING) * loss
        means.append(mean / (1 - state_libraries.SMOOTHING ** (step + 1)))
        cotangent = ((1 / (1 + np.exp(-logits)) - y) / 32)[:, None]
        for layer, x, out in list(zip(params, outputs, outputs[1:], strict=False))[::-1]:
            if layer is not params[-1]:
                cotangent = cotangent * (1 - out**2)
            grads = {"w": x.T @ cotangent, "b": cotangent.sum(0)}
            cotangent = cotangent @ layer["w"].T
            layer.update({name: layer[name] - 0.3 * grads[name] for name in layer})
    np.testing.assert_allclose(metrics["losses"][:, 0], means, rtol=1e-4)


def test_weights_come_back_as_they_were_given(library):
    given = library.weights(library.merge(library.split(library.make(PARAMS))))
    jax.tree.map(np.testing.assert_array_equal, given, PARAMS)


def test_a_model_split_is_a_pytree_of_arrays(library):
    leaves = jax.tree.leaves(library.split(library.make(PARAMS)))
    assert len(leaves) == 6 and all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert sum(leaf.size for leaf in leaves) == sum(leaf.size for leaf in jax.tree.leaves(PARAMS))


def test_the_library_s_own_jit_takes_the_step_of_the_plain_pytree(library):
    batch = tuple(jnp.asarray(part[:8]) for part in DATA["train"])
    model, loss = library.jit(library.sgd_step)(library.make(PARAMS), batch, 0.1)

    def loss_fn(params):
        logits = batched_forward(params, batch[0], "tanh")[:, 0]
        return (jnp.logaddexp(0, logits) - batch[1] * logits).mean()

    expected, grads = jax.value_and_grad(loss_fn)(PARAMS)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    stepped = jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), library.weights(model), stepped)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_drops_half_anew_at_each_call_and_nothing_to_predict(name):
    library = load(name)
    first, second, test = library.dropout(jnp.ones(10_000), jax.random.key(0))
    for out in (first, second):
        assert set(np.unique(out)) == {0, 2} and abs(np.mean(out) - 1) < 0.05
    assert abs(np.mean(first * second) - 1) < 0.1  # two masks that have nothing to do with each other
    np.testing.assert_array_equal(test, 1)
    again = library.dropout(jnp.ones(10_000), jax.random.key(0))
    np.testing.assert_array_equal(first, again[0])


def running_means(batches, way):
    """By each convention: from 0; from 0 and divided; from the first batch."""
    mean, expected = 0.0, []
    for n, batch in enumerate(np.asarray(batches, np.float64), 1):
        mean = batch if way == "first" and n == 1 else common.MOMENTUM * mean + (1 - common.MOMENTUM) * batch
        expected.append(mean / (1 - common.MOMENTUM**n) if way == "divided" else mean)
    return expected


WAYS = {"Haiku": {"means": "divided"}, "Equinox": {"means ema": "first", "means batch": "divided"}}


@pytest.mark.parametrize("name", NAMES)
def test_the_running_mean_of_batch_norm_is_that_of_its_convention(name):
    report = state_libraries.stateful_report(name, 16, 1)
    ways = WAYS.get(name, {"means": "zero"})
    assert {key for key in report if key.startswith("means")} == set(ways)
    for key, way in ways.items():
        np.testing.assert_allclose(report[key], running_means(report["batches"], way), rtol=1e-5)
    np.testing.assert_array_equal(report["test"], 1)


def test_equinox_s_batch_norm_keeps_running_means_from_the_first_batch_by_default():
    import equinox as eqx

    with pytest.warns(UserWarning, match="defaults to 'ema'"):
        layer = eqx.nn.BatchNorm(3, "batch")
    assert layer.mode == "ema" == state_libraries.MODES["Equinox"][0]


@pytest.mark.parametrize(("name", "shape"), [(PLAIN, (2, 16)), ("Equinox", (16, 2))])
def test_the_census_counts_what_there_is(name, shape):
    counted = state_libraries.census(name)
    assert (counted["leaves"], counted["parameters"], counted["shape"]) == (
        6,
        2 * 16 + 16 + 16 * 16 + 16 + 16 + 1,
        shape,
    )


@pytest.fixture
def forget(monkeypatch):
    """Takes modules away, so that the next import goes through the finder again."""

    def gone(*names):
        for name in [name for name in sys.modules if name in names]:
            monkeypatch.delitem(sys.modules, name)

    return gone


def without(name, package, forget, monkeypatch):
    """Lets the import of a library fail as if it were not installed."""
    module = f"{state_libraries.__package__}.{LIBRARIES[name].module}"
    forget(module)
    monkeypatch.delattr(sys.modules[state_libraries.__package__], LIBRARIES[name].module, raising=False)

    class Missing:
        def find_spec(self, wanted, path=None, target=None):
            if wanted.split(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    forget(*[name for name in sys.modules if name.split(".")[0] == package])
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])


def test_two_threads_never_import_libraries_at_once(monkeypatch):
    inside, most = [], []

    def slow(name):
        inside.append(name)
        most.append(len(inside))
        time.sleep(0.02)
        inside.remove(name)
        return name

    monkeypatch.setattr(state_libraries, "import_module", slow)
    with ThreadPoolExecutor(len(NAMES)) as threads:
        loaded = list(threads.map(load, NAMES))
    assert [name.rpartition(".")[2] for name in loaded] == [LIBRARIES[name].module for name in NAMES]
    assert set(most) == {1}


def test_all_libraries_work_here():
    assert state_libraries.defects() == dict.fromkeys(NAMES, "")


@pytest.mark.parametrize(("name", "package"), [("Equinox", "equinox"), ("Haiku", "haiku")])
def test_a_missing_library_is_told_with_what_to_install_and_the_others_are_left(name, package, forget, monkeypatch):
    without(name, package, forget, monkeypatch)
    defects = state_libraries.defects()
    assert f"pip install {LIBRARIES[name].package}" in defects.pop(name)
    assert set(defects.values()) == {""}


def test_a_library_that_breaks_while_it_is_traced_is_told_without_paths(monkeypatch):
    def broken(*args):
        raise AttributeError("module 'jax' has no attribute 'xla' (/home/somebody/jax/__init__.py)\nand more")

    monkeypatch.setattr(load("Haiku"), "sgd_step", broken)
    sentence = state_libraries.defects()["Haiku"]
    assert "AttributeError: module 'jax' has no attribute 'xla'`" in sentence and "somebody" not in sentence


def test_the_page_goes_on_without_a_library(forget, monkeypatch):
    without("Haiku", "haiku", forget, monkeypatch)
    monkeypatch.setattr(state_libraries, "defects", lambda: dict(_defects()))  # another function: not asked for yet
    app = open_page("state_libraries")
    assert [warning.value for warning in app.warning] == [state_libraries.defect_of("Haiku")]
    assert all("Haiku" not in box.options for box in app.selectbox)
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")


_defects = state_libraries.defects


def test_the_page_shows_how_far_the_losses_are_apart():
    app = press(open_page("state_libraries"), "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    assert not app.warning
    assert 0 <= float(numbers(app)["Losses apart"]) < 1e-6
    assert float(numbers(app)["Loss"]) > 0.1


IMPORTS = """
import sys
sys.path[:0] = [".", "tests"]
from support import eventually
from test_pages import open_page
open_page("training")
assert not {"flax", "equinox", "haiku"} & set(sys.modules), "imported too early"
assert not open_page("state_libraries").exception
eventually(lambda: {"flax", "equinox", "haiku"} <= set(sys.modules), "the import", 100)
"""


def test_the_libraries_are_imported_in_the_background_when_their_page_is_opened_and_not_before():
    ran = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_the_costs_are_measured_for_each_library(monkeypatch):
    monkeypatch.setattr(costs, "STEPS", 2)
    names = (PLAIN, "Flax NNX")
    records = records_of(costs.library_costs(DEVICE, names, 4, 0))
    for phase in ("trace", "lower", "compile"):
        assert [record.label for record in records if record.phase == phase] == list(names)
    for way in ("own", "pure"):
        assert [record.label for record in records if record.more.get("way") == way] == list(names)
    assert all(record.median_ms > 0 for record in records)
    assert {record.phase for record in records} == {"trace", "lower", "compile", "steady"}
    share = costs.overhead(records)
    assert share is None or share > -1
    for count in range(1, len(records) + 1):  # as they come in
        view.draw_costs(records[:count])


def test_the_overhead_is_that_of_the_pair_timed_alone_and_nothing_if_its_samples_are_far_apart():
    def record(way, low, high):
        return Record(PLAIN, "steady", (low + high) / 2, low, high, more={"way": way})

    others = [record("own", 5.0, 5.5), record("pure", 9.0, 9.5)]
    assert costs.overhead([*others, record("own, alone", 1.0, 1.1), record("pure, alone", 1.5, 1.6)]) == pytest.approx(
        0.5
    )
    assert costs.overhead([*others, record("own, alone", 1.0, 1.3), record("pure, alone", 1.5, 1.6)]) is None


def test_all_calls_that_are_timed_take_the_same_step():
    calls = costs.calls((PLAIN, "Flax NNX", "Equinox"), DEVICE, *costs.arguments(DEVICE, 16, 0))
    losses = [float(call()) for call in calls.values()]
    assert len(losses) == 6
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_every_library_s_step_compiles_to_as_much_work():
    flops = [stages_made(state_libraries.routine, name, 32).cost.flops for name in (PLAIN, "Flax NNX", "Equinox")]
    np.testing.assert_allclose(flops, flops[0], rtol=0.05)


def test_mistakes_of_a_missing_library_are_left_out():
    assert not mistakes_of([PLAIN])
    assert {name.partition(":")[0] for name in mistakes_of(["Haiku", "Flax Linen"])} == {"Haiku", "Flax Linen"}


@pytest.mark.parametrize("panel", ["Code", "Inside"])
@pytest.mark.parametrize("name", NAMES)
def test_each_panel_of_one_library_shows_the_one_that_is_chosen(panel, name):
    app = open_page("state_libraries")
    app.session_state["state_libraries_panel"], app.session_state["library"] = panel, name
    app = settle(app.run())
    if panel == "Code":
        assert LIBRARIES[name].choose in "".join(text.value for text in app.markdown)
        assert snippet.snippet(name, 32, 0.03, 0) in [code.value for code in app.code]
    else:
        assert any("train_step" in text.value for text in app.markdown)
