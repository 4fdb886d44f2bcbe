"""The pages of the core: what they show, against oracles, and what they say of mistakes."""

import re
import time

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from test_pages import TIMEOUT_S, numbers, open_page, pick, press, run_until, settle, show, show_every_mistake

from lib.lessons.jit_grad.functions import FUNCTIONS
from lib.lessons.jit_grad.mistakes import MISTAKES as GRAD_MISTAKES
from lib.lessons.jit_grad_vmap.mistakes import MISTAKES as GRAD_VMAP_MISTAKES
from lib.lessons.jit_vmap import routine as batching
from lib.lessons.jit_vmap.mistakes import MISTAKES as VMAP_MISTAKES


def write(app: AppTest, label: str, text: str) -> AppTest:
    return settle(next(box for box in app.text_input if box.label == label).set_value(text).run())


@pytest.mark.parametrize(
    ("stem", "mistakes"),
    [("jit_grad", GRAD_MISTAKES), ("jit_vmap", VMAP_MISTAKES), ("jit_grad_vmap", GRAD_VMAP_MISTAKES)],
)
def test_every_mistake_shows_its_error_and_its_explanation(stem: str, mistakes: dict) -> None:
    show_every_mistake(stem, mistakes)


@pytest.mark.parametrize("stem", ["jit_grad", "jit_vmap", "jit_grad_vmap", "training"])
def test_the_way_to_machine_code_is_taken_when_it_is_opened_and_can_be_searched(stem: str) -> None:
    app = open_page(stem)
    assert "Equations" not in html(app)
    show(app, stem, "Inside")
    assert "Equations" in html(app)
    everything = next(code.value for code in app.code if "{ lambda" in code.value)  # the jaxpr
    write(app, "Search", "LAMBDA")
    lines = [line for line in everything.splitlines() if "lambda" in line]
    assert any(code.value.splitlines() == lines for code in app.code)


@pytest.mark.parametrize("stem", ["home", "jit_grad", "jit_vmap", "jit_grad_vmap", "training"])
def test_the_page_says_what_to_do_in_few_words(stem: str) -> None:
    app = open_page(stem)
    task = app.markdown[0].value.partition(":small[")[0]
    assert "Run" in task and len(task.split()) <= 45
    show(app, stem, "Notice")
    terms = re.compile(r"\*\*[^*]+\*\*: ")  # are shown at a press
    texts = [text.value for text in [*app.markdown, *app.caption] if not terms.match(text.value)]
    assert len(" ".join(texts).split()) <= 250


