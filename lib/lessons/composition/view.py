"""The composition lab's panels: the function, the stack, its levels, one level from near, two stacks compared."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from html import escape
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.composition import levels, transforms
from lib.lessons.composition import routine as composition
from lib.lessons.composition.levels import LevelReport, Traced
from lib.lessons.composition.measure import stack_times
from lib.lessons.composition.routine import FUNCTIONS, ExampleFunction
from lib.lessons.composition.transforms import TRANSFORMS, Leaf, Level, Stack, StackError, short
from lib.live.cluster import answer_of
from lib.live.engine import default_engine
from lib.live.measurement import Records
from lib.live.run import Snapshot
from lib.measure import jaxprs
from lib.measure.stages import NO_OPERATIONS
from lib.measure.timing import duration
from lib.routines.typed import TextError, parse, parse_shape
from lib.ui import charts, panels, waiting
from lib.ui.controls import Controls
from lib.ui.jaxpr_table import jaxpr_html
from lib.ui.settings import SETTINGS, ask
from lib.ui.style import TRAIN, literal, quantity
from lib.ui.typed_input import TYPED, kept, typed

Traces = tuple[Traced, ...]


# The settings.


def choose_function() -> ExampleFunction:
    """One of the functions, or one that the visitor types."""
    name = ask("lab_function", "Function", [*FUNCTIONS, TYPED], on_change=_suit_stack, width=190)
    return _typed_function() if name == TYPED else FUNCTIONS[name]


def _suit_stack() -> None:
    """Another function has other arguments: `in_axes` is set to suit them, the levels stay."""
    function = FUNCTIONS.get(st.session_state["lab_function"])
    text = st.session_state.get("stack", SETTINGS["stack"].default)  # its field may not stand yet
    with suppress(StackError):
        if function is not None:
            names = tuple(level.name for level in transforms.parse(text))
            st.session_state["stack"] = transforms.expression(composition.with_default_axes(function, names))


def _typed_function() -> ExampleFunction:
    fun = typed("f =", "lab_text", parse)
    texts = [ask("lab_shape_{}", f"Shape of {name}", part=name, max_chars=20, width=100) for name in fun.arguments]
    shared = ask(
        "lab_shared_{}", "Shared by all examples", list(fun.arguments), part="_".join(fun.arguments),
        default=list(fun.arguments)[1:], selection_mode="multi",
    )  # fmt: skip
    positive = ask("lab_positive", "Positive inputs only")
    return kept(
        "lab_function",
        lambda: composition.typed_function(fun.text, tuple(map(parse_shape, texts)), tuple(shared), positive),
        lambda: next(iter(FUNCTIONS.values())),
    )


def choose_stack(key: str, label: str) -> Stack:
    """A stack as text. Without a sense the reason stands below, and the page goes on with the last one that had one."""

    def read(text: str) -> Stack:
        try:
            return transforms.parse(text)
        except StackError as error:
            raise TextError(str(error), text) from None

    return typed(
        label, key, read, help=f"Applied to f from the inside out: {', '.join(TRANSFORMS)}. **Order** compares two."
    )


# The levels, to be changed.


def build(function: ExampleFunction, stack: Stack) -> None:
    """A box for each level, and a button for each transformation that can be put on the outside."""
    with st.container(horizontal=True, gap="xsmall"):
        for name, transform in TRANSFORMS.items():
            st.button(
                f"+ {name}", key=f"add_{name}", help=f"Puts {name} on the outside: {transform.about}.", on_click=_add,
                args=(function, stack, name), disabled=len(stack) == transforms.MAX_LEVELS,
            )  # fmt: skip
    with st.container(horizontal=True, gap="small"):
        for place, level in enumerate(stack):
            _level_box(stack, place, level)


def _level_box(stack: Stack, place: int, level: Level) -> None:
    with st.container(border=True, width=190, gap="xxsmall"):
        st.markdown(f"{place + 1}. **`{level.name}`**", help=TRANSFORMS[level.name].about)
        for keyword in TRANSFORMS[level.name].keywords:
            # The text is part of the key: the box shows what the stack says, whoever changed it.
            key = f"level_{place}_{keyword}_{transforms.expression(stack)}"
            st.text_input(
                keyword,
                repr(level.get(keyword)),
                key=key,
                on_change=_set,
                args=(stack, place, keyword, key),
                max_chars=40,
            )
            if problem := st.session_state.get(f"problem_{key}"):
                st.error(literal(problem))
        with st.container(horizontal=True, gap="xxsmall"):
            moves = [
                ("arrow_back", "inwards", _swapped(stack, place - 1) if place else None),
                ("arrow_forward", "outwards", _swapped(stack, place) if place + 1 < len(stack) else None),
                ("close", "away", (*stack[:place], *stack[place + 1 :])),
            ]
            for icon, where, result in moves:
                st.button(
                    "", key=f"level_{place}_{where}", icon=f":material/{icon}:", help=f"{level.name}: {where}", type="tertiary",
                    on_click=_write, args=(result,), disabled=result is None,
                )  # fmt: skip


def _swapped(stack: Stack, place: int) -> Stack:
    return (*stack[:place], stack[place + 1], stack[place], *stack[place + 2 :])


def _write(stack: Stack) -> None:
    st.session_state["stack"] = transforms.expression(stack)


def _set(stack: Stack, place: int, keyword: str, key: str) -> None:
    try:
        value = transforms.parse_numbers(stack[place].name, keyword, st.session_state[key])
    except StackError as error:
        st.session_state[f"problem_{key}"] = str(error)
        return
    keywords = {**dict(stack[place].keywords), keyword: value}
    known = TRANSFORMS[stack[place].name].keywords
    kept = tuple((name, value) for name, value in keywords.items() if value != known[name].default)
    _write((*stack[:place], Level(stack[place].name, kept), *stack[place + 1 :]))


def _add(function: ExampleFunction, stack: Stack, name: str) -> None:
    _write(composition.add_level(function, stack, name))


# What the engine has to say.


def ask_traces(function: ExampleFunction, stack: Stack, batch_size: int) -> Future:
    """The levels of a stack, traced; nothing is compiled."""
    key = (function, stack, batch_size)
    return default_engine().traces.get(key, levels.trace_levels, function, stack, batch_size)


def ask_report(function: ExampleFunction, stack: Stack, controls: Controls) -> Future:
    """A stack that JAX takes, compiled, run and checked."""
    args = (function, stack, controls.batch_size, controls.seed)
    return answer_of(controls.device, levels.report_level, *args, among=default_engine().analyses)


def when_there(ask: Callable[[], list[Future]], draw: Callable[[list[Any]], None]) -> None:
    """Draws what there is, None for what is not, and again until everything is there."""
    begun = time.monotonic()
    results: list[Any] = []

    def look() -> waiting.Look:
        nonlocal results
        futures = ask()  # each time: what nobody asks for any more is not computed
        results = [future.result() if future.done() and not future.exception() else None for future in futures]
        there = [result is not None for result in results]
        return waiting.Look((there, "" if all(there) else f"{time.monotonic() - begun:.0f}"), all(there))

    def show(state: tuple[list[bool], str]) -> None:
        draw(results)
        if state[1]:
            st.caption(f"computing … {state[1]} s")

    waiting.watch(look, show)


# Types.


def _array(leaf: Leaf) -> str:
    sizes = [
        f"<b class='{role}'>{size}</b>" if role else str(size)
        for size, role in zip(leaf.shape, leaf.roles, strict=True)
    ]
    kind = {"float32": "f32", "int32": "i32"}.get(leaf.dtype, leaf.dtype)
    return f"{kind}[{', '.join(sizes)}]"


def type_html(tree: Any) -> str:
    """A tree of arrays as HTML, batch axes and derivative axes set off."""
    if isinstance(tree, Leaf):
        return _array(tree)
    return f"({', '.join(type_html(part) for part in tree)})"


def _inputs_html(traced: Traced) -> str:
    return ", ".join(f"{escape(n)}: {type_html(t)}" for n, t in zip(traced.names, traced.inputs, strict=True))


LEGEND = (
    "<p class='legend'><code class='types'><b class='batch'>32</b></code> a batch axis, as long as Batch size &emsp;"
    "<code class='types'><b class='derivative'>3</b></code> an axis that a derivative brought</p>"
)


# All levels.


def ladder(function: ExampleFunction, traces: Traces, controls: Controls) -> None:
    """A row for each prefix of the stack."""
    good = [traced for traced in traces if traced.signature is not None]

    def draw(reports: list[LevelReport | None]) -> None:
        head = (
            "<tr><th>level</th><th>takes → gives</th><th>equations</th><th>HLO ops, fusions</th><th>flops</th><th>bytes</th>"
            "<th>peak memory</th><th>compiled in</th><th>error against loops and differences</th></tr>"
        )
        rows = "".join(_row(traced, report) for traced, report in zip(good, reports, strict=True))
        rows += "".join(_refused(traced) for traced in traces if traced.signature is None)
        st.html(f"<div class='scroll'><table class='ladder'>{head}{rows}</table></div>{LEGEND}")

    when_there(lambda: [ask_report(function, traced.stack, controls) for traced in good], draw)
    for traced in traces:
        if traced.signature is None:
            refusal(traced)


def _row(traced: Traced, report: LevelReport | None) -> str:
    new = traced.marks.count(jaxprs.NEW)
    cells = [
        f"<code>{escape(short(traced.stack))}</code>",
        f"<code class='types'>{_inputs_html(traced)}<br>→ {type_html(traced.signature.output) if traced.signature else ''}</code>",
        f"{traced.equations:,}" + (f" <small>({new} new)</small>" if traced.stack and new else ""),
    ]
    if report is None:
        return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}<td colspan='6'>compiling …</td></tr>"
    stages, check = report.stages, report.check
    work = sum(count for opcode, count in stages.hlo_ops.items() if opcode not in NO_OPERATIONS)
    cells += [
        f"{work:,}, {stages.fusions:,}", quantity(stages.cost.flops), quantity(stages.cost.size_bytes, "B"),
        quantity(stages.cost.peak_memory_bytes, "B"), duration(stages.phases.total_ms), _verdict(check, traced),
    ]  # fmt: skip
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


AGREES = 1e-3
"""A larger error than float32 and the differences explain."""


def _verdict(check: levels.Check, traced: Traced) -> str:
    if check.skipped:
        return f"not checked: {escape(check.skipped)}"
    sign = "✓" if check.error < AGREES else "✗"
    at = f" <small>at batch size {check.batch_size}</small>" if any(lv.name == "vmap" for lv in traced.stack) else ""
    return f"{sign} {check.error:.1e}{at}"


def _refused(traced: Traced) -> str:
    return (
        f"<tr class='refused'><td><code>{escape(short(traced.stack))}</code></td>"
        f"<td><code class='types'>{_inputs_html(traced)}<br>→ refused</code></td><td colspan='7'>see below</td></tr>"
    )


def refusal(traced: Traced) -> None:
    """JAX's own exception, and why."""
    if traced.error:
        st.markdown(f"`{transforms.expression(traced.stack)}` is refused, in JAX's own words: **{traced.error}**")
        st.code(traced.text, language=None, wrap_lines=True, height=220 if len(traced.text) > 700 else "content")
    explanation = traced.explanation or "Its message says why: change the arguments of the level, or take it away."
    st.info(explanation)


