"""`lib/ui/settings.py`: each key is one page's own, and each default is what a fresh page shows."""

import re

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_pages import FILES, TIMEOUT_S, open_page

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


def _one_of_each() -> None:
    """A script that asks with each kind of widget."""
    import streamlit as st

    from lib.ui import settings

    settings.begin()
    st.session_state["taken"] = {
        "batch_size": settings.ask("batch_size", "", [1, 2, 32]),
        "learning_rate": settings.ask("learning_rate", "", [0.01, 0.03], format_func=lambda rate: f"{rate:g}"),
        "seed": settings.ask("seed", "", 0, 9999),
        "stop_at": settings.ask("stop_at", "", 0.0, 1.0, width=100),
        "present": settings.ask("present", ""),
        "reduction": settings.ask("reduction", "", ["mean", "sum"], required=True),
        "lab_shared_x_y": settings.ask(
            "lab_shared_{}", "", ["x", "y"], part="x_y", default=["y"], selection_mode="multi"
        ),
        "lab_text": settings.ask("lab_text", "", max_chars=300),
    }
    settings.tell()


DEFAULTS = {
    "batch_size": 32, "learning_rate": 0.03, "seed": 0, "stop_at": None, "present": False, "reduction": "mean",
    "lab_shared_x_y": ["y"], "lab_text": SETTINGS["lab_text"].default,
}  # fmt: skip
MEANT = {
    "batch_size": "2", "learning_rate": "0.01", "seed": "7", "stop_at": "0.5", "present": "true", "reduction": "sum",
    "lab_shared_x_y": ["x", "y"], "lab_text": "<b>$x$</b>",
}  # fmt: skip


def _asked(address: dict) -> AppTest:
    app = AppTest.from_function(_one_of_each, default_timeout=TIMEOUT_S)
    for key, value in address.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception[0].message
    return app


@pytest.mark.parametrize(
    "garbage", ["inf", "-1e999", "nan", "-99", "x" * 1000, ["x = 1", "x = 2"], "日本語\u202e", "<script>", ""]
)
def test_what_the_address_says_and_no_widget_offers_gives_the_default_and_a_sentence(garbage) -> None:
    of_texts = {"lab_text"} if isinstance(garbage, str) and len(garbage) < 300 else set()  # any short text is one
    cleared = {"stop_at", "lab_shared_x_y"} if garbage == "" else set()
    app = _asked(dict.fromkeys(DEFAULTS, garbage))
    refused = DEFAULTS.keys() - of_texts - cleared
    taken = app.session_state["taken"]
    assert {key: taken[key] for key in refused} == {key: DEFAULTS[key] for key in refused}
    (said,) = (toast.value for toast in app.toast)
    assert set(re.findall("`(.*?)`", said)) == refused
    assert not app.run().exception and not app.toast, "it is said once"


def test_a_broken_number_where_a_whole_one_is_asked_for_is_not_cut_in_silence() -> None:
    app = _asked({"seed": "3.7", "stop_at": "0.7"})
    assert app.session_state["taken"]["seed"] == 0 and app.session_state["taken"]["stop_at"] == 0.7
    (said,) = (toast.value for toast in app.toast)
    assert re.findall("`(.*?)`", said) == ["seed"]


def test_what_widgets_offer_is_taken_from_the_address_without_a_word() -> None:
    app = _asked(MEANT)
    taken = app.session_state["taken"]
    assert taken == {
        "batch_size": 2, "learning_rate": 0.01, "seed": 7, "stop_at": 0.5, "present": True, "reduction": "sum",
        "lab_shared_x_y": ["x", "y"], "lab_text": "<b>$x$</b>",
    }  # fmt: skip
    assert not app.toast
    defaults = {"batch_size": "32", "learning_rate": "0.03", "seed": "0", "present": "False", "reduction": "mean"}
    assert not _asked(defaults).toast


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
