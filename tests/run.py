"""Sets everything up and runs every check: lint, format, types, import direction, tests, browser.

    python3 tests/run.py            all of it
    python3 tests/run.py -k engine  further arguments go to pytest

It wants Python 3.11, 3.12 or 3.13, makes a virtual environment of its own beside the code, and finds a
Chromium or installs one.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ROOT / f".venv-tests-{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def call(*command: str | Path, check: bool = True) -> int:
    print("+", *command, flush=True)
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=check, stdin=subprocess.DEVNULL).returncode


def set_up() -> None:
    """The virtual environment, with what the app and its tests need."""
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True, clear=True)
    call(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "tests/requirements.txt")


def find_browser() -> None:
    """A Chromium of the system's; else its package manager's, where we may; else Playwright's own."""
    if any(map(shutil.which, BROWSERS)):
        return
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        call("apt-get", "update", "-qq", check=False)
        call("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", check=False)
    if not any(map(shutil.which, BROWSERS)):
        call(PYTHON, "-m", "playwright", "install", "chromium")


def main(arguments: list[str]) -> int:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"Python 3.11, 3.12 or 3.13 is needed, this is {sys.version.split()[0]}; call it with one of those.")
    set_up()
    find_browser()
    checks = [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy", "--no-error-summary"),
        ("lint-imports", "--no-logo"),
    ]
    failed = [name for name, *options in checks if call(PYTHON.parent / name, *options, check=False)]
    spread = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")  # in the order of conftest.py
    workers = () if "-n" in arguments else spread
    failed += ["pytest"] if call(PYTHON, "-m", "pytest", *workers, *arguments, check=False) else []
    if failed:
        print("failed:", ", ".join(failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
