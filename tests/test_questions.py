"""Questions: what is offered, how a guess is graded, and that each lesson's truths come from the routine."""

from __future__ import annotations

import importlib
from math import inf, nan

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from test_pages import open_page, press, settle, show

from lib.lessons.composition.routine import FUNCTIONS
from lib.lessons.custom_gradients.routine import PAIRS
from lib.lessons.jit_grad.routine import Descent
from lib.lessons.multi_device.routine import Layout
from lib.live.devices import devices
from lib.measure.questions import Choice, Found, Number, Order, Question, grade
from lib.measure.timing import Record
from lib.routines.datasets import load
from lib.routines.networks import Network

LOSS = Number(0.01, 100)


def test_a_number_is_guessed_among_1_2_5_of_each_decade_or_as_larger_than_all() -> None:
    assert Number(0.1, 10).values == (0.1, 0.2, 0.5, 1, 2, 5, 10, inf)


@pytest.mark.parametrize(
    ("guess", "truth", "right", "words"),
    [
        (0.5, 0.6, True, "a factor of 1.2"),
        (0.5, 6.0, False, "too low by a factor of 12"),
        (50.0, 0.5, False, "too high by a factor of 100"),
        (0.01, 1e-9, True, "right"),
        (0.01, 0.0, True, "right"),
        (5.0, 0.0, False, "too high by a factor of more than a million"),
        (5.0, nan, False, "diverges"),
        (inf, nan, True, "right"),
        (inf, 101.0, True, "right"),
        (100.0, 101.0, True, "a factor of 1"),
        (inf, 99.0, False, "does not diverge"),
    ],
)
def test_a_number_is_right_within_a_factor_of_2(guess, truth, right, words) -> None:
    verdict = grade(guess, Found(truth, ""), LOSS)
    assert verdict.right is right
    assert words in verdict.words


def times(**low_and_high):
    records = [Record(label, "steady", (low + high) / 2, low, high) for label, (low, high) in low_and_high.items()]
    question = Question("", "", Order(tuple(low_and_high)), lambda device: records, "")
    return question.found(records, {"device": None}), question.answer


@pytest.mark.parametrize(
    ("guess", "right", "words"),
    [
        ("abc", True, "1 of 3 pairs cannot be told apart"),
        ("bac", True, "1 of 3 pairs cannot be told apart"),
        ("acb", False, "1 of 3 pairs is the other way round"),
        ("cba", False, "2 of 3 pairs are the other way round"),
    ],
)
def test_times_that_cannot_be_told_apart_are_right_either_way(guess, right, words) -> None:
    found, answer = times(a=(1.0, 2.0), b=(1.5, 2.6), c=(3.0, 4.0))
    assert found.truth == ("a", "b", "c")
    verdict = grade(tuple(guess), found, answer)
    assert verdict.right is right
    assert words in verdict.words


def test_options_are_filled_with_the_settings_and_a_truth_that_is_none_of_them_is_refused() -> None:
    question = Question("", "of {n}", Choice(("({n},)", "(5,)", "()")), lambda n: str((n,)), "{n}: {truth}")
    assert question.depends_on == ("n",)
    assert question.ask({"n": 3, "m": 4}) == "of 3"
    assert question.options({"n": 3}) == ("(3,)", "(5,)", "()")
    assert question.options({"n": 5}) == ("(5,)", "()")
    assert question.found("(3,)", {"n": 3}).why == "3: (3,)"
    with pytest.raises(ValueError, match=r"'\(4,\)' is none of the options"):
        question.found("(4,)", {"n": 3})


# What the lessons ask.

LESSONS = {
    path.parent.name: {question.name: question for question in importlib.import_module(
        f"lib.lessons.{path.parent.name}.questions").QUESTIONS}
    for path in sorted(ROOT.glob("lib/lessons/*/questions.py"))
}  # fmt: skip
PAGE = {"batch_size": 32, "learning_rate": 0.03, "seed": 0, "device": devices()["cpu:0"]}
WELL = {"function": "double well", "constants": ()}
CIRCLES = {"data": load("circles", 0), "network": Network(2, 1, 2, 8), "optimizer": "Adam"}
SQUARED = {"function": FUNCTIONS["squared loss"]}
SIGMOID, ON_FOUR = {"pair": next(iter(PAIRS)), "x": -100.0}, {"layout": Layout((4, 1))}


