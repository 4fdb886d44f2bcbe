"""README.md: what it says to write works as it stands."""

import re
import shutil

import pytest
from conftest import ROOT
from streamlit.testing.v1 import AppTest
from test_pages import TIMEOUT_S, numbers, press, run_until, settle

from lib.lessons.jit_grad_vmap.routine import LinearRegression
from lib.live.devices import devices
from lib.live.run import LiveRun, Spec
from lib.ui import frame

LESSON, CHART = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
WORKERS = re.findall(r"^python (-m lib\S+) (.*?)  ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """A folder with the home page and the lesson of the README."""
    shutil.copy(ROOT / "pages" / "00_home.py", tmp_path)
    (tmp_path / "05_my_lesson.py").write_text(LESSON, encoding="utf-8")
    monkeypatch.setattr(frame, "PAGES", tmp_path)
    return tmp_path


def test_the_lesson_is_found_and_runs(pages):
    app = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=TIMEOUT_S).run()
    app = settle(app.switch_page(str(pages / "05_my_lesson.py")).run())
    assert app.title[0].value == "My lesson: what it is about"
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    assert float(numbers(app)["Loss"]) > 0


def test_the_chart_is_one_with_data_and_without(engine):
    names = {}
    exec(CHART, names)
    run = LiveRun(engine)
    run.configure(Spec(LinearRegression(8, "mean"), devices()["cpu:0"], 0), 0.03)
    empty = names["loss_by_the_clock"](run.look())
    assert len(empty.data["run"]) == 0 and empty.spec["title"] == "Loss by the clock"
    assert names["loss_by_the_clock"](run.look()).spec is empty.spec


def test_the_commands_of_the_workers_are_two_of_one_job():
    assert [module for module, _ in WORKERS] == ["-m lib.lessons.multi_device.worker"] * 2
    assert [options.split()[-1] for _, options in WORKERS] == ["0", "1"]
