"""Compilation: what jit does, and when it does it again

`jit` records a function's operations (trace), translates them (lower) and compiles, once for each shape. Press
**Run** and, while it runs, choose another batch size: **Programs of this run** gets a second bar. Another learning
rate adds none.

References:
    Just-in-time compilation: https://docs.jax.dev/en/latest/jit-compilation.html
    Ahead-of-time lowering and compilation: https://docs.jax.dev/en/latest/aot.html
    Roofline: https://jax-ml.github.io/scaling-book/roofline/
"""

import streamlit as st

from lib.lessons.compilation import fresh_start
from lib.lessons.compilation import measure as measured
from lib.lessons.compilation import routine as compilation
from lib.lessons.compilation import snippet as code_of
from lib.lessons.compilation import view as compiled
from lib.lessons.compilation.mistakes import MISTAKES
from lib.lessons.compilation.questions import QUESTIONS
from lib.measure.stages import stages_and_value
from lib.routines import datasets
from lib.ui import frame, panels, predict, stage
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin()
batch_size = controls.batch_size
with stage.settings():
    depth = ask(
        "compiled_depth",
        "Hidden layers",
        [1, 2, 4, 8, 16],
        width=140,
        help="Of the network that `train_step` trains, 32 units each. Another depth is another program.",
    )
live(
    compilation.task(batch_size, depth, datasets.load("regression", controls.seed)), controls, compiled.draw_run,
    code=code_of.line(depth, batch_size), suits=(0.003, 0.03), pace="100",
)  # fmt: skip


def code() -> None:
    panels.snippet(code_of.snippet(batch_size), controls, beside=True)


def choose() -> str:
    """A routine, the same in each panel that asks for it."""
    choice, code = st.columns([1, 4], vertical_alignment="bottom")
    with choice:
        name: str = ask("routine", "Routine", list(compilation.ROUTINES))
    with code:
        panels.source(*compilation.ROUTINES[name].sources, label=f"The code of {name}")
    return name


def timings() -> None:
    name = choose()
    panels.measure(
        "timeline", controls, compiled.draw_timeline, f"`jit({name})` compiled from nothing, at batch size {batch_size:,}.",
        measured.stage_timeline, name, batch_size, depth,
    )  # fmt: skip


def inside() -> None:
    panels.answer(
        compiled.draw_stages, controls.device, stages_and_value, compilation.routine, choose(), batch_size, depth
    )


def cache() -> None:
    st.markdown(
        "This function is yours alone, so its cache has what you put there. `on_trace` tells a hit from a miss: Python runs "
        "it while JAX traces, and at no other time."
    )
    panels.source(compilation.sine_power_that_tells, label="The function, with `power` static")
    compiled.jit_cache(controls)


def loops() -> None:
    programs, chart = st.columns([1, 1.3], gap="large")
    with programs:
        panels.source(
            compilation.sine_loop, compilation.sine_fori_loop, compilation.layers_in_python, compilation.layers_in_scan
        )
    with chart:
        panels.measure(
            "lengths", controls, compiled.draw_lengths, "n doubles until a program takes 1.5 s to compile.",
            measured.compile_sweep, batch_size,
        )  # fmt: skip


def arguments() -> None:
    static, donated = st.columns(2, gap="large")
    with static:
        st.markdown("**`static_argnames`: known while tracing.** A Python loop needs its bound as a number.")
        panels.source(compilation.sine_loop)
        num_steps = ask("num_steps", "n", 1, 50, width=160)
        panels.answer(compiled.draw_static, controls.device, compilation.static_report, num_steps)
    with donated:
        size = 1024 * batch_size
        st.markdown(f"**`donate_argnums`: the result in the argument's memory**, for {size:,} parameters.")
        panels.source(compilation.sgd_update)
        panels.answer(compiled.draw_donation, controls.device, compilation.donation_report, size)


def export() -> None:
    exported, kept = st.columns(2, gap="large")
    with exported:
        st.markdown("**`jax.export`: a program as bytes**, for another process or another day, for every batch size.")
        panels.source(compilation.export_batched_affine)
        panels.answer(compiled.draw_export, controls.device, compilation.export_report, batch_size)
    with kept:
        st.markdown(
            "**The persistent cache: programs in files.** Two new processes compile the same function, with "
            "`JAX_COMPILATION_CACHE_DIR` set to a folder that is empty at first."
        )
        panels.source(fresh_start.unrolled)
        panels.measure(
            "starts", controls, compiled.draw_starts, "Starts Python and JAX twice on the CPU: some seconds.",
            measured.fresh_starts,
        )  # fmt: skip


def dispatch() -> None:
    panels.measure(
        "dispatch", controls, compiled.draw_dispatch,
        "`jit(matmul)` until its result is there (blocked), and until the call returns (not blocked), in turns.",
        measured.dispatch_sweep,
    )  # fmt: skip


def roofline() -> None:
    panels.measure(
        "roofline", controls, compiled.draw_roofline,
        f"Peak and bandwidth of {controls.device_name}, then each routine at batch size {batch_size:,}.",
        measured.roofline, batch_size, depth,
    )  # fmt: skip
    st.caption(
        "A program is no faster than the arithmetic units (the flat roof), nor than memory that feeds them (the slope). "
        "Flops and bytes are the compiler's estimate: it counts each operand as read from memory and leaves out `sin` and "
        "`tanh`. So a small array, which a cache holds, may lie above the slope, and the smallest programs, whose time is "
        "one dispatch, far below it."
    )


NOTICE = """
`jit` runs a Python function once, with tracers in place of arrays, and writes down what it does (**trace**). It
translates that for the compiler (**lower**), which makes a program for the device (**compile**). The program is kept
under a key: the function, the shapes and dtypes of its arguments, the values of static ones. The next call with that
key runs at once.

- Trace and lower are Python's work and grow with the number of equations.
- The first call with a new shape, dtype or static value takes as long as many later ones. Another number in an array
  costs nothing.
- JAX keeps programs for each function object: a function that is made anew at each call compiles at each call.
- A Python loop is unrolled into the program. `fori_loop` and `scan` keep one copy of their body.
- A call returns when its work is in the queue. Use `block_until_ready` in timings.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, depth=depth),
        "Code": code,
        "Timings": timings,
        "Inside": inside,
        "Cache": cache,
        "Loops": loops,
        "Arguments": arguments,
        "Export": export,
        "Dispatch": dispatch,
        "Roofline": roofline,
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("compilation", MISTAKES),
    },
    terms=(
        "trace", "tracer", "lower", "static", "weak type", "donation", "dispatch", "jaxpr", "StableHLO", "HLO", "XLA", "flops",
        "roofline",
    ),
)  # fmt: skip
