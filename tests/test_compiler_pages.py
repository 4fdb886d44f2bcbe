"""The pages on composition and compilation: what their panels show, against oracles, and what is typed wrong."""

import re
import time

import pytest
from streamlit.testing.v1 import AppTest
from test_first_pages import html
from test_pages import TIMEOUT_S, numbers, open_page, pick, press, settle, show, show_every_mistake

from lib.lessons.compilation.mistakes import MISTAKES
from lib.lessons.composition.routine import BROKEN
from lib.lessons.composition.view import _suit_stack


def lab(panel: str = "Levels") -> AppTest:
    return show(open_page("composition"), "composition", panel)


def test_the_cache_of_a_visitor_s_own_function_in_compilation_tells_hits_from_misses() -> None:
    app = show(open_page("compilation"), "compilation", "Cache")
    for label, compiled, calls in [("float32[32]", 1, 1), ("the same again", 1, 2), ("float32[64]", 2, 3)]:
        press(app, label)
        settle(app.run())
        assert any(f"{calls} calls" in text.value and f"**{compiled}** of them" in text.value for text in app.caption)
    assert any("now f32[64] and before f32[32]" in code.value for code in app.code)
    press(app, "Forget it all")
    assert any("Nothing called yet" in text.value for text in app.caption)


@pytest.mark.parametrize(
    ("key", "shown"),
    [("timeline", "The first result takes"), ("dispatch", "the call returns after"), ("roofline", "Roof: ")],
)
def test_a_measurement_of_compilation_ends_in_words(key: str, shown: str) -> None:
    app = show(open_page("compilation"), "compilation", "Timings" if key == "timeline" else key.capitalize())
    settle(next(button for button in app.button if button.key == f"{key}_measure").click().run())
    end = time.monotonic() + TIMEOUT_S
    while not any(shown in text.value for text in [*app.markdown, *app.caption]):
        assert time.monotonic() < end
        time.sleep(0.2)
        settle(app.run())


