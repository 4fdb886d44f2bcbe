"""What pages share beside the live run: measurements, answers, mistakes, source."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from html import escape
from typing import Any

import jax
import streamlit as st

from lib.live.engine import default_engine
from lib.live.measurement import Measurement, Records
from lib.measure import compile_log
from lib.routines.mistakes import Mistake, Outcome, provoke
from lib.ui.controls import Controls
from lib.ui.style import duration

WAIT_S = 0.12
"""So long a script waits for an answer before it shows that it is being worked on."""


def source(*functions: Callable[..., Any], label: str | None = None) -> None:
    """The real source of routines; folded behind a label if one is given."""
    code = "\n\n".join(inspect.getsource(function).rstrip() for function in functions)
    if label is None:
        st.code(code, language="python")
    else:
        with st.expander(label):
            st.code(code, language="python")


def _ask(device: jax.Device, fun: Callable[..., Any], *args: Hashable) -> Future:
    return default_engine().answers.get((fun, args, device), on_device, device, fun, *args)


def answer(draw: Callable[[Any], None], device: jax.Device, fun: Callable[..., Any], *args: Hashable) -> None:
    """Shows what a short computation gives; it is done in the background, once for all visitors.

    Args:
        draw: draws the result, NumPy arrays.
        fun: a function of a module (one that a page defines is another one at each run of its script).
    """
    future = _ask(device, fun, *args)
    with suppress(TimeoutError):
        future.exception(timeout=WAIT_S)
    waiting = not future.done()
    begun = time.monotonic()

    @st.fragment(run_every=0.2 if waiting else None)
    def panel() -> None:
        if not future.done():
            st.caption(f"computing … {time.monotonic() - begun:.1f} s")
            return
        if waiting:
            st.rerun()
        draw(future.result())

    panel()


def ready(device: jax.Device, fun: Callable[..., Any], *args: Hashable) -> Callable[[], Any]:
    """A call that gives what `answer` would draw, or None until it is there."""
    future = _ask(device, fun, *args)
    return lambda: future.result() if future.done() else None


def measure(
    name: str,
    controls: Controls,
    draw: Callable[[Records], None],
    hint: str,
    experiment: Callable[..., Iterator[dict[str, Any]]],
    *args: Any,
    about: Hashable = None,
) -> None:
    """A Measure button, and what came of the last press.

    Args:
        name: of the page and the panel; what the widgets' keys begin with.
        draw: draws the records there are, which may be some of all.
        hint: what a press measures.
        experiment: called with the device and `args`, yields the records, with the processor to itself.
        about: tells the settings apart if `args` cannot be compared.
    """
    key = f"_measurement_{name}"
    settings = (about or args, controls.device)

    def press() -> None:
        before: Measurement | None = st.session_state.get(key)
        if before is not None:
            before.drop()
        st.session_state[key] = Measurement(
            default_engine(), controls.device, (settings, str(controls)), lambda: experiment(controls.device, *args)
        )

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Measure", key=f"{name}_measure", icon=":material/timer:", on_click=press)
        st.caption(hint)
    taken: Measurement | None = st.session_state.get(key)
    if taken is None:
        return
    going_on = not taken.done

    @st.fragment(run_every=0.25 if going_on else None)
    def panel() -> None:
        if going_on and taken.done:
            st.rerun()
        if taken.error:
            st.error(f"The measurement has ended: {taken.error}")
        elif not taken.done and taken.ahead:
            st.caption(f"waiting for {taken.ahead} other measurement(s) … {taken.elapsed_s:.1f} s")
        elif not taken.done:
            st.caption(f"measuring with the processor to itself … {taken.elapsed_s:.1f} s")
        else:
            at = time.strftime("%H:%M:%S", time.localtime(taken.taken_at))
            stale = taken.about[0] != settings
            st.caption(
                f"Taken at {at} (server's clock) for {taken.about[1]}."
                + (" The settings have changed since: press Measure again." if stale else "")
            )
        if taken.records:
            draw(taken.records)

    panel()


def _shape(shape: tuple[int, ...], axis: int | None) -> str:
    """A shape as HTML, its batch axis set off."""
    sizes = [f"<b class='batch'>{size}</b>" if i == axis else str(size) for i, size in enumerate(shape)]
    return f"<code>({', '.join(sizes)}{',' if len(sizes) == 1 else ''})</code>"


def shapes(
    inputs: tuple[tuple[str, tuple[int, ...], int | None], ...],
    output: tuple[tuple[int, ...], int | None] | None,
    fun: str,
) -> None:
    """The shapes for one example and for the batch, before and after, the batch axis set off.

    Args:
        inputs: name, shape with the batch, and batch axis of each argument.
        output: shape with the batch and batch axis, None if there is no result.
    """
    rows = []
    for name, shape, axis in inputs:
        one = tuple(size for i, size in enumerate(shape) if i != axis)
        rows.append(f"<tr><td>{escape(name)}</td><td>{_shape(one, None)}</td><td>{_shape(shape, axis)}</td></tr>")
    if output is None:
        rows.append("<tr><td>result</td><td>–</td><td>refused</td></tr>")
    else:
        one = tuple(size for i, size in enumerate(output[0]) if i != output[1])
        rows.append(f"<tr><td>result</td><td>{_shape(one, None)}</td><td>{_shape(*output)}</td></tr>")
    head = f"<tr><th></th><th>{escape(fun)}, one example</th><th>vmap({escape(fun)}), the batch</th></tr>"
    st.html(f"<table class='shapes'>{head}{''.join(rows)}</table>")


def steps(rows: tuple[tuple[str, str], ...]) -> None:
    """A composition step by step: code, and the shapes in and out of it."""
    for number, (code, types) in enumerate(rows, 1):
        st.markdown(f"{number}. `{code}`  \n&emsp;{types}")


def break_it(name: str, mistakes: dict[str, Mistake]) -> None:
    """Typical mistakes to provoke: JAX's own error or the wrong result, why, and the way to do it."""
    chosen = st.selectbox("Mistake", list(mistakes), key=f"{name}_mistake", bind="query-params")
    mistake = mistakes[chosen]
    wrong, right = st.columns(2)
    with wrong:
        st.code(inspect.getsource(mistake.wrong).rstrip(), language="python")
    with right:
        st.code(inspect.getsource(mistake.right).rstrip(), language="python")

    def draw(outcomes: tuple[Outcome, Outcome]) -> None:
        left, other = st.columns(2)
        with left:
            _outcome(outcomes[0])
        with other:
            _outcome(outcomes[1])

    key = f"{name}_broken"
    st.button("Break it", key=f"{name}_break", icon=":material/bolt:", on_click=_remember, args=(key, chosen))
    if st.session_state.get(key) == chosen:
        answer(draw, jax.devices()[0], provoke, mistake)
        st.info(mistake.explanation)


def _remember(key: str, chosen: str) -> None:
    st.session_state[key] = chosen


def _outcome(outcome: Outcome) -> None:
    st.markdown(f"**{outcome.error}**, in JAX's own words:" if outcome.error else "**It gives**")
    st.code(outcome.text, language=None, wrap_lines=True, height=240 if len(outcome.text) > 700 else "content")


def compile_log_panel() -> None:
    """What this process has compiled lately, for everybody."""
    with st.expander(f"Compile log: {compile_log.compilations()} programs compiled since this server started"):
        entries = compile_log.entries()[-60:]
        st.dataframe(
            {
                "time": [time.strftime("%H:%M:%S", time.localtime(entry.at)) for entry in reversed(entries)],
                "function": [entry.fun_name for entry in reversed(entries)],
                "stage": [entry.stage for entry in reversed(entries)],
                "duration": [duration(entry.elapsed_ms) for entry in reversed(entries)],
            },
            hide_index=True,
            height=260,
        )


def on_device(device: jax.Device, fun: Callable[..., Any], *args: Any) -> Any:
    """The result as NumPy arrays, of a computation on a device."""
    with jax.default_device(device):  # of this thread alone
        return jax.device_get(fun(*args))
