"""A server of the app and a browser to look at it: for the tests, the monkey and the benchmarks."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
PAGES = ["", *(file.stem[3:] for file in sorted(ROOT.glob("pages/[0-9][0-9]_*.py"))[1:])]
"""The path of each page in the address, the first page's empty."""

ARGUMENTS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
SCREEN = {"width": 1920, "height": 1080}
TIMEOUT_MS = 180_000
STANDS = '[data-testid="stApp"][data-test-script-state="notRunning"]'
"""The page while no script runs. Live pages run one at each tick: wait for it before Run is pressed."""
HARMLESS = re.compile(r"404 \(Not Found\) http://[^/]+/\w+/_stcore/(health|host-config)")
"""Streamlit's client looks for its server below a deep link first, and is told that it is not there."""

LEFT = re.compile(
    r"^(.*\bERROR\b.*\n)?Traceback .*\n((\s.*|During handling .*|Traceback .*|RuntimeError: .*|starlette\.\S*: .*|)\n)*?"
    r'starlette\.\S*Disconnected: Cannot call "send" once a close message has been sent',
    re.MULTILINE,
)
"""Streamlit's server closes a connection that the visitor has left while it was sending: nobody is there any more."""


@dataclass(frozen=True)
class Server:
    """A running server of the app.

    Attributes:
        begun: when its process was started, on the clock of `time.monotonic`.
    """

    process: subprocess.Popen
    url: str
    log_file: Path
    begun: float = field(default_factory=time.monotonic)

    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        """Everything that the server has written, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log_file.read_text(encoding="utf-8", errors="replace"))

    def errors(self) -> int:
        """How many exceptions and errors the server has written, but for the harmless."""
        return len(re.findall(r"Traceback \(most recent call last\)|\bERROR\b", LEFT.sub("", self.log())))

    def memory_mb(self) -> float:
        """Memory that is resident, in MB of 10^6 bytes."""
        command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Processor time used, in seconds; NaN where Linux does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.nan
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for_health(self, timeout_s: float = 60.0) -> None:
        """Returns when the server answers.

        Raises:
            RuntimeError: it has ended, or says nothing in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.alive():
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"The server does not answer after {timeout_s:g} s. It said:\n{self.log()}")


def children(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    said = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    own = [int(child) for child in said.split()]
    return own + [grandchild for child in own for grandchild in children(child)]


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


def busy_s() -> float:
    """Processor time that all processes of this machine have used, in seconds; NaN where Linux does not say."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    except OSError:
        return math.nan
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serve(
    *options: str, script: str = "dashboard.py", base: str = "", port: int = 0, env: dict[str, str] | None = None
) -> Iterator[Server]:
    """Starts the app as the README does, waits until it answers, and ends it at the end of the `with` block.

    Args:
        options: further options of `streamlit run`. What a visitor's server spends, none may save.
        script: another app, by its path from the root of the repository.
        base: path below which the app is served, such as `/lessons`.
        port: where it listens; by default where nobody does.
        env: further variables of its environment.
    """
    port = port or free_port()
    command = [
        sys.executable, "-m", "streamlit", "run", script,
        "--server.headless=true", "--server.address=127.0.0.1", f"--server.port={port}",
        f"--server.baseUrlPath={base}", *options,
    ]  # fmt: skip
    # A file: a pipe that nobody reads would fill up and stop the server.
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        environment = {**os.environ, **(env or {})}
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            server = Server(process, f"http://127.0.0.1:{port}{base}", Path(log.name))
            server.wait_for_health()
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Dask:
    """A scheduler and worker processes on this machine, started as the README says.

    Attributes:
        workers: the processes by name.
    """

    def __init__(self) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.workers: dict[str, subprocess.Popen] = {}
        # Workers unpickle what tests define.
        self._env = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "tests"),
            "DASK_DISTRIBUTED__WORKER__USE_FILE_LOCKING": "False",
        }
        self._scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2])

    def _start(self, *command: str, before: tuple[str, ...] = ()) -> subprocess.Popen:
        whole = [*before, sys.executable, "-m", "dask", *command, "--no-dashboard"]
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(whole, cwd=ROOT, env=self._env, **output)

    def start_worker(self, name: str, core: int | None = None) -> None:
        """Starts a worker process, on one core if it is named; it takes some seconds until it has joined."""
        command = ("worker", self.address, "--no-nanny", "--nthreads", "1", "--name", name, "--host", "127.0.0.1")
        before = () if core is None else ("taskset", "-c", str(core))
        self.workers[name] = self._start(*command, before=before)

    def kill(self, name: str) -> None:
        """Ends a worker process at once."""
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        """Ends everything."""
        for name in list(self.workers):
            self.kill(name)
        self._scheduler.kill()
        self._scheduler.wait()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, or Playwright's own if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def console_errors(page: Page) -> list[str]:
    """The errors that a page writes to the browser's console from now on, but for the harmless; the list grows."""
    errors: list[str] = []

    def add(error: str) -> None:
        if not HARMLESS.search(error):
            errors.append(error)

    page.on(
        "console", lambda message: add(f"{message.text} {message.location['url']}") if message.type == "error" else 0
    )
    page.on("pageerror", lambda error: add(f"{error}\n{error.stack}"))
    return errors


def open_page(page: Page, url: str) -> Page:
    """Opens an address and waits until the page is complete."""
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(url)
    settle(page)
    return page


def settle(page: Page) -> None:
    """Waits until the script has run, its footer stands, and the browser has loaded what draws its widgets."""
    page.wait_for_selector("h1")
    page.get_by_text("Compile log:").wait_for()
    page.wait_for_selector(STANDS)
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()


def stats(page: Page) -> dict[str, str]:
    """The row of numbers of the live run, read at one moment."""
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.stats > div')].map(e => e.innerText.split('\\n')))"
    )