# One level.

VIEWS = ("jaxpr", "Graph", "Compiled", "Value")
TALL = 20
"""More lines than these are scrolled through in their own box."""
BOX = 460
"""Its height in pixels."""


def detail(function: ExampleFunction, traces: Traces, controls: Controls) -> None:
    """One prefix of the stack from near."""
    good = [traced for traced in traces if traced.signature is not None]
    labels = {short(traced.stack): traced for traced in good}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        # Another stack has other levels: a key of its own, so that the outermost is shown again.
        chosen = st.segmented_control(
            "Level", list(labels), default=list(labels)[-1], required=True, key=f"lab_level_{list(labels)[-1]}"
        )
        view = ask("lab_view", "Show", VIEWS, required=True)
    traced = labels[chosen]
    if traced.stack:
        st.markdown(f"`{traced.stack[-1].name}`: {TRANSFORMS[traced.stack[-1].name].about}.")
    if view == "jaxpr":
        with _box(len(traced.lines)):
            st.html(_jaxpr(traced, traced.marks, traced.stack[-1].name if traced.stack else ""))
    elif view == "Graph":
        _graph(traced)
    else:

        def draw(reports: list[LevelReport | None]) -> None:
            if reports[0] is None:
                return
            if view == "Compiled":
                panels.stages_view("lab_compiled", reports[0].stages)
            else:
                _value(traced, reports[0])

        when_there(lambda: [ask_report(function, traced.stack, controls)], draw)


