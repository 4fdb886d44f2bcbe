"""Control flow: cond, switch, while_loop, fori_loop, scan

Python's `if` and `for` run while JAX traces: a branch that depends on a number is refused, a loop is written out turn by
turn. `jax.lax` has branches and loops that are part of the program: they decide when it runs, and keep one copy of their body.

References:
    Control flow: https://docs.jax.dev/en/latest/control-flow.html
    jax.lax.scan: https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html
    jax.lax.cond: https://docs.jax.dev/en/latest/_autosummary/jax.lax.cond.html
    jax.lax.while_loop: https://docs.jax.dev/en/latest/_autosummary/jax.lax.while_loop.html
"""

import streamlit as st

from lib.lessons.control_flow import measure as measured
from lib.lessons.control_flow import recurrent, view
from lib.lessons.control_flow import routine as control_flow
from lib.lessons.control_flow.mistakes import MISTAKES
from lib.ui import frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
batch_size, seed = controls.batch_size, controls.seed
series = recurrent.series(seed)

st.subheader("Live: a recurrent network through scan", anchor=False)
st.markdown(
    "The same cell at each time, its hidden state carried on: that is a `scan`. It learns to say the next number of a series, "
    f"from windows of {recurrent.WINDOW}; then it goes on by itself, from what it has said. Choose Python `for`: the losses go on "
    f"as before, and {recurrent.WINDOW} copies of the cell are compiled."
)
loop = ask("time_loop", "The loop over time", list(recurrent.PREDICTS), required=True)
live(recurrent.Recurrent(batch_size, loop=loop), controls, view.draw_run(series), pace="100")
panels.source(recurrent.cell, recurrent.PREDICTS[loop], recurrent.loss_fn, recurrent.go_on, label="The network")

st.subheader("Each beside the Python that it replaces", anchor=False)
view.pairs(controls)

st.subheader("Training by three loops", anchor=False)
left, right = st.columns(2, gap="medium")
with left:
    panels.source(recurrent.by_python)
with right:
    panels.source(recurrent.by_scan, recurrent.by_fori_loop)
panels.measure(
    "race", controls, view.draw_race,
    f"The same small network, {measured.ROUND_STEPS:,} steps a round, in turns: batch size {batch_size:,}, learning rate "
    f"{controls.learning_rate:g}.",
    measured.training_race, batch_size, controls.learning_rate, seed,
)  # fmt: skip

st.subheader("Unrolled and rolled: how long, how large, how fast", anchor=False)
panels.source(measured.turns_in_python, measured.turns_in_fori_loop, measured.turns_in_scan, label="The programs")
panels.measure(
    "turns", controls, view.draw_lengths,
    "Programs of 1, 2, 4, ... turns, compiled from nothing, then run. One that took 1.5 s to compile is not made longer.",
    measured.length_sweep, batch_size,
)  # fmt: skip

st.subheader("Forwards, backwards", anchor=False)
left, right = st.columns([1, 1.25], gap="medium")
with left:
    st.markdown("x³ by each of them, differentiated at 2 in both modes, just now: 12, or JAX's refusal.")
    view.derivatives(controls)
with right:
    panels.source(control_flow.power_scan, control_flow.power_fori_traced, control_flow.power_while)

st.subheader("cond under vmap", anchor=False)
st.markdown(
    "With a predicate for each example, `vmap` computes **both** branches for all, and `select_n` takes the results. In front "
    "of each branch it selects between `x` and `stop_gradient(x)`, which are the same number: `sqrt(-1)` is computed, is NaN, "
    "and is thrown away, and no derivative comes back from it. With `where` it does: 0 * NaN is NaN. With one predicate for "
    "all, `cond` stays."
)
view.cond_under_vmap(controls)
panels.stages(
    "control", controls, "jit(value_and_grad(loss_fn, argnums=1))", recurrent.network_and_windows, batch_size, loop
)

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- A branch or a bound that is known while tracing (a shape, a static argument) may be Python. One that depends on numbers
  must be `lax`.
- Unrolled, the program grows with the number of turns, and so does the time to compile it. Rolled, neither does.
- `unroll=8` is in between: fewer turns, each longer. Sometimes it is faster; measure.
- A Python loop of jitted steps pays one dispatch a step. For a small step that is nearly all of the time.
- Backwards needs the numbers of each turn kept: `scan` makes room for them, `while_loop` cannot know for how many.
- `cond` computes one branch, until `vmap` gives it a predicate for each example.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("control", MISTAKES)
