"""What pages share beside the live run: measurements, answers, mistakes, source."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import streamlit as st

from lib.live.cluster import answer_of
from lib.live.measurement import Measurement, Records, default_measurements
from lib.measure import compile_log
from lib.measure.stages import NO_OPERATIONS, Stages, stages_made
from lib.measure.timing import Rows, duration
from lib.routines.mistakes import Mistake, Outcome, provoke
from lib.routines.snippets import printed
from lib.ui import stage, take_home, waiting
from lib.ui.controls import Controls
from lib.ui.settings import PAGE, ask, visitor
from lib.ui.style import literal, quantity, stats
from lib.ui.terms import GLOSSARY


def follow(
    panels: Mapping[str, Callable[[], None] | str], terms: Sequence[str] = (), opened: str | None = None
) -> None:
    """What follows the stage, one panel at a time. Only the one that is open is executed.

    Args:
        panels: what draws each, by name, or its Markdown. `Notice` also has the page's idea and its references.
        terms: words of `terms.GLOSSARY` that the page uses.
        opened: the panel that is open at first; by default none is.
    """
    with st.container(horizontal=True, vertical_alignment="center", key="panels"):
        chosen = ask("{}_panel", "Panel", list(panels), part=PAGE.get(), default=opened, label_visibility="collapsed")
        if terms:
            with st.popover("Terms", icon=":material/dictionary:"):
                for term in terms:
                    st.markdown(f"**{term}**: {GLOSSARY[term]}")
    if isinstance(panels.get("Notice"), str):
        take_home.notice(str(panels["Notice"]))
    if chosen is None:
        return
    with st.container(key="panel"):
        content = panels[chosen]
        if not isinstance(content, str):
            content()
            if chosen == "Code":
                take_home.code()
            return
        st.markdown(content)
        page = stage.page()
        if chosen == "Notice":
            st.markdown(f"{page.idea} :small[Read on: {page.links}.]" if page.links else page.idea)


def snippet(
    code: str,
    controls: Controls,
    beside: bool = False,
    height: int | None = None,
    run: Callable[[str], str] = printed,
) -> None:
    """Code that runs when it is pasted, and what it prints, on the device that is chosen.

    Args:
        code: our own; of what a visitor typed it may hold numbers, and text that was read and written anew.
        beside: shows what it prints at its right, else below.
        height: in pixels, for code that would make the page too tall.
        run: gives what it prints, a function of a module.
    """

    def draw(text: str) -> None:
        st.code(text, language=None, wrap_lines=True)

    left, right = st.columns([2, 1]) if beside else (st.container(), st.container())
    left.code(code, language="python", wrap_lines=True, height=height or "content")
    with right:
        answer(draw, controls.device, run, code)


def source(*functions: Callable[..., Any], label: str | None = None) -> None:
    """The real source of routines; folded behind a label if one is given."""
    code = "\n\n".join(inspect.getsource(function).rstrip() for function in functions)
    if label is None:
        st.code(code, language="python", wrap_lines=True)
    else:
        with st.expander(label):
            st.code(code, language="python", wrap_lines=True)


def answer(draw: Callable[[Any], None], device: Any, fun: Callable[..., Any], *args: Hashable) -> None:
    """Shows what a short computation gives; it is done in the background, once for all visitors.

    Args:
        draw: draws the result, NumPy arrays.
        fun: a function of a module (one that a page defines is another one at each run of its script).
    """
    waiting.answer(answer_of(device, fun, *args, wish=waiting.wish()), draw)


def measure(
    name: str,
    controls: Controls,
    draw: Callable[[Records], None],
    hint: str,
    experiment: Callable[..., Rows],
    *args: Hashable,
) -> None:
    """A Measure button, and what came of the last press, or what others have measured for the same settings lately.

    Args:
        name: of the page and the panel; what the widgets' keys begin with.
        draw: draws the records there are, which may be some of all.
        hint: what a press measures.
        experiment: a function of a module; called with the device and `args`, yields the records, with the processor
            to itself.
    """
    key = f"_measurement_{name}"
    settings = (experiment, args, controls.device)
    line = default_measurements()

    def press() -> None:
        device = line.placed(controls.device)
        make = partial(experiment, device, *args)
        st.session_state[key] = line.ask(visitor(), settings, device, make, str(controls)), settings

    asked: tuple[Measurement, take_home.Settings] | None = st.session_state.get(key)
    if (asked is None or (asked[0].key != settings and asked[0].done)) and (recent := line.recent(settings)):
        asked = st.session_state[key] = recent, settings
    taken, own = asked or (None, settings)
    again = taken is not None and taken.done and not taken.error and taken.key == settings
    with st.container(horizontal=True, vertical_alignment="center"):
        label = "Measure again" if again else "Measure"
        st.button(label, key=f"{name}_measure", icon=":material/timer:", on_click=press)
        st.caption(hint)
    if taken is None:
        return
    begun = time.monotonic()

    def look() -> waiting.Look:
        ahead = line.look(taken, visitor())
        done = taken.done
        return waiting.Look((len(taken.records), ahead, "" if done else f"{time.monotonic() - begun:.0f}"), done)

    def show(state: tuple[int, int, str]) -> None:
        done = not state[-1]  # it may be by now: then this is drawn once more, and a button stands once in a run
        if done and taken.error:
            st.error(f"The measurement has ended: {literal(taken.error)}")
        elif not done:
            st.caption(f"{line.doing(taken)} … {line.elapsed_s(taken):.1f} s")
        else:
            at = time.strftime("%H:%M:%S", time.localtime(taken.taken_at))
            whose = "" if visitor() in taken.looks else f", {_age(line.age_s(taken))} ago by somebody on this server,"
            stale = taken.key != settings
            st.caption(
                f"Taken at {at} (server's clock){whose} for {taken.about}."
                + (" The settings have changed since: press Measure again." if stale else "")
            )
        if taken.records:
            draw(list(taken.records))
            if done:
                take_home.measured(name, taken, own)

    waiting.watch(look, show, endless=True)


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def matching(text: str, wanted: str) -> list[str]:
    """The lines in which something occurs, in whatever case, each behind its number."""
    wanted = wanted.casefold()
    return [f"{n:>5}  {line}" for n, line in enumerate(text.splitlines(), 1) if wanted in line.casefold()]


def text_view(name: str, texts: dict[str, str]) -> None:
    """One of several texts, and a search for the lines in which something occurs."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = ask("{}_text", "Text", list(texts), part=name, default=next(iter(texts)), required=True)
        wanted = ask("{}_search", "Search", part=name, max_chars=80, placeholder="a part of a line")
    lines = matching(texts[shown], wanted)
    total = len(texts[shown].splitlines())
    st.caption(
        f"{len(lines):,} of {total:,} lines have “{literal(wanted)}” in them." if wanted else f"{total:,} lines."
    )
    st.code("\n".join(lines), language=None, wrap_lines=True, height=440 if len(lines) > 18 else "content")


