"""What every test file shares."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # as `streamlit run` does

import harness  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402
from playwright.sync_api import Browser, Page  # noqa: E402

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

if jax.default_backend() != "cpu":  # as many digits as on a CPU, here and in processes that tests start
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    jax.config.update("jax_default_matmul_precision", "highest")

# The files that take longest, the longest first: begun last, one would go on alone.
LONGEST = (
    "transforms", "stage", "pages", "export", "browser", "snippets", "lecture", "state_libraries", "debugging", "monkey",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest files; within a file, and among the others, the order stays."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def scripts_end(monkeypatch):
    """In a test of a page its script ends, though a run goes on."""
    monkeypatch.setattr("lib.ui.waiting.ENDLESS_S", 0.1)


@pytest.fixture
def on_cpu():
    """For what is so on a CPU, and otherwise on a GPU."""
    with jax.default_device(jax.devices("cpu")[0]):
        yield


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


# Streamlit's client says when it is cut off, which one test does to it.
CUT_OFF = re.compile(r"when disconnected from server|CLOSING or CLOSED")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser."""
    with harness.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """The address of a server that must write no error."""
    yield from served()


@pytest.fixture
def fresh_app() -> Iterator[str]:
    """As `app`, of a server that nobody has asked for anything yet."""
    yield from served()


def served() -> Iterator[str]:
    with harness.serve() as server:
        yield server.url
        assert not server.errors(), server.log()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A visitor with a 1920 x 1080 screen, who must see no error in the console and no exception on the page."""
    yield from visitor(chromium, harness.SCREEN)


@pytest.fixture
def small_page(chromium: Browser) -> Iterator[Page]:
    """As `page`, with a 1280 x 720 screen."""
    yield from visitor(chromium, {"width": 1280, "height": 720})


@pytest.fixture
def phone(chromium: Browser) -> Iterator[Page]:
    """As `page`, on a phone."""
    yield from visitor(chromium, {"width": 390, "height": 844}, is_mobile=True, has_touch=True)


def visitor(chromium: Browser, screen: dict[str, int], **options: bool) -> Iterator[Page]:
    context = chromium.new_context(viewport=screen, **options)
    page = context.new_page()
    errors = harness.console_errors(page)
    yield page
    assert not page.get_by_test_id("stException").count()
    assert not [error for error in errors if not CUT_OFF.search(error)]
    context.close()