def descent_of_the_well(learning_rate: float) -> float:
    """The mean length of the gradient x**3 - 2 x + 1/4 of the double well after 100 steps in float64, from the same start."""
    x = np.asarray(Descent("double well", 32, ()).init(jax.random.key(0), ()).params["points"], float)
    for _ in range(100):
        x = x - learning_rate * (x**3 - 2 * x + 0.25)
    return float(np.abs(x**3 - 2 * x + 0.25).mean())


TRUTHS = [
    ("jit_vmap", "a shape", {}, "(3, 32)"),
    ("jit_vmap", "a shape", {"batch_size": 7}, "(3, 7)"),
    ("jit_vmap", "error or not", {}, "ValueError"),
    ("jit_grad_vmap", "a shape", {"reduction": "mean"}, "(32, 5)"),
    ("jit_grad_vmap", "a shape", {"reduction": "mean", "batch_size": 3}, "(3, 5)"),
    ("jit_grad", "ten times the rate", WELL, "none"),
    ("jit_grad", "ten times the rate", WELL | {"learning_rate": 1.0}, "all"),
    ("training", "what is kept", CIRCLES, "twice as many"),
    ("training", "what is kept", CIRCLES | {"optimizer": "momentum"}, "as many"),
    ("composition", "one more grad", SQUARED | {"stack": "vmap(f)"}, "TypeError"),
    ("composition", "one more grad", SQUARED | {"stack": "mean(vmap(f))"}, "it works"),
    ("compilation", "how many traces", {}, "2"),
    ("compilation", "how many traces", {"batch_size": 8}, "3"),
    ("compilation", "donated, then read", {}, "RuntimeError"),
    ("pytrees", "how many leaves", {"depth": 1}, "4"),
    ("pytrees", "how many leaves", {"depth": 4}, "10"),
    ("custom_gradients", "the derivative", SIGMOID, "NaN"),
    ("custom_gradients", "the derivative", SIGMOID | {"x": 0.5}, "a number other than 0"),
    ("custom_gradients", "when it breaks", SIGMOID, "at the first step"),
    ("custom_gradients", "when it breaks", SIGMOID | {"pair": "rounding, straight through"}, "not within 100 steps"),
    ("control_flow", "out of range", {"loop": "scan", "batch_size": 1}, "relu(0.5)"),
    ("control_flow", "out of range", {"loop": "scan"}, "sin(0.5)"),
    ("multi_device", "a batch on a mesh", ON_FOUR, "each device gets as many"),
    ("multi_device", "a batch on a mesh", ON_FOUR | {"batch_size": 2}, "an error"),
    ("debugging", "print under jit", {}, "1"),
    ("debugging", "print under jit", {"batch_size": 64}, "2"),
    ("debugging", "when is it NaN", {}, "not within 1,000 steps"),
    ("debugging", "when is it NaN", {"learning_rate": 10.0}, "within 10 steps"),
]
NUMBERS = [
    ("jit_grad", "how steep", WELL, pytest.approx(descent_of_the_well(0.03), rel=0.02)),
    ("jit_grad", "how steep", WELL | {"learning_rate": 1.0}, pytest.approx(nan, nan_ok=True)),
    ("multi_device", "what moves", ON_FOUR, 4 * 193 + 4),
    ("multi_device", "what moves", {"layout": Layout((1, 1))}, 0),
    # Three for each dense layer of n by m and 32 examples, 2 n m flops each; the rest is activations and the update.
    ("compilation", "how much work", {"depth": 1}, pytest.approx(32 * 2 * (2 * 32 + 3 * 32), rel=0.7)),
    ("compilation", "how much work", {"depth": 4}, pytest.approx(32 * 2 * 3 * 3 * 32**2, rel=0.2)),
    ("composition", "how long", SQUARED | {"stack": "f"}, len(jax.make_jaxpr(FUNCTIONS["squared loss"].fun)(
        *(jnp.ones(shape) for _, shape in FUNCTIONS["squared loss"].arguments)).eqns)),
    ("state_libraries", "how far apart", {}, pytest.approx(0, abs=1e-4)),
]  # fmt: skip


