"""What lives in the address and in a session, in two tables: whose it is, what asks for it, what it is by default."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from math import isinf
from typing import Any, NamedTuple

import streamlit as st
from streamlit.errors import StreamlitAPIException

PAGE: ContextVar[str] = ContextVar("page", default="")
"""The name of the page that is running inside the frame: its path in the address, `home` for the first."""


class Setting(NamedTuple):
    """One value in the address.

    Attributes:
        page: the only page that has it; empty if all may.
        widget: the function of Streamlit that asks for it.
        default: None where it depends on what is offered: the first option, or what the call says.
    """

    page: str
    widget: str
    default: Any = None


SETTINGS: dict[str, Setting] = {
    # On every page.
    "batch_size": Setting("", "selectbox", 32),
    "device": Setting("", "selectbox"),
    "learning_rate": Setting("", "select_slider", 0.03),
    "seed": Setting("", "number_input", 0),
    "present": Setting("", "toggle", False),
    "{}_panel": Setting("", "segmented_control"),
    "{}_mistake": Setting("", "selectbox"),
    "{}_pace": Setting("", "selectbox"),
    "{}_question": Setting("", "segmented_control"),
    "{}_search": Setting("", "text_input"),
    "{}_text": Setting("", "segmented_control"),
    # jit_grad
    "function": Setting("jit_grad", "selectbox", "double well"),
    "typed": Setting("jit_grad", "text_input", "sin(3 * x) + x**2 / 4"),
    "typed_high": Setting("jit_grad", "number_input", 5.0),
    "typed_low": Setting("jit_grad", "number_input", -5.0),
    "variables_{}": Setting("jit_grad", "pills"),
    "{}_{}": Setting("jit_grad", "number_input"),
    # jit_vmap
    "batched": Setting("jit_vmap", "selectbox"),
    "typed_batched": Setting("jit_vmap", "text_input", "w @ x + b"),
    "in_axes_{}": Setting("jit_vmap", "segmented_control", "None"),
    "shape_{}": Setting("jit_vmap", "text_input"),
    "{}_in_{}": Setting("jit_vmap", "selectbox"),
    "{}_out": Setting("jit_vmap", "selectbox", "0"),
    # jit_grad_vmap
    "reduction": Setting("jit_grad_vmap", "segmented_control", "mean"),
    "regression_log": Setting("jit_grad_vmap", "toggle", True),
    # training
    "activation": Setting("training", "selectbox", "tanh"),
    "axis": Setting("training", "segmented_control", "step"),
    "data": Setting("training", "selectbox", "circles"),
    "depth": Setting("training", "selectbox", 2),
    "examples": Setting("training", "selectbox", "all"),
    "initialisation": Setting("training", "selectbox", "scaled"),
    "optimizer": Setting("training", "selectbox", "Adam"),
    "stop_at": Setting("training", "number_input"),
    "training_log": Setting("training", "toggle", True),
    "width": Setting("training", "selectbox", 8),
    # composition
    "composition_pair": Setting("composition", "selectbox"),
    "lab_function": Setting("composition", "selectbox", "squared loss"),
    "lab_positive": Setting("composition", "toggle", False),
    "lab_shape_{}": Setting("composition", "text_input", "()"),
    "lab_shared_{}": Setting("composition", "pills"),
    "lab_text": Setting("composition", "text_input", "sin(x) * exp(-x**2 / s)"),
    "lab_view": Setting("composition", "segmented_control", "jaxpr"),
    "other_stack": Setting("composition", "text_input", "jit(grad(f))"),
    "stack": Setting("composition", "text_input", "jit(vmap(grad(f), in_axes=(None, 0, 0)))"),
    # compilation
    "compiled_depth": Setting("compilation", "selectbox", 2),
    "num_steps": Setting("compilation", "number_input", 3),
    "routine": Setting("compilation", "selectbox"),
    # pytrees
    "check_reuse": Setting("pytrees", "toggle", False),
    "container": Setting("pytrees", "segmented_control", "list of dicts"),
    "fold_in_number": Setting("pytrees", "number_input", 0),
    "operation": Setting("pytrees", "selectbox"),
    "tree_depth": Setting("pytrees", "selectbox", 1),
    # state_libraries
    "libraries_log": Setting("state_libraries", "toggle", True),
    "library": Setting("state_libraries", "segmented_control", "pytree"),
    "library_{}": Setting("state_libraries", "selectbox"),
    # custom_gradients
    "custom_gradients_pair": Setting("custom_gradients", "selectbox"),
    # control_flow
    "control_flow_pair": Setting("control_flow", "segmented_control", "cond"),
    "time_loop": Setting("control_flow", "segmented_control", "scan"),
    "predicate": Setting("control_flow", "segmented_control", "one for each example"),
    # multi_device
    "batch_axes": Setting("multi_device", "selectbox"),
    "hidden_axis": Setting("multi_device", "selectbox"),
    "mesh": Setting("multi_device", "selectbox"),
    "sharding_log": Setting("multi_device", "toggle", True),
    # debugging
    "calls_back": Setting("debugging", "segmented_control", "every 10 steps"),
    "debug_tool": Setting("debugging", "segmented_control"),
    "gallery": Setting("debugging", "pills"),
}
"""By key; `{}` in a key stands for what tells a family of settings apart."""


class Kept(NamedTuple):
    """One value that a visitor's session keeps, beside what the widgets are set to.

    Attributes:
        page: the only page that has it; empty if all may.
        what: what it is.
    """

    page: str
    what: str


SESSION: dict[str, Kept] = {
    "_feed_{}": Kept("", "the `Feed` of a live run, and with it the run"),
    "_start_{}": Kept("", "what a run is, and the picture of its state before the first step, on its way"),
    "_guesses": Kept("", "what each question's control is set to, by its key"),
    "_measurement_{}": Kept("", "the `Measurement` of the last press of a Measure button"),
    "_prediction_{}": Kept("", "the last `Prediction` to each question that was checked, by its name"),
    "_wish": Kept("", "the `Wish` with which the last run of the script has asked for what it shows"),
    "_visitor": Kept("", "an object that tells this visitor from others in the line of measurements"),
    "_push_failed": Kept("", "whether no frame has come through to this browser"),
    "_read_{}": Kept("", "what was made of the last text of an input that had a sense"),
    "{}_broken": Kept("", "the mistake that was provoked last"),
    "_shown": Kept("", "what the shared controls have shown last, by key"),
    "_lent": Kept("", "what a page has set of the shared controls, and what they were before"),
    "_room": Kept("", "the secret of the room that this visitor teaches in; also `teach` in the address"),
    "_left": Kept(
        "", "the code of the lecture that this visitor has left to try by himself; also `left` in the address"
    ),
    "_refused": Kept("", "why no room could be opened"),
    "_pins": Kept("training", "loss curves that are kept in the chart, by name"),
    "_pinned": Kept("training", "how many curves have been pinned"),
    "_csv": Kept("training", "the visitor's own file, its table and the dataset made of it"),
    "problem_{}": Kept("composition", "what is wrong with a number that was typed"),
    "_jit_cache_{}": Kept("compilation", "the `JitCache` of the visitor's own function"),
    "_key_tree": Kept("pytrees", "the `Tree` of keys that was grown"),
    "_job": Kept("multi_device", "the `Job` of two processes, and the settings it was started with"),
    "_ticket": Kept("debugging", "the seed of the run, and under which number its messages are kept"),
    "_nan_step": Kept("debugging", "the `Step` that is looked into for a NaN"),
    "_terminal": Kept("debugging", "whether the program in a terminal was asked for"),
}
"""By key, as `SETTINGS`."""

MAX_CHARS = 300
"""Of a value in the address, where its widget has no bound of its own."""
DEFAULT_ARGUMENT = {"segmented_control": "default", "pills": "default", "selectbox": "index"}


_refused: ContextVar[list[str] | None] = ContextVar("refused", default=None)


def begin() -> None:
    """Begins a run of the script."""
    _refused.set([])


def tell() -> None:
    """Says which settings of the address were not taken."""
    if names := _refused.get():
        st.toast(
            f"The address asks for what is not offered here, in `{'`, `'.join(names)}`: the default is taken. Choose on the page.",
            icon=":material/link_off:", duration="long",
        )  # fmt: skip


def ask(key: str, label: str, *offered: Any, part: Any = (), default: Any = None, **options: Any) -> Any:
    """Asks for a setting, by its widget. What the address says for it and is not offered gives the default.

    Args:
        key: of `SETTINGS`.
        offered: what the widget takes behind its label: the options, or the lowest and the highest number.
        part: what stands for `{}` in the key; a tuple for several.
        default: where the table has none. A number without one is empty at first.
        options: further arguments of the widget.

    Raises:
        KeyError: the setting is not in the table, or is another page's.
    """
    setting = SETTINGS[key]
    if setting.page and PAGE.get() and setting.page != PAGE.get():
        raise KeyError(f"The setting {key!r} belongs to the page {setting.page!r}; give this one a name of its own.")
    default = setting.default if default is None else default
    parts = part if isinstance(part, tuple) else (part,)
    if default is not None:
        argument = DEFAULT_ARGUMENT.get(setting.widget, "value")
        options[argument] = list(offered[0]).index(default) if argument == "index" else default
    elif setting.widget == "number_input":
        options["value"] = None
    name = key.format(*parts)
    said = st.query_params.get_all(name)
    bind = {"bind": "query-params"}
    if said and not _can_take(setting.widget, said, offered, options):
        bind = {}  # in this run, after which it is not in the address
        with suppress(StreamlitAPIException):  # it has been bound before: Streamlit itself takes it out
            del st.query_params[name]
    value = getattr(st, setting.widget)(label, *offered, key=name, **bind, **options)
    # Streamlit takes out of the address what it cannot read, and what is the default.
    if said and name not in st.query_params and not _same(said, value, options.get("format_func", str)):
        refused = _refused.get()
        if refused is not None:
            refused.append(name)
    return value


def _can_take(widget: str, said: list[str], offered: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a widget can be shown what the address says, sense or not: Streamlit fails at an infinite number, clears what
    is required, and takes texts of any length and the last of several values."""
    if (len(said) > 1 and options.get("selection_mode") != "multi") or (options.get("required") and not any(said)):
        return False
    if widget == "number_input":
        with suppress(ValueError):
            number = float(said[-1])
            return number.is_integer() or not (isinf(number) or any(type(bound) is int for bound in offered))
    return len(said[-1]) <= options.get("max_chars", MAX_CHARS)


def _same(said: list[str], value: Any, written: Any) -> bool:
    """Whether a value is what the address says."""
    if isinstance(value, list):
        return set(said) == {written(part) for part in value}
    if value is None or isinstance(value, str | bool):
        return said[-1].lower() == written("" if value is None else value).lower()
    with suppress(ValueError):
        return float(said[-1]) == value
    return said[-1] == written(value)


def visitor() -> object:
    """What tells this visitor from others in the line of measurements."""
    return st.session_state.setdefault("_visitor", object())