def html(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_shown_is_the_closed_form(name: str) -> None:
    app = show(pick(open_page("jit_grad"), "Function", name), "jit_grad", "Value")
    function = FUNCTIONS[name]
    low, high = function.domain
    for place, variable in enumerate(function.variables):
        pick(app, variable, low if place else high)
    point = [next(box.value for box in app.number_input if box.label == v) for v in function.variables]
    table = app.dataframe[0].value
    expected = np.array(function.gradient(*point, *function.constants.values()), float)
    np.testing.assert_allclose(table["jit(grad(f))"].astype(float).to_numpy(), expected, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(table["closed form"].astype(float).to_numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_typed_function_is_differentiated_and_a_refused_one_leaves_the_last_good_one() -> None:
    app = show(pick(open_page("jit_grad"), "Function", "type your own"), "jit_grad", "Value")
    write(app, "f =", "a * x**3 + y")
    pick(app, "x", 2.0)
    assert app.dataframe[0].value["jit(grad(f))"].tolist() == ["12", "1"]
    assert app.dataframe[0].value["closed form"].tolist() == ["12", "1"]
    assert any(r"= 3 a x^{2}" in latex.value for latex in app.latex)
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    write(app, "f =", "np.sin(x)")
    assert "without a dot" in app.error[0].value and app.code[0].value == "np.sin(x)\n^^^^^^"
    assert app.dataframe[0].value["jit(grad(f))"].tolist() == ["12", "1"]
    assert numbers(app)["Step"] == "1", "the run of the last good function is gone"
    write(app, "f =", "x * log(x)")
    assert not app.error and any("infinite or not a number" in caption.value for caption in app.caption)


def test_where_there_is_no_derivative_the_page_says_so_and_shows_no_error() -> None:
    app = show(pick(open_page("jit_grad"), "Function", "type your own"), "jit_grad", "Value")
    write(app, "f =", "abs(x)")
    pick(app, "x", 0.0)
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["jit(grad(f))"], row["closed form"], row["error of grad"]) == ("1", "does not exist", "–")
    assert "-1 on the left and 1 on the right" in app.info[0].value
    pick(app, "x", 0.5)
    assert not app.info and app.dataframe[0].value["error of grad"].tolist() == ["0.0e+00"]


def test_the_mark_of_a_function_with_jumps_stands_at_its_value() -> None:
    app = show(pick(open_page("jit_grad"), "Function", "type your own"), "jit_grad", "Value")
    write(app, "f =", "floor(x)")
    pick(app, "x", -0.5)
    assert any("**f = -1**" in text.value for text in app.markdown)


def test_bad_variables_and_a_bad_domain_are_told_and_the_page_stands() -> None:
    app = pick(open_page("jit_grad"), "Function", "type your own")
    pick(app, "from", 7.0)
    assert "must end above 7" in app.error[0].value and "Step" in numbers(app)
    pick(app, "from", -5.0)
    write(app, "f =", "a * x + y")
    app.session_state["variables_a_x_y"] = ["a", "x", "y"]
    settle(app.run())
    assert "one or two variables" in app.error[0].value and "Step" in numbers(app)


def test_the_code_of_a_typed_function_runs_on_the_page() -> None:
    app = show(pick(open_page("jit_grad"), "Function", "type your own"), "jit_grad", "Code")
    write(app, "f =", "x**2 + 3 * y**2")
    assert "argnums=(0, 1)" in app.code[0].value
    assert "Array(2., dtype=float32" in app.code[1].value and "Array(6., dtype=float32" in app.code[1].value


def test_the_rows_show_powers_and_a_wrong_axis_is_explained() -> None:
    app = show(open_page("jit_vmap"), "jit_vmap", "Rows")
    assert re.findall(r">(\d+)</td>", html(app).partition("one call")[2]) == ["1", "4", "9", "16"]
    assert "raised(x[3], power)" in html(app)
    pick(app, "in_axes of x", "1")
    assert any("ValueError" in code.value for code in app.code)
    assert any("For one example `x` has 0 axes" in info.value for info in app.info)
    pick(app, "in_axes of x", "None")
    assert any("nothing to map over" in info.value for info in app.info)


def test_a_typed_function_is_mapped_and_shapes_that_do_not_fit_leave_the_last_good_one() -> None:
    app = show(pick_in(open_page("jit_vmap"), "type your own"), "jit_vmap", "Rows")
    write(app, "f =", "x * 2 + y")
    write(app, "shape of x", "(2,)")
    assert "<code>y</code>" in html(app) and "f(x[0], y[0])" in html(app)
    write(app, "shape of y", "(3,)")
    assert "does not work for the shape" in app.error[0].value and "f(x[0], y[0])" in html(app)
    write(app, "shape of y", "three")
    assert "Write a shape" in app.error[0].value and "f(x[0], y[0])" in html(app)
    write(app, "shape of y", "(2,)")
    assert not app.error


def pick_in(app: AppTest, function: str) -> AppTest:
    return pick(show(app, "jit_vmap", "Rows"), "Function", function)


def test_the_axes_that_are_chosen_reach_the_measurement() -> None:
    app = pick(pick_in(open_page("jit_vmap"), "dot(w, x)"), "in_axes of w", "0")
    batching_largest, batching.LARGEST = batching.LARGEST, 16
    try:
        press(show(app, "jit_vmap", "Timings"), "Measure")
        end = time.monotonic() + TIMEOUT_S
        while not any("Taken at" in caption.value for caption in app.caption):
            assert time.monotonic() < end
            time.sleep(0.2)
            settle(app.run())
    finally:
        batching.LARGEST = batching_largest
    assert any("`vmap(dot, in_axes=(0, 0))`" in text.value for text in app.markdown)
    assert any("the Python loop" in text.value for text in app.markdown)


def test_the_axes_of_the_training_step_reach_the_run_its_line_its_code_and_its_jaxpr() -> None:
    app = open_page("jit_vmap")
    assert "train_step, in_axes=(0, None, None, None)" in html(app)
    app.session_state["in_axes_targets"] = "0"
    app.session_state["in_axes_learning_rate"] = "0"
    show(app, "jit_vmap", "Code")
    assert "train_step, in_axes=(0, None, 0, 0)" in html(app)
    assert "in_axes=(0, None, 0, 0)" in app.code[0].value and "phases" in app.code[0].value
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    show(app, "jit_vmap", "Inside")
    jaxpr = next(code.value for code in app.code if "{ lambda" in code.value)
    assert "f32[32,64]" in jaxpr.splitlines()[0], "the targets have no axis of models"
