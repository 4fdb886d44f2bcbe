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
TIMEOUT_S = 300
"""The last guard against a test that never ends; nothing takes so long on the slowest machine."""


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


def show(app: AppTest, stem: str, panel: str) -> AppTest:
    """Opens a panel."""
    app.session_state[f"{stem}_panel"] = panel
    return settle(app.run())


def show_every_mistake(stem: str, mistakes: dict) -> None:
    """Provokes each mistake of a page, which has to show its error and its explanation."""
    app = show(open_page(stem), stem, "Break it")
    for name, mistake in mistakes.items():
        press(pick(app, "Mistake", name), "Break it")
        expected = "It gives" if mistake.raises is None else mistake.raises.__name__
        assert any(expected in text.value for text in app.markdown)
        assert app.info[0].value == mistake.explanation


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
    finished = ("300",) if file.stem == "00_home" and seed == 0 else ()  # its run stands in for one that is not begun
    assert numbers(app)["Step"] in ("0", *finished)


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
    app = show(pick(open_page("jit_grad_vmap"), "Batch size", batch_size), "jit_grad_vmap", "Gradients")
    inputs, targets = (a[:batch_size].astype(np.float64) for a in linear_regression.regression_data(0))
    expected = -2 * inputs.T @ targets / batch_size
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
    app = pick(open_page("training"), "Preset", name)
    shown = {"batch_size": 32, "learning_rate": 0.03, **PRESETS[name].settings}
    for key, value in shown.items():
        assert app.session_state[key] == value
    assert any(PRESETS[name].expect in caption.value for caption in app.caption)
    assert not any("Changed since" in caption.value for caption in app.caption)


def test_a_preset_never_presses_run_and_puts_a_run_that_goes_on_back_to_its_start() -> None:
    app = open_page("training")
    press(app, "Run")
    run_until(app, lambda shown: shown["Step"] != "0")
    pick(app, "Preset", "zero initialisation")
    assert "ready" in numbers(app)["Status"] and numbers(app)["Step"] == "0"
    press(app, "Step")
    assert run_until(app, lambda shown: shown["Step"] == "1")
    app.run()
    assert numbers(app)["Step"] == "1", "the preset is applied once"


def test_a_measurement_shows_its_records() -> None:
    app = press(show(open_page("jit_grad_vmap"), "jit_grad_vmap", "Timings"), "Measure")
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
    assert max(chart.ByteSize() - len(chart.spec) for chart in charts) < 10_000  # a specification is pushed once


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
    app = press(show(open_page("jit_grad_vmap"), "jit_grad_vmap", "Timings"), "Measure")
    executor.take_all()
    taken = captions(settle(app.run()))
    assert re.search(r"Taken at \d\d:\d\d:\d\d \(server's clock\) for batch size 32 on cpu:0", taken)
    clock.now += 40
    other = show(open_page("jit_grad_vmap"), "jit_grad_vmap", "Timings")
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
    app = press(show(open_page("jit_grad_vmap"), "jit_grad_vmap", "Timings"), "Measure")
    assert "2 measurements are before yours" in captions(app)
    executor.take()
    assert "1 measurement is before yours" in captions(app.run())
    executor.take()
    assert "measuring, in turns with the runs" in captions(app.run())
