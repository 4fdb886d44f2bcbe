"""Every page, found as the app finds it, at the extremes of its controls; and what pages show, against oracles."""

import re
import time

import numpy as np
import pytest
from conftest import ROOT
from streamlit.testing.v1 import AppTest

from lib.lessons.jit_grad_vmap import routine as linear_regression
from lib.lessons.training.presets import PRESETS
from lib.live.devices import devices
from lib.live.measurement import Measurements
from lib.ui import frame

FILES = frame.page_files()
TIMEOUT_S = 60


def open_page(stem: str) -> AppTest:
    file = next(file for file in FILES if file.stem.endswith(stem))
    app = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=TIMEOUT_S).run()
    return settle(app.switch_page(f"pages/{file.name}").run())


def settle(app: AppTest) -> AppTest:
    """Runs the script again until nothing is being computed, and no exception is on the page."""
    end = time.monotonic() + TIMEOUT_S
    while any("computing" in caption.value for caption in app.caption):
        assert time.monotonic() < end, "still computing"
        time.sleep(0.1)
        app.run()
    assert not app.exception, app.exception[0].message
    return app


def numbers(app: AppTest) -> dict[str, str]:
    """The row of numbers of the live run."""
    html = next(element.proto.body for element in app.get("html") if 'class="stats"' in element.proto.body)
    return dict(re.findall(r'class="name">([^<]*)</div><div class="value">([^<]*)<', html))


def run_until(app: AppTest, condition) -> AppTest:
    end = time.monotonic() + TIMEOUT_S
    while not condition(numbers(app)):
        assert time.monotonic() < end, numbers(app)
        time.sleep(0.1)
        settle(app.run())
    return app


def press(app: AppTest, label: str) -> AppTest:
    return settle(next(button for button in app.button if button.label == label).click().run())


def pick(app: AppTest, label: str, value) -> AppTest:
    widgets = [*app.selectbox, *app.select_slider, *app.number_input]
    return settle(next(widget for widget in widgets if widget.label == label).set_value(value).run())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_page_has_its_title_its_idea_and_the_shared_controls(file) -> None:
    app = open_page(file.stem[3:])
    assert app.title[0].value == frame.title_of(file)
    assert len(app.markdown[0].value) > 20
    labels = {widget.label for widget in [*app.main.select_slider, *app.main.selectbox, *app.main.number_input]}
    assert {"Batch size", "Learning rate", "Device", "Seed", "Steps a second"} <= labels
    assert {"Run", "Pause", "Step", "Reset"} <= {button.label for button in app.button}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize(("batch_size", "learning_rate", "device", "seed"), [(1, 1e-4, -1, 9999), (4096, 10.0, 0, 0)])
def test_a_page_runs_at_the_extremes_of_the_shared_controls(file, batch_size, learning_rate, device, seed) -> None:
    app = open_page(file.stem[3:])
    pick(app, "Batch size", batch_size)
    pick(app, "Learning rate", learning_rate)
    pick(app, "Device", next(box for box in app.selectbox if box.label == "Device").options[device])
    pick(app, "Seed", seed)
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1" or "diverged" in shown["Status"])
    press(app, "Reset")
    assert numbers(app)["Step"] == "0"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_option_of_every_choice_shows_no_exception(file) -> None:
    app = open_page(file.stem[3:])
    for place, choice in enumerate(app.selectbox):
        for option in choice.options:
            box = app.selectbox[place]
            if option in box.options and box.label != "Device":
                settle(box.select(option).run())
        app = open_page(file.stem[3:])


@pytest.mark.parametrize("batch_size", [1, 32, 1024])
def test_the_four_gradients_shown_agree_with_numpy(batch_size: int) -> None:
    app = pick(open_page("jit_grad_vmap"), "Batch size", batch_size)
    inputs, targets = (a[:batch_size].astype(np.float64) for a in linear_regression.regression_data(0))
    expected = -2 * inputs.T @ targets
    table = app.dataframe[0].value
    assert len(table) == 4
    for row in table.drop(columns="way").astype(float).to_numpy():
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-3)


def test_training_lowers_the_loss_shown_and_stops_at_the_step_asked_for() -> None:
    app = open_page("training")
    pick(app, "Stop at step", 500)
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: "finished" in shown["Status"])
    shown = numbers(app)
    assert shown["Step"] == "500"
    assert float(shown["Test loss"]) < 0.1  # log 2 = 0.69 before the first step
    assert float(shown["Accuracy: train, test"].split(", ")[1].rstrip("%")) > 95