def _box(lines: int, tall: int = TALL, height: int = BOX) -> Any:
    """A place for so many lines that does not make the page longer than it should be."""
    return st.container(height=height if lines > tall else "content", border=False)


def _jaxpr(traced: Traced, marks: list[str], added_by: str, wide: bool = True) -> str:
    """A jaxpr as a table, and what its colours say if anything could have been added to it.

    Args:
        wide: whether there is room to say where each equation comes from.
    """
    head, left_out = (f"{traced.head[0]} . let", traced.head[1]), traced.equations - len(traced.lines)
    table = jaxpr_html(traced.lines, marks, head, left_out, sources=wide, origins=wide)
    if not added_by:
        return table
    return table + (
        f"<p class='legend'><span class='new'>+ added by {escape(added_by)}</span> <span class='changed'>~ there before, of "
        "another shape</span> <span>the rest as before</span></p>"
    )


def _graph(traced: Traced) -> None:
    if traced.flowchart.count("\n") > 4 * jaxprs.MAX_NODES:
        st.info("Too many equations for a picture, even one node a source line: choose a level further inside.")
        return
    with _box(traced.equations * 3):  # a node with its arrow is as tall as some lines
        st.mermaid_chart(traced.flowchart)
    st.caption(
        "Nodes are equations, arrows values with their types; a red rim marks what the backward pass added."
        + (
            " There are too many equations to draw each: those of one source line are one node."
            if traced.collapsed
            else ""
        )
    )