def found_of(lesson: str, name: str, own: dict) -> Found:
    question, settings = LESSONS[lesson][name], PAGE | own
    result = question.find(**question.given(settings))
    return question.found([row for row in result if row] if isinstance(question.answer, Order) else result, settings)


@pytest.mark.parametrize(("lesson", "name", "own", "truth"), [*TRUTHS, *NUMBERS])
def test_the_truth_is_what_the_routine_does_under_the_settings(lesson, name, own, truth, on_cpu) -> None:
    found = found_of(lesson, name, own)
    assert found.truth == truth
    assert found.why and "{" not in found.why


def test_ten_times_the_rate_and_one_key_end_where_numpy_or_common_sense_says(on_cpu) -> None:
    assert found_of("jit_grad_vmap", "ten times the rate", {"reduction": "mean"}).truth < 1
    assert np.isnan(found_of("jit_grad_vmap", "ten times the rate", {"reduction": "sum"}).truth)
    adam, sgd = (found_of("training", "ten times the rate", CIRCLES | {"optimizer": name}) for name in ("Adam", "SGD"))
    assert adam.truth < sgd.truth and len(adam.curve) == 101
    scan, unrolled = (found_of("control_flow", "how long", {"loop": loop}).truth for loop in ("scan", "Python for"))
    assert unrolled > 10 * scan


def test_every_lesson_asks_two_questions_of_which_one_depends_on_a_setting_of_the_bar() -> None:
    assert set(LESSONS) == {file.stem[3:] for file in ROOT.glob("pages/*.py")} - {"home"}
    for questions in LESSONS.values():
        assert len(questions) >= 2
        assert any({"batch_size", "learning_rate"} & set(question.depends_on) for question in questions.values())
    asked = [question for questions in LESSONS.values() for question in questions.values()]
    assert {type(question.answer) for question in asked} == {Number, Choice, Order}
    tried = {(lesson, name) for lesson, name, *_ in (*TRUTHS, *NUMBERS)}
    missing = {
        (lesson, name) for lesson in LESSONS for name, q in LESSONS[lesson].items() if not isinstance(q.answer, Order)
    } - tried
    assert missing <= {
        ("jit_grad_vmap", "ten times the rate"),
        ("training", "ten times the rate"),
        ("control_flow", "how long"),
        ("pytrees", "one key for all steps"),
    }


@pytest.mark.parametrize(("lesson", "own"), [("jit_vmap", {}), ("control_flow", {"loop": "scan"})])
def test_an_order_is_measured(lesson, own, on_cpu) -> None:
    found = found_of(lesson, "which is fastest", own)
    medians = [record.median_ms for record in found.records]
    assert medians == sorted(medians) and set(found.truth) == set(LESSONS[lesson]["which is fastest"].answer.items)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_panel_asks_and_has_nothing_of_an_answer_before_it_is_run(lesson) -> None:
    app = show(open_page(lesson), lesson, "Predict")
    texts = " ".join(element.value for element in (*app.markdown, *app.caption))
    first = next(iter(LESSONS[lesson].values()))
    assert first.text.partition("{")[0].strip("`( ") in texts
    assert not app.success and not app.warning


def test_a_guess_is_checked_and_stays_when_a_setting_changes() -> None:
    app = show(open_page("jit_vmap"), "jit_vmap", "Predict")
    guess = next(radio for radio in app.radio if "(3, 32)" in radio.options)
    settle(guess.set_value("(3, 32)").run())
    press(app, "Check by running it")
    settle(app.run())
    assert "right" in app.success[0].value and "Run with batch size 32." in [caption.value for caption in app.caption]
    box = next(box for box in app.selectbox if box.label == "Batch size")
    settle(box.set_value(64).run())
    assert "Run with batch size 32; press again for batch size 64." in [caption.value for caption in app.caption]
    assert next(radio for radio in app.radio if "(3, 64)" in radio.options).value == "(3, 64)"