def test_a_learning_rate_that_is_too_high_is_told_and_the_history_kept() -> None:
    app = open_page("jit_grad_vmap")
    pick(app, "Learning rate", 10.0)
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: "diverged" in shown["Status"])
    assert "at learning rate 10" in app.warning[0].value
    assert np.isfinite(float(numbers(app)["Loss"]))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_every_control(name: str) -> None:
    app = pick(open_page("training"), "Preset (✓ known to be good, ✗ known to be bad)", name)
    shown = {"batch_size": 32, "learning_rate": 0.03, **PRESETS[name].settings}
    for key, value in shown.items():
        assert app.session_state[key] == value
    assert any(PRESETS[name].expect in caption.value for caption in app.caption)
    assert not any("Changed since" in caption.value for caption in app.caption)


@pytest.mark.parametrize("stem", ["jit_grad_vmap", "compilation"])
def test_every_mistake_shows_its_error_and_its_explanation(stem: str) -> None:
    app = open_page(stem)
    mistakes = next(box for box in app.selectbox if box.label == "Mistake").options
    for mistake in mistakes:
        pick(app, "Mistake", mistake)
        press(app, "Break it")
        settle(app)
        assert any("in JAX's own words" in text.value or "It gives" in text.value for text in app.markdown)
        assert app.info


def test_a_measurement_shows_its_records() -> None:
    app = press(open_page("jit_grad_vmap"), "Measure")
    end = time.monotonic() + TIMEOUT_S
    while not any("Taken at" in caption.value for caption in app.caption):
        assert time.monotonic() < end
        time.sleep(0.2)
        settle(app.run())
    assert any("Medians of" in caption.value for caption in app.caption)
    pick(app, "Batch size", 64)
    assert any("press Measure again" in caption.value for caption in app.caption)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_frame_of_a_long_run_stays_below_10_kB_and_differs_from_the_first_in_data_alone(file) -> None:
    app = open_page(file.stem[3:])
    pick(app, "Batch size", 1024)
    pick(app, "Learning rate", 0.003)
    pick(app, "Steps a second", "unlimited")
    before = [chart.proto.spec for chart in app.get("vega_lite_chart")]
    press(app, "Run")
    run_until(app, lambda shown: int(shown["Step"].replace(",", "")) > 1500)
    press(app, "Pause")
    charts = [chart.proto for chart in app.get("vega_lite_chart")]
    assert charts
    assert [chart.spec for chart in charts] == before
    assert max(chart.ByteSize() for chart in charts) < 10_000


@pytest.mark.parametrize("stem", ["jit_grad_vmap", "training"])
def test_the_stages_of_a_lesson_are_compiled_when_they_are_opened_and_can_be_searched(stem: str) -> None:
    app = open_page(stem)
    name = next(panel for panel in app.expander if panel.label.startswith("Stages of")).proto.id.split("-")[-1]
    assert not app.get("text_input")
    app.session_state[name] = True
    settle(app.run())
    assert any("Equations" in element.proto.body for element in app.get("html"))
    everything = next(code.value for code in app.code if "{ lambda" in code.value)  # the jaxpr
    search = next(box for box in app.text_input if box.label == "Search")
    settle(search.set_value("LAMBDA").run())
    lines = [line for line in everything.splitlines() if "lambda" in line]
    assert any(code.value.splitlines() == lines for code in app.code)
    assert any(f"{len(lines):,} of" in caption.value for caption in app.caption)


def test_the_cache_of_a_visitor_s_own_function_in_compilation_tells_hits_from_misses() -> None:
    app = open_page("compilation")
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
    app = open_page("compilation")
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
        html = next((e.proto.body for e in app.get("html") if "class='ladder'" in e.proto.body), "")
        if html and "compiling" not in html:
            return html
        assert time.monotonic() < end, html
        time.sleep(0.1)
        settle(app.run())


def type_stack(app: AppTest, text: str) -> AppTest:
    return settle(next(box for box in app.text_input if box.key == "stack").set_value(text).run())


