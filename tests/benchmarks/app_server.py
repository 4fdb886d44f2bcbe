"""The app as a process of its own, as a visitor's machine would serve it."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def busy_s() -> float:
    """Processor time that all processes of this machine have used, in seconds; NaN where Linux does not say."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    except OSError:
        return math.nan
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class AppServer:
    """Starts the app, and ends it at the end of a `with` block.

    Args:
        options: further options of `streamlit run`, such as `--server.disconnectedSessionTTL=5`.
    """

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # A file: a pipe that nobody reads would fill up and stop the server.
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log", encoding="utf-8")  # noqa: SIM115  ends in __exit__
        self._command = [
            sys.executable, "-m", "streamlit", "run", "dashboard.py", "--server.headless=true",
            "--server.address=127.0.0.1", f"--server.port={self.port}", "--browser.gatherUsageStats=false",
            "--server.fileWatcherType=none", *options,
        ]  # fmt: skip

    def __enter__(self) -> AppServer:
        self.begun = time.monotonic()
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=self._log, stderr=subprocess.STDOUT)
        return self

    def wait(self, timeout_s: float = 60.0) -> AppServer:
        """Returns when the server answers."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.alive():
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1):
                    return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"The server does not answer after {timeout_s:g} s. It said:\n{self.log()}")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._log.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        """Everything that the server has written."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def tracebacks(self) -> int:
        """How many exceptions the server has written."""
        return self.log().count("Traceback (most recent call last)")

    def memory_mb(self) -> float:
        """Memory that is resident, in MB of 10^6 bytes."""
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, text=True, check=True)
        return int(said.stdout) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Processor time used, in seconds."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.nan
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