def ladder(app: AppTest) -> str:
    """The table of the levels in the composition lab, once every level is compiled."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        table = next((e.proto.body for e in app.get("html") if "class='ladder'" in e.proto.body), "")
        if table and "compiling" not in table:
            return table
        assert time.monotonic() < end, table
        time.sleep(0.1)
        settle(app.run())


def type_stack(app: AppTest, text: str) -> AppTest:
    return settle(next(box for box in app.text_input if box.key == "stack").set_value(text).run())


def test_every_level_of_a_stack_is_shown_with_its_type_and_agrees_with_numpy() -> None:
    app = lab()
    html = ladder(app)
    for level in ("f", "grad(f)", "vmap(grad(f))", "jit(vmap(grad(f)))"):
        assert f"<code>{level}</code>" in html
    assert "f32[<b class='batch'>32</b>, <b class='derivative'>3</b>]" in html
    assert html.count("✓") == 4 and "✗" not in html
    pick(app, "Batch size", 8)
    assert "f32[<b class='batch'>8</b>, <b class='derivative'>3</b>]" in ladder(app)


def test_levels_are_added_moved_and_taken_away() -> None:
    app = lab()
    settle(next(button for button in app.button if button.label == "+ checkpoint").click().run())
    assert app.session_state["stack"] == "checkpoint(jit(vmap(grad(f), in_axes=(None, 0, 0))))"
    settle(next(button for button in app.button if button.key == "level_3_inwards").click().run())
    assert app.session_state["stack"] == "jit(checkpoint(vmap(grad(f), in_axes=(None, 0, 0))))"
    settle(next(button for button in app.button if button.key == "level_1_away").click().run())
    assert app.session_state["stack"] == "jit(checkpoint(grad(f)))"
    settle(next(box for box in app.text_input if box.label == "argnums").set_value("(0, 1)").run())
    assert app.session_state["stack"] == "jit(checkpoint(grad(f, argnums=(0, 1))))"
    assert ladder(app).count("✓") == 4
    pick(app, "Function", "affine")
    assert "grad(f)" in ladder(app) and any("one number" in info.value for info in app.info)


def test_a_refused_level_shows_jax_s_words_and_the_levels_below() -> None:
    app = type_stack(lab(), "jit(grad(vmap(f, in_axes=(None, 0, 0))))")
    html = ladder(app)
    assert html.count("✓") == 2 and "→ refused" in html
    assert any("TypeError" in text.value for text in app.markdown)
    assert any("put `vmap` above `grad`" in info.value for info in app.info)
    assert any("**Levels** says why" in caption.value for caption in app.caption)


def test_a_stack_that_is_typed_wrong_leaves_the_page_with_the_last_one() -> None:
    app = type_stack(lab(), "jit(grad(f))")
    type_stack(app, "jit(grad(f)")
    assert any("balanced brackets" in error.value for error in app.error)
    assert "<code>jit(grad(f))</code>" in ladder(app) and numbers(app)["Status"]


def test_a_typed_function_goes_through_the_lab() -> None:
    app = pick(lab(), "Function", "type your own")
    type_stack(app, "jit(hessian(f))")
    assert ladder(app).count("✓") == 3
    for text, said in (("sin(x) + __import__('os')", "underscore"), ("w @ x", "This does not work for")):
        settle(next(box for box in app.text_input if box.label == "f =").set_value(text).run())
        assert any(said in error.value for error in app.error)
        assert ladder(app).count("✓") == 3  # the last function that had a sense
    show(app, "composition", "Inside")
    app.session_state["lab_view"] = "Compiled"
    settle(app.run())
    assert "Equations" in html(app)


def test_every_view_of_a_level_is_shown() -> None:
    app = lab("Inside")
    for view, shown in (("jaxpr", "class='jaxpr"), ("Compiled", "Equations")):
        app.session_state["lab_view"] = view
        settle(app.run())
        assert shown in html(app), view
    app.session_state["lab_view"] = "Value"
    settle(app.run())
    assert any("against NumPy in float64" in caption.value for caption in app.caption)
    show(app, "composition", "Code")
    assert any("f2 = jax.vmap(f1, in_axes=(None, 0, 0))" in code.value for code in app.code)
    assert any(code.value.startswith("[[") for code in app.code)  # what it prints


def test_the_two_orders_differ_by_what_is_told() -> None:
    app = pick(lab("Order"), "Pair", "vmap of jit, or jit of vmap")
    end = time.monotonic() + TIMEOUT_S
    while not any("The values" in text.value for text in app.markdown):
        assert time.monotonic() < end
        time.sleep(0.1)
        settle(app.run())
    assert any("The values agree" in text.value for text in app.markdown)
    pick(app, "Pair", "the stack above, and another")
    settle(next(box for box in app.text_input if box.label == "The other stack").set_value("nonsense").run())
    assert any("innermost is f" in error.value for error in app.error)
    assert any("The values differ" in text.value for text in app.markdown)  # with the one before


@pytest.mark.usefixtures("own_measurements")
def test_timings_of_a_longer_stack_keep_their_names_when_the_stack_is_shorter() -> None:
    app = type_stack(lab("Timings"), "jit(grad(f))")
    press(app, "Measure")
    end = time.monotonic() + TIMEOUT_S
    while not any("Taken at" in caption.value for caption in app.caption):
        assert time.monotonic() < end
        time.sleep(0.2)
        settle(app.run())
    type_stack(app, "f")
    pick(app, "Function", "affine")
    assert any("The settings have changed since" in caption.value for caption in app.caption)
    drawn = [chart.proto.spec for chart in app.get("vega_lite_chart")]
    assert any("jit(grad(f)), under jit" in spec and "squared_loss" in spec for spec in drawn)


def test_each_stack_that_jax_refuses_is_loaded_and_explained() -> None:
    app = lab("Break it")
    for name in BROKEN:
        press(app, name)
        assert any("**Levels** says why" in caption.value for caption in app.caption), name
        show(app, "composition", "Levels")
        assert any(info.value.endswith(".") for info in app.info), name
        show(app, "composition", "Break it")


def test_every_mistake_of_compilation_shows_its_error_and_its_explanation() -> None:
    show_every_mistake("compilation", MISTAKES)


def test_another_function_chosen_before_the_stack_has_its_field_is_suited(monkeypatch) -> None:
    state = {"lab_function": "leaky ReLU"}
    monkeypatch.setattr("streamlit.session_state", state)
    _suit_stack()
    assert state["stack"] == "jit(vmap(grad(f)))"


@pytest.mark.parametrize("stem", ["composition", "compilation"])
def test_nothing_but_the_run_is_computed_until_a_panel_is_opened(stem: str, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("lib.ui.panels.answer", lambda *args: asked.append(args))
    monkeypatch.setattr("lib.lessons.composition.view.ask_report", lambda *args: asked.append(args))
    open_page(stem)
    assert not asked


@pytest.mark.parametrize("stem", ["composition", "compilation"])
def test_the_page_says_what_to_do_in_few_words(stem: str) -> None:
    app = open_page(stem)
    task = app.markdown[0].value
    assert "Run" in task and len(task.split()) <= 45
    show(app, stem, "Notice")
    terms = re.compile(r"\*\*[^*]+\*\*: ")  # are shown at a press
    texts = [text.value for text in [*app.markdown, *app.caption] if not terms.match(text.value)]
    assert len(" ".join(texts).split()) <= 250