def _value(traced: Traced, report: LevelReport) -> None:
    st.code(report.value, language=None, height=360 if report.value.count("\n") > 15 else "content")
    check = report.check
    if check.skipped:
        st.caption(f"Not checked: {check.skipped}.")
        return
    st.caption(
        f"Checked at batch size {check.batch_size} against NumPy in float64, `vmap` as a loop and derivatives as central "
        f"differences, {check.evaluations:,} evaluations of f: they differ by at most {check.error:.1e} of the largest "
        f"number (or of 1)."
        + (" That is more than rounding: is there a kink or an overflow near?" if not check.error < AGREES else "")
    )


# Two stacks.


def compare(function: ExampleFunction, pair: tuple[Stack, Stack], controls: Controls) -> None:
    """Two stacks side by side: jaxpr, program, value, timings; or why JAX refuses one."""
    asked = [ask_traces(function, stack, controls.batch_size) for stack in pair]
    traces = [waiting.result(future)[-1] for future in asked]
    refused = [traced for traced in traces if traced.signature is None]
    for traced in refused:
        refusal(traced)
    if refused:
        return
    for place, column in enumerate(st.columns(2)):
        here, there = traces[place], traces[1 - place]
        with column:
            st.markdown(f"`{transforms.expression(here.stack)}`")
            with _box(max(len(traced.lines) for traced in traces), 6, 280):
                st.html(
                    f"<code class='types'>{_inputs_html(here)}<br>→ {type_html(here.signature.output)}</code>"
                    + _jaxpr(here, jaxprs.marks(there.lines, here.lines), "this order alone", wide=False)
                )

    def draw(reports: list[LevelReport | None]) -> None:
        one, other = reports
        if one is None or other is None:
            return
        table = _differences(traces, (one, other))
        st.dataframe(table, hide_index=True, height=min(36 * (len(table[""]) + 1), 330))
        st.markdown(_same_value(one, other))

    left, right = st.columns([1, 1.3], gap="large")
    with left:
        when_there(lambda: [ask_report(function, traced.stack, controls) for traced in traces], draw)
    with right:
        panels.measure(
            "pair", controls, draw_times, "The pair: compiled from nothing, then called in turns, blocked.",
            stack_times, function, pair, controls.batch_size, controls.seed,
        )  # fmt: skip