def stages_view(name: str, stages: Stages, texts: dict[str, str] | None = None) -> None:
    """The stages of a function: how much there is of each, and their texts, or others if they are given."""
    work = sum(count for opcode, count in stages.hlo_ops.items() if opcode not in NO_OPERATIONS)
    stats(
        {
            "Equations": f"{stages.equations:,}",
            "StableHLO ops": f"{sum(stages.stablehlo_ops.values()):,}",
            "HLO ops": f"{work:,}",
            "Fusions": f"{stages.fusions:,}",
            "Flops": quantity(stages.cost.flops),
            "Bytes": quantity(stages.cost.size_bytes, "B"),
            "Peak memory": quantity(stages.cost.peak_memory_bytes, "B"),
            "Compiled in": duration(stages.phases.total_ms),
        }
    )
    st.caption(
        "Flops, bytes moved and peak memory of one call are the compiler's own estimate. HLO ops are those of all "
        f"computations but {', '.join(NO_OPERATIONS)}, which compute nothing."
    )
    left, right = st.columns([3, 1], gap="medium")
    with left:
        text_view(name, texts or {"jaxpr": stages.jaxpr, "StableHLO": stages.stablehlo, "HLO": stages.hlo})
    with right:
        for title, ops in (("StableHLO", stages.stablehlo_ops), ("HLO, optimised", stages.hlo_ops)):
            most = sorted(ops.items(), key=lambda item: (item[0] in NO_OPERATIONS, -item[1], item[0]))
            table = {f"{title}: operation": [op for op, _ in most], "count": [count for _, count in most]}
            st.dataframe(table, hide_index=True, height=min(250, 38 * (len(most) + 1)))


def inside(name: str, controls: Controls, title: str, make: Callable[..., Any], *args: Hashable) -> None:
    """The stages of a compiled function, at once.

    Args:
        name: of the page; what the widgets' keys begin with.
        title: the function, as code.
        make: a function of a module; gives a function that is not jitted, and arrays to call it with.
    """
    st.markdown(f"`{title}` from jaxpr to machine code.")
    answer(lambda made: stages_view(f"{name}_stages", made), controls.device, stages_made, make, *args)


def steps(rows: tuple[tuple[str, str], ...]) -> None:
    """A composition step by step: code, and the shapes in and out of it."""
    for number, (code, types) in enumerate(rows, 1):
        st.markdown(f"{number}. `{code}`  \n&emsp;{types}")


def break_it(name: str, mistakes: dict[str, Mistake]) -> None:
    """Typical mistakes to provoke: JAX's own error or the wrong result, why, and the way to do it."""
    chosen = ask("{}_mistake", "Mistake", list(mistakes), part=name)
    sources(mistakes[chosen])
    key = f"{name}_broken"
    st.button("Break it", key=f"{name}_break", icon=":material/bolt:", on_click=_remember, args=(key, chosen))
    if st.session_state.get(key) == chosen:
        provoked(mistakes[chosen])


def sources(mistake: Mistake) -> None:
    """The code of a mistake and of what it should have been, side by side."""
    wrong, right = st.columns(2)
    with wrong:
        st.code(inspect.getsource(mistake.wrong).rstrip(), wrap_lines=True)
    with right:
        st.code(inspect.getsource(mistake.right).rstrip(), wrap_lines=True)


def provoked(mistake: Mistake) -> None:
    """What a mistake gives and what it should have given, side by side, and why."""

    def draw(outcomes: tuple[Outcome, Outcome]) -> None:
        left, other = st.columns(2)
        with left:
            outcome(outcomes[0])
        with other:
            outcome(outcomes[1])

    answer(draw, jax.devices()[0], provoke, mistake)
    st.info(mistake.explanation)


def _remember(key: str, chosen: str) -> None:
    st.session_state[key] = chosen


def outcome(outcome: Outcome) -> None:
    """What a call has given, or JAX's own words."""
    st.markdown(f"**{outcome.error}**, in JAX's own words:" if outcome.error else "**It gives**")
    st.code(outcome.text, language=None, wrap_lines=True, height=240 if len(outcome.text) > 700 else "content")


def compile_log_panel() -> None:
    """What this process has compiled lately, for everybody."""
    count = compile_log.compilations()
    label = f"Compile log: {count} {'program' if count == 1 else 'programs'} compiled since this server started"
    panel = st.expander(label, key="compile_log", on_change="rerun")
    if not panel.open:
        return
    with panel:
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