def test_every_level_of_a_stack_is_shown_with_its_type_and_agrees_with_numpy() -> None:
    app = open_page("composition")
    html = ladder(app)
    for level in ("f", "grad(f)", "vmap(grad(f))", "jit(vmap(grad(f)))"):
        assert f"<code>{level}</code>" in html
    assert "f32[<b class='batch'>32</b>, <b class='derivative'>3</b>]" in html
    assert html.count("✓") == 4 and "✗" not in html
    pick(app, "Batch size", 8)
    assert "f32[<b class='batch'>8</b>, <b class='derivative'>3</b>]" in ladder(app)


def test_levels_are_added_moved_and_taken_away() -> None:
    app = open_page("composition")
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
    app = type_stack(open_page("composition"), "jit(grad(vmap(f, in_axes=(None, 0, 0))))")
    html = ladder(app)
    assert html.count("✓") == 2 and "→ refused" in html
    assert any("TypeError" in text.value for text in app.markdown)
    assert any("put `vmap` above `grad`" in info.value for info in app.info)
    type_stack(app, "jit(grad(f)")
    assert any("balanced brackets" in error.value for error in app.error)


def test_a_typed_function_goes_through_the_lab() -> None:
    app = pick(open_page("composition"), "Function", "type your own")
    type_stack(app, "jit(hessian(f))")
    assert ladder(app).count("✓") == 3
    box = next(box for box in app.text_input if box.label == "f =")
    settle(box.set_value("sin(x) + __import__('os')").run())
    assert any("underscore" in error.value for error in app.error)
    assert any(panel.label.startswith("Compile log") for panel in app.expander)  # the page's foot stands
    settle(next(box for box in app.text_input if box.label == "f =").set_value("w @ x").run())
    assert any("This does not work for" in error.value for error in app.error)


def test_every_view_of_a_level_is_shown() -> None:
    app = open_page("composition")
    ladder(app)
    for view, element in (("Compiled", "dataframe"), ("Value", "code"), ("Code", "code")):
        app.session_state["lab_view"] = view
        settle(app.run())
        ladder(app)
        assert app.get(element), view
    assert any("jax.vmap(f1, in_axes=(None, 0, 0))" in code.value for code in app.code)


def test_the_two_orders_differ_by_what_is_told() -> None:
    app = pick(open_page("composition"), "Pair", "vmap of jit, or jit of vmap")
    end = time.monotonic() + TIMEOUT_S
    while not any("The values" in text.value for text in app.markdown):
        assert time.monotonic() < end
        time.sleep(0.1)
        settle(app.run())
    assert any("The values agree" in text.value for text in app.markdown)
    pick(app, "Pair", "the stack above, and another")
    settle(next(box for box in app.text_input if box.label == "The other stack").set_value("nonsense").run())
    assert any("innermost is f" in error.value for error in app.error)


# What others have measured.


@pytest.fixture
def others_line(manual_engine, clock, monkeypatch):
    """The line of measurements of the pages, taken when the test says so."""
    line = Measurements(manual_engine, clock)
    monkeypatch.setattr("lib.ui.panels.default_measurements", lambda: line)
    return line


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def test_what_was_measured_a_short_while_ago_is_shown_to_the_next_visitor_with_its_age(
    others_line, executor, clock
) -> None:
    app = press(open_page("jit_grad_vmap"), "Measure")
    executor.take_all()
    taken = captions(settle(app.run()))
    assert re.search(r"Taken at \d\d:\d\d:\d\d \(server's clock\) for batch size 32 on cpu:0", taken)
    clock.now += 40
    other = open_page("jit_grad_vmap")
    assert "40 s ago by somebody on this server, for batch size 32 on cpu:0" in captions(other)
    assert "Medians of" in captions(other)
    first = others_line.recent(next(iter(others_line._kept)))
    press(other, "Measure again")
    assert "measuring, in turns with the runs" in captions(other)
    executor.take_all()
    assert "ago by somebody" not in captions(settle(other.run())) and "Taken at" in captions(other)
    assert others_line.recent(first.key) is not first, "it has really measured"
    pick(other, "Batch size", 64)
    assert any(button.label == "Measure" for button in other.button) and "press Measure again" in captions(other)


def test_who_waits_for_measurements_of_others_sees_how_many(others_line, executor) -> None:
    for visitor in ("one", "other"):
        others_line.ask(visitor, visitor, devices()["cpu:0"], lambda: iter(()))
    app = press(open_page("jit_grad_vmap"), "Measure")
    assert "2 measurements are before yours" in captions(app)
    executor.take()
    assert "1 measurement is before yours" in captions(app.run())
    executor.take()
    assert "measuring, in turns with the runs" in captions(app.run())
