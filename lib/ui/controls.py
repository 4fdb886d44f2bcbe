"""The controls in the bar of every page. They live in the address, so that a link restores them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import streamlit as st

from lib.live.cluster import all_devices, default_cluster
from lib.live.devices import devices
from lib.ui.settings import PAGE, SETTINGS, ask

BATCH_SIZES = [2**i for i in range(13)]
LEARNING_RATES = [1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
MAX_SEED = 9999
_LENT = "_lent"
_SHOWN = "_shown"

default_cluster()  # it takes some seconds to come together: from when the server starts, not from the first visitor on


class Controls(NamedTuple):
    """What the bar says. The device is one of this process, a `jax.Device`, or stands for one elsewhere."""

    batch_size: int
    learning_rate: float
    device: Any
    device_name: str
    seed: int

    def here(self) -> Controls:
        """The same on this process's own device, for what elsewhere cannot be done."""
        if isinstance(self.device, jax.Device):
            return self
        name, device = next(iter(devices().items()))
        return self._replace(device=device, device_name=name)

    def __str__(self) -> str:
        return f"batch size {self.batch_size} on {self.device_name}"


class Lent(NamedTuple):
    """What a page has set of the shared controls.

    Attributes:
        page: the one that has.
        before: what was set, by key.
        now: what it has set instead.
    """

    page: str
    before: dict[str, Any]
    now: dict[str, Any]


def lend(page: str, **values: Any) -> None:
    """Sets shared controls for a page; the next page finds them as they were. To be called by a widget's callback: the
    controls are drawn before the page runs."""
    lent: Lent | None = st.session_state.get(_LENT)
    before = {key: st.session_state.get(key, SETTINGS[key].default) for key in values} | (lent.before if lent else {})
    st.session_state[_LENT] = Lent(page, before, values)
    st.session_state.update(values)


def _take_back() -> None:
    """Puts back what another page has set, unless the visitor has changed it since."""
    lent: Lent | None = st.session_state.get(_LENT)
    if lent is None or lent.page == PAGE.get():
        return
    del st.session_state[_LENT]
    for key, value in lent.now.items():
        if st.session_state.get(key) == value:
            st.session_state[key] = lent.before[key]


def _bring_back() -> None:
    """Sets what was set before and is gone: who goes to another page before a widget has come to his browser leaves its
    value behind, and that in the address too."""
    for key, value in st.session_state.get(_SHOWN, {}).items():
        if key not in st.session_state and key not in st.query_params:
            st.session_state[key] = value


def shared_controls(more: Any) -> Controls:
    """Batch size, learning rate, device and seed; among `more` the button that puts them back."""
    _bring_back()
    _take_back()
    names = all_devices()
    # Chosen, not dragged: each size on the way would be a program to compile.
    batch_size = ask(
        "batch_size",
        "Batch size",
        BATCH_SIZES,
        width=110,
        help="Examples in one step. Part of the shapes, so another batch size compiles another program.",
    )
    learning_rate = ask(
        "learning_rate",
        "Learning rate",
        LEARNING_RATES,
        format_func=lambda x: f"{x:g}",
        width=220,
        help="An argument of the compiled step: it changes while a run goes on, and nothing compiles.",
    )
    device = ask(
        "device",
        "Device",
        list(names),
        width=min(220, max(120, 60 + 9 * max(map(len, names)))),  # a worker's name has its own length
        help="Where arrays live and programs run. The CPU's devices are simulated on the same cores.",
    )
    # Not among `more`: what a popover holds is not in the browser until it is opened, and would be lost on the way to
    # another page.
    seed = ask(
        "seed",
        "Seed",
        0,
        MAX_SEED,
        width=110,
        help="The same seed gives the same data, the same start and the same run.",
    )
    with more:
        st.button(
            "Defaults",
            key="defaults",
            icon=":material/undo:",
            on_click=_put_back,
            help="Puts batch size, learning rate, device and seed back to their defaults.",
        )
    st.session_state[_SHOWN] = {
        "batch_size": batch_size, "learning_rate": learning_rate, "device": device, "seed": seed
    }  # fmt: skip
    return Controls(int(batch_size), float(learning_rate), names[device], device, int(seed))


def _put_back() -> None:
    for key in ("batch_size", "learning_rate", "seed"):
        st.session_state[key] = SETTINGS[key].default
    st.session_state["device"] = next(iter(all_devices()))
