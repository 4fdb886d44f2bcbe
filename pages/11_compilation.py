"""Compilation: the cache of jit, and compiling ahead of time

`jit` runs a Python function once, with tracers in place of arrays, and writes down what it did (trace). It translates
that for the compiler (lower), has it optimised for the device (compile), and keeps the program under a key: the function
itself, shapes and dtypes of its arguments, the values of static ones. The next call with the same key runs at once.

References:
    Just-in-time compilation: https://docs.jax.dev/en/latest/jit-compilation.html
    Ahead-of-time lowering and compilation: https://docs.jax.dev/en/latest/aot.html
    Roofline: https://jax-ml.github.io/scaling-book/roofline/
"""

import streamlit as st

from lib.lessons.compilation import fresh_start
from lib.lessons.compilation import measure as measured
from lib.lessons.compilation import routine as compilation
from lib.lessons.compilation import view as compiled
from lib.lessons.compilation.mistakes import MISTAKES
from lib.measure.stages import stages_and_value, take_stages
from lib.routines import datasets
from lib.ui import frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
batch_size = controls.batch_size

with st.container(horizontal=True, vertical_alignment="bottom"):
    name = ask("routine", "Routine", list(compilation.ROUTINES), width=320)
    depth = ask(
        "compiled_depth",
        "Depth of the network",
        [1, 2, 4, 8, 16],
        width=320,
        help="Hidden layers of the network that `train_step` trains. Another depth is another program.",
    )

st.subheader("Live: a program at work", anchor=False)
st.markdown(
    f"`train_step` for a network of {depth} hidden layers, many steps in one program. Run it, then change **Batch size**: "
    "the line below the charts says what the new program cost. Change the learning rate: nothing compiles."
)
task = compilation.task(batch_size, depth, datasets.load("regression", controls.seed))
live(task, controls, compiled.draw_run(task))

st.subheader("One call, stage by stage", anchor=False)
routine = compilation.ROUTINES[name]
panels.source(*routine.sources, take_stages, label=f"The routine, `{name}`, and how it is compiled ahead of time")
panels.measure(
    "timeline", controls, compiled.draw_timeline, f"`jit({name})` from nothing, for batch size {batch_size:,}.",
    measured.stage_timeline, name, batch_size, depth,
)  # fmt: skip
panels.answer(
    compiled.draw_stages, controls.device, stages_and_value, compilation.routine, name,
    batch_size, depth,
)  # fmt: skip

st.subheader("The cache of jit, live", anchor=False)
st.markdown(
    "This function is yours: nobody else calls it, so its cache holds what you put there. Whether a call was a hit is "
    "told by `on_trace`, which Python runs while JAX traces and at no other time. **Batch size** is its n."
)
panels.source(compilation.sine_power_that_tells, label="The function, with `power` static")
compiled.jit_cache(controls)

st.subheader("The longer the program, the longer it compiles", anchor=False)
with st.expander("The programs"):
    panels.source(
        compilation.sine_loop, compilation.sine_fori_loop, compilation.layers_in_python, compilation.layers_in_scan
    )
panels.measure(
    "lengths", controls, compiled.draw_lengths,
    "Python's `for` against a loop inside the program, n doubling. A kind that took 1.5 s to compile is not made longer.",
    measured.compile_sweep, batch_size,
)  # fmt: skip

st.subheader("Static, donated, exported, kept", anchor=False)
left, right = st.columns(2, gap="large")
with left:
    st.markdown("**`static_argnames`: known while tracing.** A Python loop needs its bound as a number.")
    panels.source(compilation.sine_loop)
    num_steps = ask("num_steps", "n", 1, 50, width=160)
    panels.answer(compiled.draw_static, controls.device, compilation.static_report, num_steps)
    st.markdown(
        "**The persistent cache: for the next start.** Two new processes compile the same 600 sines, with "
        "`JAX_COMPILATION_CACHE_DIR` set to a folder that is empty at first. This server's own settings stay as they are."
    )
    panels.source(fresh_start.unrolled)
    panels.measure(
        "starts", controls, compiled.draw_starts, "Two starts of Python and JAX on the CPU, some seconds.",
        measured.fresh_starts,
    )  # fmt: skip
with right:
    st.markdown(
        f"**`donate_argnums`: the result in the argument's memory.** `sgd_update` of {1024 * batch_size:,} parameters."
    )
    panels.source(compilation.sgd_update)
    panels.answer(compiled.draw_donation, controls.device, compilation.donation_report, 1024 * batch_size)
    st.markdown("**`jax.export`: the program as bytes**, for another process or another day, the batch size left open.")
    panels.source(compilation.export_batched_affine)
    panels.answer(compiled.draw_export, controls.device, compilation.export_report, batch_size)

st.subheader("A call returns before its result is there", anchor=False)
panels.measure(
    "dispatch", controls, compiled.draw_dispatch,
    "`jit(matmul)`, blocked until the result is there, and not blocked: until the call returns. In turns.",
    measured.dispatch_sweep,
)  # fmt: skip

st.subheader("How much of this machine is used", anchor=False)
st.markdown(
    "A program can be no faster than the arithmetic units (the flat roof) and than memory can feed them (the slope). Under "
    "the slope it waits for data: fewer flops would not help."
)
panels.measure(
    "roofline", controls, compiled.draw_roofline,
    f"Peak and bandwidth of {controls.device_name}, then each routine at batch size {batch_size:,}.",
    measured.roofline, batch_size, depth,
)  # fmt: skip

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- Tracing and lowering are Python's work and grow with the number of equations; compiling is the backend's.
- The first call of a new shape, dtype, weak type or static value costs thousands of later ones. The value of an array or
  of a Python number costs nothing.
- JAX keeps programs for each function object: a function made anew at each call is compiled anew at each call.
- A Python loop is unrolled into the program. `fori_loop` and `scan` keep one copy of their body, however long they run.
- A call returns when its work is in the queue. Timings without `block_until_ready` measure the queue.
- Flops and bytes are counted by XLA's cost model, before anything runs: `sin` and `tanh` are not among the flops, and each
  operand counts as if it came from memory. Small arrays come from caches, so a point may lie above the slope; and the
  smallest programs lie far below, because their time is one dispatch, whatever they compute.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("compilation", MISTAKES)