def _differences(traces: list[Traced], reports: tuple[LevelReport, LevelReport]) -> dict[str, list[str]]:
    rows: list[tuple[str, list[str]]] = []
    for name, measure in {
        "equations": lambda t, r: f"{t.equations:,}",
        "HLO ops": lambda t, r: f"{sum(n for op, n in r.stages.hlo_ops.items() if op not in NO_OPERATIONS):,}",
        "fusions": lambda t, r: f"{r.stages.fusions:,}",
        "flops": lambda t, r: quantity(r.stages.cost.flops),
        "bytes": lambda t, r: quantity(r.stages.cost.size_bytes, "B"),
        "peak memory": lambda t, r: quantity(r.stages.cost.peak_memory_bytes, "B"),
        "compiled in": lambda t, r: duration(r.stages.phases.total_ms),
    }.items():
        rows.append((name, [measure(t, r) for t, r in zip(traces, reports, strict=True)]))
    kinds = [Counter(line.kind[0] for line in traced.lines) for traced in traces]
    for primitive in sorted(set(kinds[0]) | set(kinds[1])):
        if kinds[0][primitive] != kinds[1][primitive]:
            rows.append((f"equations: {primitive}", [str(kind[primitive]) for kind in kinds]))
    return {
        "": [name for name, _ in rows],
        **{short(traced.stack): [values[place] for _, values in rows] for place, traced in enumerate(traces)},
    }


def _same_value(one: LevelReport, other: LevelReport) -> str:
    if one.numbers is None or other.numbers is None:
        return "The values have too many numbers to compare here: lower Batch size."
    if len(one.numbers) != len(other.numbers):
        return f"The values differ in kind: **{len(one.numbers)}** numbers and **{len(other.numbers)}**."
    apart = float(np.abs(one.numbers - other.numbers).max(initial=0.0))
    return f"The values agree: the largest difference is **{apart:.1e}**." if apart < AGREES * max(
        1.0, float(np.abs(one.numbers).max(initial=0.0))
    ) else f"The values differ: by up to **{apart:.3g}**."  # fmt: skip


# Timings.


PHASES = ("compile", "steady", "eager")
FEW = 6
"""Records for one chart; if there are more, compiling stands beside the calls."""


def draw_times(records: Records) -> None:
    """What `measure.stack_times` yields, phase by phase, with the function that was measured in the titles."""
    name = records[0].more["function"]
    told = sorted(records, key=lambda record: PHASES.index(record.phase))
    if len(told) <= FEW:
        charts.show(charts.timings(f"{name}: compile once, one call", told))
        return
    compiling = [record for record in told if record.phase == "compile"]
    left, right = st.columns(2)
    with left:
        charts.show(charts.timings(f"{name}: compile once", compiling))
    with right:
        charts.show(charts.timings(f"{name}: one call", told[len(compiling) :]))


# Stacks that do not work.


def broken() -> None:
    """Buttons that load stacks which JAX refuses."""
    st.markdown("Each button loads a stack that JAX refuses. **Levels** shows its error, and the levels below.")
    with st.container(horizontal=True):
        for name, (function, stack) in composition.BROKEN.items():
            st.button(name, key=f"broken_{name}", icon=":material/bolt:", on_click=_load, args=(function, stack))


def picture(name: str, snapshot: Snapshot) -> charts.Chart:
    """The entries of the argument that descends, as many as are kept."""
    values = snapshot.picture["argument"] if snapshot.picture else np.empty(0, np.float32)
    title = f"{name}, entry by entry"
    entries = {"entry": np.arange(len(values), dtype=np.uint8), "value": values}
    return charts.chart(_picture_spec(title), title, 0.5, entries=entries)


@lru_cache(maxsize=64)
def _picture_spec(title: str) -> charts.Spec:
    base = alt.Chart(charts.named("entries"))
    x = alt.X("entry:Q", title="entry", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("value:Q", title="value", scale=alt.Scale(padding=8), axis=alt.Axis(tickCount=6, format=".4~g"))
    stems = base.mark_rule(strokeWidth=2, color=TRAIN).encode(x, y, y2=alt.datum(0))
    return charts.build(alt.layer(stems, base.mark_point(size=70, filled=True, color=TRAIN).encode(x, y)), 300, title)


def _load(function: str, stack: str) -> None:
    st.session_state["lab_function"], st.session_state["stack"] = function, stack
