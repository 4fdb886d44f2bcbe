"""The charts and panels of many models and of a batch of rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape

import altair as alt
import numpy as np
import streamlit as st

from lib.lessons.jit_vmap.routine import CURVES, MAX_LOOP, RIVALS, Ensemble, Mapped
from lib.measure.timing import Record, times_as_fast
from lib.ui import charts
from lib.ui.style import SERIES, TEST, TRAIN

MAX_CELLS = 80
"""Numbers of an array that are shown; of a larger one its shape alone."""


@cache
def _fits_spec(title: str, models: int, own_targets: bool, own_rates: bool, height: int) -> charts.Spec:
    """Curves of some models (columns `c0`, `c1`, ...), and what they are to fit: `t0`, or a target for each."""
    base = alt.Chart(charts.named("fits"))
    x = alt.X("x:Q", title="x", scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("value:Q", title="prediction", scale=alt.Scale(domain=[-2, 2]), axis=alt.Axis(tickCount=5))
    number = alt.Color("number:Q", scale=alt.Scale(domain=[0, CURVES - 1], range=[TRAIN, SERIES[1]]), legend=None)

    def family(letter: str, count: int) -> alt.Chart:
        folded = base.transform_fold([f"{letter}{i}" for i in range(count)], as_=["model", "value"])
        return folded.transform_calculate(number="toNumber(slice(datum.model, 1))")

    preds = family("c", models).mark_line(strokeWidth=1.8, opacity=0.75, clip=True)
    targets = family("t", models if own_targets else 1).mark_line(
        strokeWidth=1.5 if own_targets else 3, strokeDash=[6, 5], clip=True
    )
    layers = [
        preds.encode(x, y, number if own_targets or own_rates else alt.ColorValue(TRAIN), alt.Detail("model:N")),
        targets.encode(x, y, number if own_targets else alt.ColorValue(TEST), alt.Detail("model:N")),
    ]
    return charts.build(alt.layer(*layers), height, title)


def fits(
    inputs: np.ndarray,
    targets: np.ndarray,
    preds: np.ndarray | None,
    problem: Ensemble,
    height: int = 360,
    width: float = 1.0,
) -> charts.Chart:
    """The predictions of some models, and dashed what they are to fit.

    Args:
        targets: float32[examples] for all models, or float32[shown, examples].
        preds: float32[shown, examples], None before the first step.
    """
    models = min(problem.batch_size, CURVES)
    title = f"{models} of {problem.batch_size:,} models" if problem.batch_size > models else "Models"
    if problem.own_rates and not problem.own_targets:
        title += ", blue: low rate"
    rows = np.atleast_2d(targets)
    columns = {f"t{i}": row for i, row in enumerate(rows)}
    columns |= {f"c{i}": row for i, row in enumerate(() if preds is None else preds)}
    spec = _fits_spec(f"{title}; dashed: target", models, problem.own_targets, problem.own_rates, height)
    return charts.chart(
        spec, f"The predictions of {models} models and their targets", width, fits={"x": inputs} | columns
    )


# Rows: arrays whose numbers say by their colour which example they belong to.

_STYLE = """<style>
.arrays { display: flex; flex-wrap: wrap; gap: .6rem 2rem; align-items: flex-start; }
.arrays h4 { font-size: 1rem; font-weight: 600; padding: 0; margin: 0 0 .2rem; }
.arrays p { margin: .5rem 0 .15rem; font-size: 1rem; } .arrays code { background: none; color: inherit; font-size: .95rem; padding: 0; }
.arrays .batch { color: #fff; background: #1F6FA8; border-radius: .25rem; padding: 0 .35rem; }
.arrays table { border-collapse: collapse; display: inline-table; margin: 0 .6rem .3rem 0; }
.arrays td { padding: .1rem .45rem; text-align: right; font: .95rem "Source Code Pro", monospace; min-width: 2.1rem;
  border: 1px solid rgba(128, 128, 128, .3); }
.arrays .call { display: grid; grid-template-columns: auto auto; gap: .1rem .8rem; align-items: center; }
</style>"""


def _tint(example: int | None) -> str:
    """The ground of a number of an example; none for what all examples share."""
    return "" if example is None else f" style='background: {SERIES[example % len(SERIES)]}55'"


def array_html(value: np.ndarray, axis: int | None, example: int | None = None) -> str:
    """An array as tables, its numbers coloured by their place along an axis.

    Args:
        example: colours everything as one example's, if there is no axis.
    """
    if value.size > MAX_CELLS or value.ndim > 3:
        return f"<p>{value.size:,} numbers, too many to show</p>"
    if value.ndim == 3:
        parts = [
            array_html(part, None if axis in (None, 0) else axis - 1, place if axis == 0 else example)
            for place, part in enumerate(value)
        ]
        return "".join(parts)
    table = np.atleast_2d(value)
    across = 2 - value.ndim  # a vector is a row: its axis 0 is the second of the table

    def cell(row: int, column: int) -> str:
        place = (row, column)[axis + across] if axis is not None else example
        return f"<td{_tint(place)}>{table[row, column]:.4g}</td>"

    lines = ("".join(cell(row, column) for column in range(table.shape[1])) for row in range(table.shape[0]))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _shape(value: np.ndarray, axis: int | None) -> str:
    sizes = [f"<b class='batch'>{size}</b>" if i == axis else str(size) for i, size in enumerate(value.shape)]
    return f"<code>({', '.join(sizes)}{',' if len(sizes) == 1 else ''})</code>"


def rows_html(mapped: Mapped, calls: Sequence[str]) -> str:
    """The inputs, a loop over examples, and the batched call, side by side.

    Args:
        calls: what the loop calls, as code.
    """
    inputs = ""
    for name, value, axis in mapped.inputs:
        there = axis is not None and axis < value.ndim
        note = "" if there else " shared" if axis is None else f" has no axis {axis} for the batch"
        inputs += f"<p><code>{escape(name)}</code> {_shape(value, axis)}{note}</p>{array_html(value, axis if there else None)}"
    columns = [f"<div><h4>The inputs</h4>{inputs}</div>"]
    if mapped.output is not None:
        value, axis = mapped.output
        loop = "".join(
            f"<code>{escape(call)}</code><div>{array_html(np.asarray(np.take(value, i, axis)), None, i)}</div>"
            for i, call in enumerate(calls)
        )
        columns.append(f"<div><h4>The loop: {len(calls)} calls</h4><div class='call'>{loop}</div></div>")
        names = ", ".join(escape(name) for name, _, _ in mapped.inputs)
        columns.append(
            f"<div><h4>vmap: one call</h4><p><code>batched({names})</code> {_shape(value, axis)}</p>"
            f"{array_html(value, axis)}</div>"
        )
    return f"{_STYLE}<div class='arrays'>{''.join(columns)}</div>"


def draw_mapped(mapped: Mapped, calls: Sequence[str], code: str) -> None:
    """What became of a choice of axes.

    Args:
        code: the loop and the batched call, complete.
    """
    left, right = st.columns([1, 1.6], gap="medium")
    with left:
        st.code(code, language="python", wrap_lines=True)
    with right:
        st.html(rows_html(mapped, calls))
        if mapped.error:
            st.code(f"{mapped.error}: {mapped.text}", language=None, wrap_lines=True, height=200)
            st.info(mapped.explanation)
    if not mapped.error:
        for column, what, text in zip(
            st.columns(2, gap="large"), ("one example", "the batch"), (mapped.one, mapped.batch), strict=True
        ):
            with column:
                st.markdown(f"What JAX records for {what}, a jaxpr:")
                st.code(text, language=None, wrap_lines=True, height=180 if text.count("\n") > 5 else "content")


CALLED = {"Python loop of jit(f)": "the Python loop", "NumPy vectorised": "NumPy, vectorised by hand"}


def draw_sweep(records: list[Record], largest: int) -> None:
    """The times of all ways at growing sizes, and what they say at the largest."""
    size = records[-1].size or 1
    if size < largest:
        st.progress(size.bit_length() / largest.bit_length(), f"batch size {size:,}")
    st.markdown(f"`{records[0].more['what']}`")
    charts.show(charts.sweep("Time for the whole batch", "batch size (log scale)", RIVALS, records, 420, columns=3))
    sizes = sorted({record.size or 0 for record in records})
    at = {(record.label, record.size): record for record in records}
    sentences = []
    for rival, name in CALLED.items():
        both = [n for n in sizes if (rival, n) in at and ("jit(vmap(f))", n) in at]
        if not both:
            continue
        ratio = times_as_fast(at["jit(vmap(f))", both[-1]], at[rival, both[-1]])
        if ratio is None:
            how = "is not distinguishable from"
        else:
            how = (
                f"is **{ratio:.3g} times** as fast as" if ratio >= 1 else f"takes **{1 / ratio:.3g} times** as long as"
            )
        sentences.append(f"At batch size {both[-1]:,}, `jit(vmap(f))` {how} {name}.")
    st.markdown("  \n".join(sentences))
    hand = "" if ("NumPy vectorised", sizes[0]) in at else " For these axes nobody has vectorised it in NumPy by hand."
    st.caption(f"Loops end at {MAX_LOOP:,} examples, or where they take half a second.{hand}")
