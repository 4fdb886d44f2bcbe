"""The home page: the finished run that stands in for one that is not begun, and the list of lessons."""

import threading

import jax
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from test_networks import in_double, numpy_forward
from test_pages import FILES, TIMEOUT_S, open_page, run_until

from lib.lessons.home import routine, view
from lib.live.devices import devices
from lib.live.engine import FutureCache, default_engine
from lib.live.run import LiveRun
from lib.ui import frame


@pytest.fixture(scope="module")
def made():
    return routine.finished_run()


def test_the_finished_run_has_learnt_and_is_that_of_a_loop_of_single_steps(made):
    task = routine.task(routine.BATCH_SIZE, routine.SEED)
    data = task.data(routine.SEED)
    state, step, losses = jax.jit(task.init)(jax.random.key(routine.SEED), data), jax.jit(task.step), []
    for _ in range(routine.STEPS):
        state, metrics = step(state, data, np.float32(routine.LEARNING_RATE))
        losses.append(float(metrics["loss"]))
    assert made["step"] == routine.STEPS
    means = np.array(losses).reshape(len(made["metrics"]["loss"]), -1).mean(1)  # buckets are full: the steps divide
    np.testing.assert_allclose(made["metrics"]["loss"][:5], means[:5], rtol=1e-3)
    probability = 1 / (1 + np.exp(-numpy_forward(in_double(state.params), task.dataset.grid[0], "tanh")[:, 0]))
    np.testing.assert_allclose(made["picture"]["grid"], probability, atol=0.02)
    assert made["observed"]["test_accuracy"][-1] > 0.95


def test_it_stands_in_for_a_run_of_the_same_data_that_is_not_begun(monkeypatch):
    class Shown(threading.Event):
        changed = threading.Event.set

    due = Shown()
    monkeypatch.setattr("lib.ui.live_view.session_feed", lambda name: due)
    ready = LiveRun(default_engine()).snapshot()._replace(picture={"a start": np.zeros(1)})
    answers = FutureCache(default_engine().background, 1)
    monkeypatch.setattr("lib.ui.live_view.answer_of", lambda device, fun, wish: answers.get(fun, fun, wish=wish))
    stand_in = view.finished(devices()["cpu:0"], routine.SEED)
    assert stand_in(ready).picture is None, "it says of a start that it is a finished run"
    assert due.wait(TIMEOUT_S)
    assert stand_in(ready).step == routine.STEPS and stand_in(ready).picture is not None
    for begun in (ready._replace(step=1), ready._replace(active=True)):
        assert stand_in(begun) is begun
    other_data = view.finished(devices()["cpu:0"], routine.SEED + 1)
    assert other_data(ready) is ready


def test_every_lesson_is_in_the_list_with_a_sentence_and_a_place_to_begin() -> None:
    assert list(view.LESSONS) == [file.stem[3:] for file in FILES]
    assert all(lesson.shows.endswith(".") and lesson.minutes > 0 for lesson in view.LESSONS.values())
    app: AppTest = open_page("home")
    captions = [caption.value for caption in app.caption]
    for lesson in view.LESSONS.values():
        assert f"{lesson.shows} {lesson.minutes} min" in captions
    start = next(file for file in FILES if file.stem[3:] == view.START)
    assert any(f"Begin with **{frame.title_of(start)}**" in text.value for text in app.markdown)
    run_until(app, lambda shown: shown["Step"] == str(routine.STEPS) and shown["Status"].endswith("finished"))
