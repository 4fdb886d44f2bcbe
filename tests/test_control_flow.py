"""Branches and loops inside programs: against Python and NumPy, what can be differentiated, and what is measured."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps
from test_gradient_and_tree_pages import measured
from test_pages import numbers, open_page, press, run_until, settle, show, show_every_mistake

from lib.lessons.control_flow import recurrent
from lib.lessons.control_flow import routine as control_flow
from lib.lessons.control_flow import snippet as code_of
from lib.lessons.control_flow.measure import ROUND_STEPS, ROUNDS, TURNS, cond_and_vmap, length_sweep, training_race
from lib.lessons.control_flow.mistakes import MISTAKES
from lib.lessons.control_flow.routine import DIFFERENTIABLE, REPLACEMENTS, differentiation_report, pair_report
from lib.measure.timing import records_of
from lib.routines.snippets import printed

CPU = jax.devices()[0]

# The pairs.

OTHER_ARGUMENTS = {
    "cond": [(-1.0,), (0.0,), (9.0,)],
    "switch": [(0, -0.3), (1, -0.3), (2, 1.0)],
    "while_loop": [(1.0,), (1e-3,), (1e6,)],
    "fori_loop": [(0, 0.1), (1, 0.1), (30, -0.5)],
    "scan": [(np.ones(1, np.float32),), (np.linspace(-1, 1, 9, dtype=np.float32),)],
}


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_both_of_a_pair_give_the_same(name):
    pair = REPLACEMENTS[name]
    for args in [pair.args, *OTHER_ARGUMENTS[name]]:
        args = tuple(np.asarray(arg, np.int32 if isinstance(arg, int) else None) for arg in args)
        np.testing.assert_allclose(jax.jit(pair.lax)(*args), pair.python(*args), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_jit_refuses_the_python_by_the_type_it_says_or_unrolls_it(name):
    pair, report = REPLACEMENTS[name], pair_report(name)
    if pair.raises:
        with pytest.raises(pair.raises) as caught:
            jax.jit(pair.python)(*pair.args)
        assert report.error == type(caught.value).__name__ == pair.raises[0].__name__
        assert report.text and report.jit_python is None and report.equations[0] is None
    else:
        np.testing.assert_allclose(report.jit_python, report.lax, rtol=1e-5)
        assert report.equations[0] > 10 * report.equations[1]


def test_the_pairs_are_all_there_is_of_control_flow():
    assert set(REPLACEMENTS) == {"cond", "switch", "while_loop", "fori_loop", "scan"}
    assert pair_report("while_loop").lax == pytest.approx(2**0.5, rel=1e-4)
    assert pair_report("fori_loop").lax == pytest.approx(1.05**10, rel=1e-5)


# Derivatives.


def test_what_can_be_differentiated_in_which_mode():
    report = differentiation_report()
    for name in DIFFERENTIABLE:
        assert report[name]["jacfwd"] == "12"
        refused = name in ("while_loop", "fori_loop, bound traced")
        assert report[name]["jacrev"].startswith("ValueError: ") if refused else report[name]["jacrev"] == "12"


# cond under vmap.


def test_with_a_predicate_for_each_example_vmap_makes_a_select_of_cond_and_computes_both_branches():
    programs = cond_and_vmap(8, "one for each example")
    one, batch = ([line.text for line in lines] for lines in (programs.one, programs.batch))
    assert any("= cond" in text for text in one) and not any("select_n" in text for text in one)
    assert any("select_n" in text for text in batch) and not any("= cond" in text for text in batch)
    assert sum("= sqrt" in text for text in batch) == 1
    assert sum("= stop_gradient" in text for text in batch) == 2
    new = [text for text, mark in zip(batch, programs.marks, strict=True) if mark == "new"]
    assert any("select_n" in text for text in new)


def test_with_one_predicate_for_all_vmap_keeps_cond():
    batch = [line.text for line in cond_and_vmap(8, "one for all").batch]
    assert any("= cond" in text for text in batch) and not any("select_n" in text for text in batch)


def test_the_branch_not_taken_gets_the_number_itself_and_gives_no_derivative():
    seen = []

    def root(x):
        jax.debug.callback(lambda value: seen.append(float(value)), x)
        return jnp.sqrt(x)

    x = jnp.array([-1.0, 0.0, 4.0])
    found = jax.vmap(lambda x: jax.lax.cond(x > 0, root, lambda x: 0.0 * x, x))(x)
    jax.effects_barrier()
    np.testing.assert_array_equal(found, [0.0, 0.0, 2.0])
    assert sorted(seen) == [-1.0, 0.0, 4.0]
    assert np.isnan(jnp.sqrt(x)[0])
    slopes = jax.vmap(jax.grad(control_flow.sqrt_or_zero, argnums=1))(x > 0, x)
    np.testing.assert_array_equal(slopes, [0, 0, 0.25])
    by_cond, by_where = control_flow.gradients_of_branches().values()
    assert list(by_cond.values()) == ["0", "0", "0.25"]
    assert list(by_where.values()) == ["nan", "nan", "0.25"]


# Training by loops.


@pytest.mark.parametrize("learning_rate", [0.003, 0.1])
def test_the_three_loops_take_the_same_steps(learning_rate):
    params, batch = recurrent.small_network(16, 3)
    ends = [loop(params, batch, learning_rate, num_steps=50) for loop in recurrent.LOOPS.values()]
    for other, loss in ends[1:]:
        np.testing.assert_allclose(loss, ends[0][1], rtol=1e-4)
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(ends[0][0]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_in_the_race_each_loop_has_the_same_losses_and_its_own_time():
    records = records_of(training_race(CPU, 32, 0.03, 0))
    assert [record.label for record in records] == list(recurrent.LOOPS) * ROUNDS
    for name in recurrent.LOOPS:
        seconds = [record.more["seconds"] for record in records if record.label == name]
        times = [record.median_ms * ROUND_STEPS / 1e3 for record in records if record.label == name]
        np.testing.assert_allclose(seconds, np.cumsum(times), rtol=1e-6)
    losses = {name: [r.more["loss"] for r in records if r.label == name] for name in recurrent.LOOPS}
    first, *others = losses.values()
    assert first[-1] < first[0]
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-2)


def test_unrolled_programs_grow_and_rolled_ones_do_not():
    records = records_of(length_sweep(CPU, 4, longest=32))
    compiled = [r for r in records if r.phase == "compile"]
    sizes = {name: [r.more["hlo_ops"] for r in compiled if r.label == name] for name in TURNS}
    equations = {name: [r.more["equations"] for r in compiled if r.label == name] for name in TURNS}
    assert sizes["Python for"][-1] > 8 * sizes["Python for"][1] and equations["Python for"] == [2, 4, 8, 16, 32, 64]
    assert len(set(equations["scan"])) == len(set(equations["fori_loop"])) == 1
    assert sizes["scan"][-1] == sizes["scan"][-2] < sizes["scan, unroll=8"][-1] < sizes["Python for"][-1]
    steady = [r for r in records if r.phase == "steady"]
    assert [(r.label, r.size) for r in steady] == [(r.label, r.size) for r in compiled]
    assert all(record.median_ms > 0 for record in records)


def test_the_programs_that_are_compared_compute_the_same():
    w, x = np.eye(16, dtype=np.float32), np.full((2, 16), 0.5, np.float32)
    expected = x
    for _ in range(11):
        expected = np.tanh(expected)
    for turns in TURNS.values():
        np.testing.assert_allclose(turns(w, x, num_steps=11), expected, rtol=1e-5)


# The recurrent network.


@pytest.mark.parametrize("loop", recurrent.PREDICTS)
def test_each_loop_reads_a_series_as_one_in_numpy_does(loop):
    params = jax.device_get(recurrent.Recurrent(1).init(jax.random.key(2), ()).params)
    xs = recurrent.series(1)[:20]
    hidden, expected = np.zeros(16, np.float32), []
    for x in xs:
        hidden = np.tanh(params["w"] @ hidden + params["u"] * x + params["b"])
        expected.append(params["v"] @ hidden + params["c"])
    state, preds = recurrent.PREDICTS[loop](params, xs)
    np.testing.assert_allclose(preds, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state, hidden, rtol=1e-4, atol=1e-6)


def test_a_run_goes_on_with_another_loop_over_time():
    problems = [recurrent.Recurrent(4, loop=loop) for loop in recurrent.PREDICTS]
    assert len({problem.lineage for problem in problems}) == 1
    params = recurrent.init_params(jax.random.key(0), 16)
    windows = recurrent.series(0)[:36].reshape(4, 9)
    steps = [
        jax.jit(jax.value_and_grad(partial(recurrent.loss_fn, predict))) for predict in recurrent.PREDICTS.values()
    ]
    (loss, grads), *others = [step(params, windows) for step in steps]
    for other, other_grads in others:
        np.testing.assert_allclose(other, loss, rtol=1e-5)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), other_grads, grads)


def test_going_on_reads_what_it_has_said():
    params = recurrent.Recurrent(1).init(jax.random.key(2), ()).params
    xs = jnp.asarray(recurrent.series(1)[:10])
    said = recurrent.go_on(params, xs, 4)
    for step in range(4):
        preds = recurrent.predict_by_scan(params, jnp.concatenate([xs, said[:step]]))[1]
        np.testing.assert_allclose(said[step], preds[-1], rtol=1e-4, atol=1e-6)


def test_the_recurrent_network_learns_the_series_at_the_default_settings():
    problem, data = recurrent.Recurrent(32), recurrent.series(0)
    state, metrics, _ = train_steps(problem, problem.init(jax.random.key(0), data), data, 0.03, 1000)
    losses = np.asarray(metrics["loss"][:1000])
    assert losses[0] > 0.1 and losses[-50:].mean() < 0.01
    ahead = problem.observe(state, data).picture["ahead"]
    assert np.abs(ahead[:8] - data[recurrent.SEEN : recurrent.SEEN + 8]).mean() < 0.15


# The page.


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_each_pair_shows_what_jit_makes_of_the_python_and_what_the_code_prints(name):
    app = show(open_page("control_flow"), "control_flow", "if, for, while")
    app.session_state["control_flow_pair"] = name
    settle(app.run())
    assert any(text.value == REPLACEMENTS[name].about for text in app.markdown)
    texts = [code.value for code in app.code]
    report = pair_report(name)
    assert any(text.startswith(report.error) and report.text in text for text in texts)
    assert printed(code_of.pair(name)) in texts


def test_the_run_goes_on_when_another_loop_is_chosen_and_its_line_of_code_is_shown():
    app = open_page("control_flow")
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    app.session_state["time_loop"] = "Python for"
    settle(app.run())
    assert numbers(app)["Step"] == "1" and float(numbers(app)["Loss"]) > 0
    assert any(code_of.line("Python for") in element.proto.body for element in app.get("html"))


def test_the_predicate_decides_what_becomes_of_cond_on_the_page():
    app = show(open_page("control_flow"), "control_flow", "Under vmap")

    def programs_with(word):
        return sum(word in element.proto.body for element in app.get("html"))

    assert (programs_with("= cond"), programs_with("select_n")) == (1, 1)
    assert app.dataframe[0].value.to_numpy().tolist() == [["cond", "0", "0", "0.25"], ["where", "nan", "nan", "0.25"]]
    app.session_state["predicate"] = "one for all"
    settle(app.run())
    assert (programs_with("= cond"), programs_with("select_n")) == (2, 0)


def test_the_race_ends_in_words(own_measurements):
    app = show(open_page("control_flow"), "control_flow", "Training race")
    assert "As fast as the Python loop" in measured(app, "race_measure")


@pytest.mark.parametrize(
    ("panel", "words"),
    [
        ("Code", code_of.snippet("scan", 32)),
        ("Derivatives", "ValueError: Reverse-mode differentiation does not work"),
        ("Inside", "scan["),
        ("Notice", "Unrolled, the program and the time to compile it grow"),
    ],
)
def test_a_panel_shows_what_it_is_for(panel, words):
    app = show(open_page("control_flow"), "control_flow", panel)
    assert any(words in element.value for element in [*app.markdown, *app.code])


def test_every_mistake_on_the_page_shows_its_error_and_its_explanation():
    show_every_mistake("control_flow", MISTAKES)
