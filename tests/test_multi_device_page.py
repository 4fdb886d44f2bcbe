"""`pages/24_multi_device.py`: what it shows of batches that do not divide, of mistakes, and of several processes."""

import sys
import time

from support import eventually
from test_pages import TIMEOUT_S, numbers, open_page, pick, press, run_until, settle

from lib.lessons.multi_device.mistakes import MISTAKES
from lib.lessons.multi_device.processes import LINE, Job


def test_a_batch_that_does_not_divide_is_explained_and_the_single_device_goes_on() -> None:
    app = pick(open_page("multi_device"), "Batch size", 2)
    assert "pmap, shard_map, jit are left out" in app.warning[0].value
    assert any("IndivisibleError" in text.value for text in app.markdown)
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    pick(app, "Mesh: data × model", "2 × 2")
    assert "pmap is left out" in app.warning[0].value
    pick(app, "Batch size", 4)
    assert not app.warning


def test_the_ways_agree_and_the_difference_is_shown() -> None:
    app = open_page("multi_device")
    pick(app, "Parameters", "hidden units over data")
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: int(shown["Step"].replace(",", "")) > 100)
    press(app, "Pause")
    assert 0 < float(numbers(app)["Difference"]) < 1e-5
    table = next(frame.value for frame in app.dataframe if "operation" in frame.value)
    assert {"all-gather", "reduce-scatter"} <= set(table["operation"][table["way"] == "shard_map"])


def test_every_mistake_shows_its_error_and_its_explanation() -> None:
    app = open_page("multi_device")
    for mistake in MISTAKES:
        pick(app, "Mistake", mistake)
        press(app, "Break it")
        settle(app)
        assert any("in JAX's own words" in text.value or "It gives" in text.value for text in app.markdown)
        assert any(MISTAKES[mistake].explanation == info.value for info in app.info)


def test_two_processes_show_their_progress_and_losses_and_stop_at_a_press() -> None:
    app = press(open_page("multi_device"), "Start two processes")
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
        app = open_page("multi_device")
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
