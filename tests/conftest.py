"""What every test file shares."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # as `streamlit run` does

import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Before anything of `lib` is imported. Left out are the rooms whose tests give NumPy's arrays to functions shown with
# `Array` (jit_grad_vmap, custom_gradients, control_flow, debugging), and what tests give fakes to: the devices and queues
# of the engine and its runs, and the charts of `lib.ui`; and `composition.transforms`: a function inside another is checked
# anew each time it is made, and its loops and differences make one at each turn, which took thirty times as long.
CHECKED = (
    "lib.routines", "lib.measure",
    "lib.live.feed", "lib.live.history", "lib.live.pace", "lib.live.program", "lib.live.recorder",
    "lib.lessons.composition.levels", "lib.lessons.composition.measure", "lib.lessons.composition.routine",
    "lib.lessons.composition.view", "lib.lessons.jit_grad", "lib.lessons.jit_vmap", "lib.lessons.multi_device",
    "lib.lessons.pytrees", "lib.lessons.state_libraries", "lib.lessons.training",
)  # fmt: skip
install_import_hook(CHECKED, "checked.checked")

from support import Clock, ManualExecutor  # noqa: E402

from lib.live import devices  # noqa: E402, F401  the simulated devices, before JAX's backend starts
from lib.live.engine import Engine, default_engine  # noqa: E402
from lib.live.measurement import Measurements  # noqa: E402
from lib.live.run import LiveRun  # noqa: E402


@pytest.fixture(autouse=True)
def scripts_end(monkeypatch):
    """In a test of a page its script ends, though a run goes on."""
    monkeypatch.setattr("lib.ui.waiting.ENDLESS_S", 0.1)


@pytest.fixture
def own_measurements(monkeypatch):
    """The test's page is shown nothing that another test has measured."""
    line = Measurements(default_engine())
    monkeypatch.setattr("lib.ui.panels.default_measurements", lambda: line)


@pytest.fixture
def make_engine():
    """Makes engines; when the test is over nothing of theirs computes or compiles any more."""
    made = []

    def make(*args):
        made.append(Engine(*args))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make_engine):
    """An engine as the app has it."""
    return make_engine()


@pytest.fixture
def executor():
    """A queue in which nothing happens until the test says so."""
    return ManualExecutor()


@pytest.fixture
def manual_engine(make_engine, executor):
    return make_engine(lambda name: executor)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_run(make_engine):
    """Makes runs; at the end they are reset, so that none goes on into the next test."""
    made = []

    def make(engine, **kwargs):
        made.append(LiveRun(engine, **kwargs))
        return made[-1]

    yield make
    for run in made:
        run.reset()
