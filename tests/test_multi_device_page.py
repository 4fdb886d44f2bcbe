"""`pages/24_multi_device.py`: what it shows of batches that do not divide, of mistakes, and of several processes."""

import sys
import time

import numpy as np
from streamlit.testing.v1 import AppTest
from support import eventually
from test_first_pages import show
from test_pages import TIMEOUT_S, numbers, open_page, pick, press, run_until, settle

from lib.lessons.multi_device import view
from lib.lessons.multi_device.many_devices import ManyDevices, placement
from lib.lessons.multi_device.mistakes import MISTAKES
from lib.lessons.multi_device.processes import LINE, Job
from lib.lessons.multi_device.routine import BATCH_AXES, HIDDEN_AXES, Layout
from lib.lessons.multi_device.snippet import line
from lib.live.devices import devices

CPU = devices()["cpu:0"]


def panel(name: str) -> AppTest:
    app = pick(open_page("multi_device"), "Device", "cpu:0")  # where there is a GPU, it is that and alone
    return show(pick(app, "Mesh: data × model", "4 × 1"), "multi_device", name)


def warning(app: AppTest) -> str:
    return next((caption.value for caption in app.caption if "left out" in caption.value), "")


def test_a_batch_that_does_not_divide_is_explained_and_the_single_device_goes_on() -> None:
    app = pick(panel("Code"), "Batch size", 2)
    assert "pmap, shard_map, jit are left out" in warning(app)
    assert "keep the batch whole on every device" in warning(app)
    assert any("IndivisibleError" in text.value for text in app.markdown)
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    pick(app, "Mesh: data × model", "2 × 2")
    assert warning(app).endswith("so pmap is left out. Choose a larger batch or a smaller mesh.")
    pick(app, "Batch size", 4)
    assert not warning(app)


def test_a_single_accelerator_is_told_where_more_devices_are(monkeypatch) -> None:
    monkeypatch.setattr("jax.device_count", lambda platform: {"cpu": 4, "gpu": 1}[platform])
    task = ManyDevices(32, Layout((1, 1), ("data",)))
    assert "Choose cpu:0" in view.advice(task, "gpu")
    assert not view.advice(task, "cpu")


def test_the_code_follows_the_three_selectors_and_the_batch_size() -> None:
    app = panel("Code")
    pick(app, "Mesh: data × model", "2 × 2")
    pick(app, "Parameters", "hidden units over model")
    pick(app, "Batch size", 8)
    code, said = (code.value for code in app.code[:2])
    for part in ("jax.make_mesh((2, 2)", 'NamedSharding(mesh, P("data"))', 'NamedSharding(mesh, P(None, "model"))'):
        assert part in code
    assert said.splitlines()[:3] == [f"{name} {shape} on each device" for name, shape in
                                     (("inputs", "(4, 4)"), ("w1", "(4, 16)"), ("w2", "(16,)"))]  # fmt: skip
    assert "loss" in said.splitlines()[3]


def test_the_ways_agree_and_the_difference_is_shown() -> None:
    app = panel("Inside")
    pick(app, "Parameters", "hidden units over data")
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: int(shown["Step"].replace(",", "")) > 100)
    press(app, "Pause")
    assert 0 < float(numbers(app)["Difference"]) < 1e-5
    table = next(frame.value for frame in app.dataframe if "operation" in frame.value)
    assert {"all-gather", "reduce-scatter"} <= set(table["operation"][table["way"] == "shard_map"])
    before = len(app.get("vega_lite_chart"))
    assert len(show(app, "multi_device", "Difference").get("vega_lite_chart")) == before + 1


def test_every_mistake_shows_its_error_and_its_explanation_and_no_folder_of_the_server() -> None:
    app = panel("Break it")
    for mistake in MISTAKES:
        pick(app, "Mistake", mistake)
        press(app, "Break it")
        settle(app)
        assert any("in JAX's own words" in text.value or "It gives" in text.value for text in app.markdown)
        assert any(MISTAKES[mistake].explanation == info.value for info in app.info)
        assert not any("/lib/" in code.value for code in app.code)


# What is drawn.


def box(name: str) -> list[float]:
    left, right, bottom, top = view.BOXES[name]
    return [left, right, bottom, top]


def rectangles(layout: Layout, name: str, batch_size: int = 8) -> np.ndarray:
    """float[cards, 5] of an array: left, right, bottom, top, device."""
    arrays = [held for held in placement(layout, CPU, batch_size) if held.name == name]
    columns = view.cards(arrays)
    return np.array([columns[c] for c in ("x", "x2", "y", "y2", "device")], float).T


def test_the_pieces_of_a_split_array_lie_side_by_side_and_fill_its_place() -> None:
    cards = rectangles(Layout((4, 1)), "inputs")
    left, right, bottom, top = box("inputs")
    assert cards[:, 4].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(cards[:, :2], [[left, right]] * 4)
    edges = np.linspace(top, bottom, 5)  # the first rows of a batch are at the top
    np.testing.assert_allclose(cards[:, 3], edges[:-1], atol=1e-9)
    np.testing.assert_allclose(cards[:, 2], edges[1:], atol=1e-9)