def step_of(page: Page) -> int:
    return int(stats(page)["Step"].replace(",", ""))


def wait_for_stat(page: Page, name: str, pattern: str) -> None:
    """Waits until a number of the live run matches a regular expression."""
    page.wait_for_function(
        """([name, pattern]) => [...document.querySelectorAll(".stats > div")].some(stat =>
            stat.querySelector(".name").textContent === name
            && new RegExp(pattern).test(stat.querySelector(".value").textContent))""",
        arg=[name, pattern],
    )


def frames_of(page: Page) -> int:
    """How many frames of the live run have been drawn."""
    return int(page.evaluate("+(document.querySelector('.live').dataset.frames ?? 0)"))


def wait_for_frames(page: Page, count: int) -> None:
    """Waits until so many further frames of the live run are drawn."""
    page.wait_for_function(
        "count => +document.querySelector('.live').dataset.frames >= count", arg=frames_of(page) + count
    )


def wait_for_rest(page: Page, seconds: float = 1.5) -> None:
    """Waits until no frame of the live run has been drawn for so long: nothing is under way any more."""
    page.evaluate("window.restFrames = undefined")  # counted from now, not from an earlier rest
    page.wait_for_function(
        """ms => {
            const frames = document.querySelector(".live").dataset.frames, now = performance.now();
            if (window.restFrames === undefined || frames !== window.restFrames) [window.restFrames, window.restSince] = [frames, now];
            return now - window.restSince > ms;
        }""",
        arg=1000 * seconds,
    )


def choose(page: Page, label: str, option: str) -> None:
    """Chooses an option of a select box."""
    page.get_by_test_id("stSelectbox").filter(has_text=label).first.locator("input").click()
    page.get_by_role("option", name=option, exact=True).click()


def set_slider(page: Page, label: str, option: str) -> None:
    """Moves a slider with the keyboard until it shows an option."""
    slider = page.get_by_test_id("stSlider").filter(has_text=label)
    thumb = slider.get_by_role("slider")
    thumb.focus()
    for key in ("Home", *["ArrowRight"] * 40):
        page.keyboard.press(key)
        if slider.get_by_test_id("stSliderThumbValue").inner_text().strip() == option:
            break
    else:
        raise AssertionError(f"The slider {label} has no {option}.")
    page.keyboard.press("Tab")
