"""`lib/ui/settings.py`: each key is one page's own, and each default is what a fresh page shows."""

import re

import pytest
import streamlit as st
from test_pages import FILES, open_page

from lib.ui import controls, frame, settings
from lib.ui.settings import SESSION, SETTINGS, ask

WIDGETS = ("selectbox", "select_slider", "text_input", "number_input", "toggle", "pills", "segmented_control")


def test_every_page_and_widget_of_the_table_exists() -> None:
    pages = {"", *(file.stem[3:] for file in FILES)}
    assert {setting.page for setting in SETTINGS.values()} <= pages
    assert {setting.widget for setting in SETTINGS.values()} <= set(WIDGETS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_fresh_page_shows_the_defaults_of_the_table(file) -> None:
    app = open_page(file.stem[3:])
    shown = {}
    for kind in WIDGETS:
        for widget in app.get("button_group" if kind in ("pills", "segmented_control") else kind):
            if widget.key and widget.key in SETTINGS:
                shown[widget.key] = widget.value
    assert {"batch_size", "learning_rate", "device", "seed"} <= set(shown)
    for key, value in shown.items():
        setting = SETTINGS[key]
        assert setting.page in ("", file.stem[3:] if file != FILES[0] else "home")
        if setting.default is not None:
            assert (value[0] if isinstance(value, list) else value) == setting.default


def test_another_page_s_setting_is_refused() -> None:
    token = settings.PAGE.set("training")
    try:
        with pytest.raises(KeyError, match="belongs to the page 'jit_grad_vmap'"):
            ask("reduction", "Reduction", ["mean", "sum"])
    finally:
        settings.PAGE.reset(token)


def test_no_widget_is_bound_to_the_address_but_through_the_table() -> None:
    folder = frame.PAGES.parent
    files = [*folder.glob("pages/*.py"), *folder.glob("lib/**/*.py")]
    bound = re.compile(r"st\.(\w+)\((?:[^()]|\([^()]*\))*bind=", re.DOTALL)
    found = {(file.name, name) for file in files for name in bound.findall(file.read_text(encoding="utf-8"))}
    assert {name for _, name in found} <= {"expander"}, "an expander tells by `.open` whether it is, and has no default"
    assert hasattr(st, "expander")


def test_what_a_session_keeps_is_in_its_table() -> None:
    folder = frame.PAGES.parent
    files = [*folder.glob("pages/*.py"), *folder.glob("lib/**/*.py")]
    source = "\n".join(file.read_text(encoding="utf-8") for file in files if file.name != "settings.py")
    literal = re.findall(r'session_state(?:\[|\.\w+\(|\.pop, args=\()f?"(\w*(?:{\w+})?\w*)"', source)
    made = re.findall(r'key = f?"(\w*(?:{[\w.]+})?\w*)"', source)
    keys = {re.sub(r"{.*?}", "{}", key) for key in [*literal, *made]}
    assert {"_pins", "_ticket", "_feed_{}", "problem_{}"} <= keys
    settings_and_presses = {*SETTINGS, "preset"}
    assert {key for key in keys if key not in settings_and_presses} <= {*SESSION}
    assert not {*SETTINGS} & {*SESSION}


@pytest.fixture
def session(monkeypatch):
    """A visitor's session, without Streamlit."""
    state: dict = {"batch_size": 8}
    monkeypatch.setattr(controls.st, "session_state", state)
    return state


def open_controls(page):
    token = settings.PAGE.set(page)
    controls._take_back()
    settings.PAGE.reset(token)


def test_what_a_page_sets_of_the_shared_controls_is_taken_back_on_the_next_page(session):
    controls.lend("training", batch_size=32, learning_rate=10.0)
    open_controls("training")
    assert (session["batch_size"], session["learning_rate"]) == (32, 10.0)
    open_controls("jit_grad")
    assert (session["batch_size"], session["learning_rate"]) == (8, 0.03)
    session["learning_rate"] = 10.0
    open_controls("jit_grad")
    assert session["learning_rate"] == 10.0, "it is taken back once"


def test_what_a_visitor_has_changed_since_is_not_taken_back(session):
    controls.lend("training", batch_size=32, learning_rate=10.0)
    session["batch_size"] = 128
    controls.lend("training", batch_size=64, learning_rate=0.003)
    session["learning_rate"] = 0.3
    open_controls("jit_grad")
    assert (session["batch_size"], session["learning_rate"]) == (8, 0.3)