def test_the_copies_of_an_array_that_is_whole_everywhere_lie_upon_each_other() -> None:
    cards = rectangles(Layout((4, 1)), "w1")
    left, right, bottom, top = box("w1")
    assert cards[:, 4].tolist() == [3, 2, 1, 0], "the first device's copy is in front"
    np.testing.assert_allclose(np.ptp(cards[:, 1] - cards[:, 0]), 0, atol=1e-9)
    np.testing.assert_allclose(np.diff(cards[:, 0]), -view.CARD)
    assert cards[:, 0].min() == left and cards[:, 1].max() == right
    assert cards[:, 2].min() == bottom and cards[:, 3].max() == top
    assert (cards[:, 1] - cards[:, 0] > 0.8 * (right - left)).all(), "no piece of it: each is nearly all of it"


def test_a_piece_that_two_devices_have_is_two_cards_in_its_own_place() -> None:
    cards = rectangles(Layout((2, 2), ("data",), "model"), "w1")
    left, right, *_ = box("w1")
    middle = (left + right) / 2
    assert cards[:, 4].tolist() == [2, 0, 3, 1]
    assert (cards[:2, 1] <= middle).all() and (cards[2:, 0] >= middle).all()


def test_the_picture_says_in_words_what_each_device_has() -> None:
    chart = view.placement(placement(Layout((2, 2), ("data",), "model"), CPU, 8))
    assert "inputs: [4, 4] of [8, 4]" in chart.alt and "w1: [4, 16] of [4, 32]" in chart.alt
    assert "b2: a number, whole" in chart.alt
    assert chart.columns["numbers"]["text"][0] == "0 1"
    assert view.placement(()).spec == chart.spec, "another layout changes the data alone"


def test_no_difference_is_drawn_at_0(make_run, manual_engine, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr(view.charts, "show", shown.append)
    monkeypatch.setattr(view.st, "caption", lambda _: None)
    apart = np.array([0, 1e-7, 0], np.float32)
    snapshot = (
        make_run(manual_engine)
        .snapshot()
        ._replace(coordinates={"step": np.arange(1.0, 4)}, metrics={"difference": apart, "jit": apart, "loss": apart})
    )
    view.draw_difference(snapshot)
    np.testing.assert_array_equal(shown[0].columns["apart"]["apart"], apart)
    scale = shown[0].spec["layer"][0]["encoding"]["y"]["scale"]
    assert scale["type"] == "symlog" and scale["domain"][0] == 0


def test_the_line_of_code_is_short_and_names_what_is_split() -> None:
    layouts = [
        Layout(shape, batch, hidden)
        for shape in ((4, 1), (2, 2)) for batch in BATCH_AXES.values() for hidden in HIDDEN_AXES.values()
    ]  # fmt: skip
    assert max(len(line(layout)) for layout in layouts) <= 90
    assert line(Layout((2, 2), ("data", "model"))) == (
        'jax.jit(train_step)  # mesh 2 × 2; batch P(("data", "model")); w1 P()'
    )
    assert line(Layout((4, 1), (), "data")) == 'jax.jit(train_step)  # mesh 4 × 1; batch P(); w1 P(None, "data")'


# Several processes.


def test_two_processes_show_their_progress_and_losses_and_stop_at_a_press() -> None:
    app = press(panel("Processes"), "Start two processes")
    end = time.monotonic() + TIMEOUT_S
    while not any("first loss after" in text.value for text in app.markdown):
        assert time.monotonic() < end
        time.sleep(0.2)
        settle(app.run())
    job, _ = app.session_state["_job"]
    assert any("process 0: **step" in text.value for text in app.markdown)
    press(app, "Stop them")
    while job.look().active:
        assert time.monotonic() < end
        time.sleep(0.05)
    settle(app.run())
    assert any(info.value == "Stopped." for info in app.info) and LINE.ahead(job) == 0
    pick(app, "Batch size", 1)
    assert next(button for button in app.button if button.label == "Start two processes").disabled


def test_who_waits_for_a_job_of_others_sees_the_place_in_the_line_and_watches_that_job() -> None:
    step = """{"event": "step", "step": 9, "loss": 1.5}"""
    talk = f"import time; print({step!r}, flush=True); time.sleep(60)"
    job = Job([[sys.executable, "-c", talk]] * 2, lease_s=60)
    try:
        eventually(lambda: job.look().first_loss_s)
        app = panel("Processes")
        assert any("1 job is running or waiting now" in caption.value for caption in app.caption)
        press(app, "Start two processes")
        assert any("1 job is before yours" in caption.value for caption in app.caption)
        assert any("process 0: **step 9**" in text.value for text in app.markdown)
        mine, _ = app.session_state["_job"]
        mine.stop()
        eventually(lambda: not mine.look().active)
    finally:
        job.kill()
    eventually(lambda: not job.look().active)
