"""jit(vmap(f)): write for one example, run a batch

`vmap` takes a function of one example and gives the function of a batch: it adds a batch axis to every operation
inside, so there is no loop. `in_axes` says where each argument carries the batch, or `None` where all examples share
it; `out_axes` says where the result carries it. `jit` then fuses the batched operations into one program.

References:
    Automatic vectorization: https://docs.jax.dev/en/latest/automatic-vectorization.html
    jax.vmap: https://docs.jax.dev/en/latest/_autosummary/jax.vmap.html
"""

import streamlit as st

from lib.lessons.jit_vmap import measure as measured
from lib.lessons.jit_vmap import routine as batching
from lib.lessons.jit_vmap import view
from lib.lessons.jit_vmap.mistakes import MISTAKES
from lib.live.run import Snapshot
from lib.measure.timing import times_as_fast
from lib.routines.typed import check, parse, parse_shape
from lib.ui import charts, frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask
from lib.ui.typed_input import TYPED, typed, understood

AXES = ["None", "0", "1"]
SHAPES = {"w": "(3, 5)", "x": "(5,)", "b": "(3,)"}

controls = frame.begin(__doc__)


def typed_name() -> batching.TypedBatchFunction:
    """What the visitor types, and the shape of each of its arguments for one example."""
    f = typed("f =", "typed_batched", parse)
    with st.container(horizontal=True):
        texts = [ask("shape_{}", f"shape of {name}", part=name, default=SHAPES.get(name, "()")) for name in f.arguments]
    shapes = tuple(understood(parse_shape, text) for text in texts)
    understood(check, f, shapes, controls.batch_size)
    return batching.TypedBatchFunction(f.text, shapes)


left, right = st.columns([1, 1.4], gap="large")
with left:
    chosen = ask("batched", "Function", [*batching.FUNCTIONS, TYPED])
    name: batching.Name = typed_name() if chosen == TYPED else chosen
    function = batching.function_of(name)
    panels.source(*(() if chosen == TYPED else (function.fun,)), batching.batched)
with right:
    shown = min(controls.batch_size, 4)
    slug = function.fun.__name__
    with st.container(horizontal=True):
        axes = tuple(
            ask('{}_in_{}', f'in_axes of {argument.name}', AXES, part=(slug, argument.name), default=str(axis))
            for argument, axis in zip(function.arguments, function.in_axes, strict=True)
        )  # fmt: skip
        out_axes = ask("{}_out", "out_axes", AXES, part=slug)
    in_axes = tuple(None if axis == "None" else int(axis) for axis in axes)
    result_axis = None if out_axes == "None" else int(out_axes)

    def draw_mapped(mapped: batching.Mapped) -> None:
        panels.shapes(mapped.inputs, mapped.output, function.fun.__name__)
        if mapped.error:
            st.code(f"{mapped.error}: {mapped.text}", language=None, wrap_lines=True)
            st.info(mapped.explanation)
        else:
            st.markdown(f"The result for a batch of {shown}, on {controls.device_name}:")
            st.code(mapped.text, language=None)

    panels.answer(draw_mapped, controls.device, batching.try_axes, name, in_axes, result_axis, shown)

st.subheader("Timings: ways to compute a batch", anchor=False)


def draw_sweep(records: list) -> None:
    size = records[-1].size
    done = len({record.size for record in records}) / controls.batch_size.bit_length()
    st.progress(min(1.0, done), f"batch size {size:,}")
    title = "Time for the whole batch"
    charts.show(charts.sweep(title, "batch size (log scale)", batching.RIVALS, records, 500, columns=3))
    last = {record.label: record for record in records if record.size == size}
    loop, compiled = last.get("Python loop of jit(f)"), last.get("jit(vmap(f))")
    if loop and compiled:
        ratio = times_as_fast(compiled, loop)
        how = "not distinguishable from" if ratio is None else f"**{ratio:,.1f} times** as fast as"
        st.markdown(f"At batch size **{size:,}**, `jit(vmap(f))` is {how} the Python loop over the jitted function.")


panels.measure(
    "sweep", controls, draw_sweep,
    f"Every power of two up to Batch size ({controls.batch_size:,}), each way blocked and timed in turns.",
    measured.batching_sweep, name, controls.batch_size,
)  # fmt: skip
panels.inside("vmap", controls, "jit(vmap(f))", batching.mapped, name, controls.batch_size)

st.subheader("Live: many models trained at once", anchor=False)
st.markdown(
    "**Batch size** small networks with different starting points learn the same sine. One `vmap` over the models turns "
    "the step of one into the step of all: same code, one more axis."
)
with st.expander("The routine"):
    panels.source(batching.predict, batching.model_loss, batching.ensemble_step)
log = ask("ensemble_log", "Logarithmic loss axis")


def draw_run(snapshot: Snapshot) -> list[charts.Shown]:
    inputs, targets = batching.sine_data()
    preds = snapshot.picture["preds"] if snapshot.picture else ()
    loss = "Loss of the models: mean, range, some one by one"
    return [
        view.fits("What the models predict, and the sine", inputs, targets, preds, 440, 0.5),
        charts.fan(loss, "mean squared error", snapshot, log, batching.CURVES, height=440, width=0.5),
    ]


live(batching.Ensemble(controls.batch_size), controls, draw_run)

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- The function never mentions a batch: `in_axes` alone decides what is walked over and what is shared.
- A Python loop pays Python and dispatch once an example, so its line rises with the batch from the start.
  `jit(vmap(f))` stays flat until the arithmetic itself outweighs one dispatch.
- `vmap` without `jit` dispatches every operation on its own: no loop, but no fusion either.
- NumPy vectorised by hand is a fair rival on small arrays: nothing to dispatch.
- Another batch size is another shape, and compiles another program. The learning rate is not, and does not.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("vmap", MISTAKES)
