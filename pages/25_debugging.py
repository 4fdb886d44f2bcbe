"""Debugging: seeing inside, and the classic mistakes

Python runs while JAX traces; the numbers come later, in a compiled program. So `print` shows tracers, nothing raises in the
middle of a program, and a NaN travels on in silence. JAX has tools for each of these, shown here at work on one training
step, and a gallery of the mistakes that everybody makes once.

References:
    Debugging: https://docs.jax.dev/en/latest/debugging.html
    Checkify: https://docs.jax.dev/en/latest/debugging/checkify_guide.html
    Flags: https://docs.jax.dev/en/latest/debugging/flags.html
    Sharp bits: https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html
    Errors: https://docs.jax.dev/en/latest/errors.html
"""

import streamlit as st

from lib.lessons.debugging import routine as debugging
from lib.lessons.debugging import view
from lib.lessons.debugging.measure import tool_costs
from lib.lessons.debugging.terminal import main as terminal_program
from lib.lessons.debugging.terminal import step as terminal_step
from lib.ui import charts, frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
data = debugging.noisy_sine(controls.seed)
EVERY = {"never": 0, "every 100 steps": 100, "every 10 steps": 10, "every step": 1}

st.subheader("Live: a step that speaks, and a NaN to find", anchor=False)
st.markdown(
    "The network gives the mean of `y` **and its standard deviation**, and nothing keeps the latter above 0. At learning rate "
    "0.03 all goes well. Take 1, press Run, and when the run has diverged, **find the NaN**."
)
every = EVERY[
    ask('calls_back', 'The step calls back', list(EVERY), required=True, help='`jax.debug.callback` is part of the program: another choice compiles another one.')
]  # fmt: skip
ticket = view.ticket()
watched = debugging.Watched(controls.batch_size, every, ticket)
run = live(watched, controls, view.draw_run(data, every, ticket), pace="100")
view.find_the_nan(run, controls)
panels.source(debugging.predict, debugging.example_loss, debugging.loss_fn, debugging.sgd_step, label="The step")

st.subheader("The tools, one by one", anchor=False)
view.tools(controls)

st.subheader("Where prints go", anchor=False)
left, right = st.columns([1.15, 1], gap="medium")
with left:
    panels.source(terminal_step, terminal_program)
with right:
    view.terminal(controls)

st.subheader("What each tool costs", anchor=False)


def draw_costs(records: list) -> None:
    charts.show(charts.timings("One training step, in the steady state", records))
    if len(records) > 1:
        st.caption(f"Medians of {records[0].samples} samples each, taken in turns, with quartiles.")


panels.measure(
    "tools", controls, draw_costs, f"The same step with each tool, batch size {controls.batch_size:,}, blocked, in turns.",
    tool_costs, controls.batch_size, controls.seed,
)  # fmt: skip
panels.inside("debugging", controls, "jit(step) with a callback", debugging.spoken_step, controls.batch_size)

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- `print` speaks when JAX traces, once; `jax.debug.print` and `jax.debug.callback` speak when the program runs, each time.
- A callback costs the way from the program to Python and back: nothing for a long step, most of the time of a short one.
- The NaN is found at the equation that made it, not where it was noticed: `log` of a deviation below 0. Clip it, or let the
  network give its logarithm.
- `debug_nans`, `disable_jit`, `checking_leaks` and `enable_x64` hold for the thread inside their `with`. Set by
  `jax.config.update` they hold for the whole process: on a server, for everybody.
- Programs are shared by all visitors of this page, so the callback is told by an *argument* whose run it speaks for.
"""
)
st.subheader("Break it: a gallery", anchor=False)
view.gallery()
