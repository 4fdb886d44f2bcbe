"""A monkey on some pages: what nobody thought of pressing, and when."""

from collections.abc import Iterator
from pathlib import Path

import harness
import monkey
import pytest
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with harness.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server() -> Iterator[harness.Server]:
    with harness.serve() as server:
        yield server


@pytest.mark.parametrize("path", ["training", "composition", "compilation"])
def test_a_page_survives_a_monkey(chromium: Browser, server: harness.Server, path: str, tmp_path: Path) -> None:
    outcome = monkey.play(chromium, server, path, seed=0, seconds=6, folder=tmp_path)
    assert outcome.acts > 5
    assert not outcome.failure
