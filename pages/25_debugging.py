"""Debugging: seeing inside, and the classic mistakes

See values inside a compiled training step, and find where a NaN begins. Press **Run**: every 10 steps the step itself
says its loss, below the charts. Then set the learning rate to 1, press **Reset** and **Run**. When it diverges, open **Find the NaN**.

Python runs while JAX traces; the numbers come later, in a compiled program. So `print` shows tracers, nothing raises in the
middle of a program, and a NaN travels on in silence. JAX has tools for each of these.

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
from lib.lessons.debugging.questions import QUESTIONS
from lib.lessons.debugging.snippet import snippet
from lib.lessons.debugging.terminal import main as terminal_program
from lib.lessons.debugging.terminal import step as terminal_step
from lib.routines.snippets import source
from lib.ui import charts, frame, panels, predict, stage
from lib.ui.live_view import live, session_feed
from lib.ui.settings import ask

controls = frame.begin().here()  # its steps call back into this process
EVERY = {"never": 0, "every 100 steps": 100, "every 10 steps": 10, "every step": 1}

with stage.settings():
    every = EVERY[
        ask(
            "calls_back", "The step calls back", list(EVERY), required=True,
            help="`jax.debug.callback` is part of the program: another choice compiles another one.",
        )
    ]  # fmt: skip
ticket = view.ticket(session_feed(frame.page_name()).run, controls.seed)
run = live(
    debugging.Watched(controls.batch_size, every, ticket), controls,
    view.draw_run(debugging.noisy_sine(controls.seed), every, ticket),
    code="jax.jit(step)" + ("  # jax.debug.callback inside" if every else ""), suits=(0.003, 0.03), pace="100",
    compares=False,  # each step measured would call back
)  # fmt: skip


def code() -> None:
    whole, step = st.columns(2, gap="large")
    with whole:
        panels.snippet(snippet(controls.learning_rate), controls, height=620)
    with step:
        st.markdown("The run above: `vmap` takes all examples of a batch, and nothing keeps the deviation above 0.")
        st.code(
            source(debugging.predict, debugging.example_loss, debugging.loss_fn, debugging.sgd_step),
            wrap_lines=True,
            height=620,
        )


def terminal() -> None:
    program, output = st.columns([1.15, 1], gap="medium")
    with program:
        st.code(source(terminal_step, terminal_program), wrap_lines=True)
    with output:
        view.terminal(controls)


def timings() -> None:
    def draw(records: list) -> None:
        charts.show(charts.timings("One training step, in the steady state", records))
        if len(records) > 1:
            st.caption(f"Medians of {records[0].samples} samples each, taken in turns, with quartiles.")

    panels.measure(
        "tools", controls, draw, f"The same step with each tool, batch size {controls.batch_size:,}, blocked, in turns.",
        tool_costs, controls.batch_size, controls.seed,
    )  # fmt: skip


NOTICE = """
- `print` runs when JAX traces, once. `jax.debug.print` and `jax.debug.callback` run with the program, each time.
- A callback takes the way from the program to Python: longer than a step as short as this one. **Timings** measures it.
- The NaN is found at the equation that made it: `log` of a deviation below 0. Clip the deviation, or let the network give
  its logarithm.
- `debug_nans`, `disable_jit`, `checking_leaks` and `enable_x64` hold for the thread inside their `with`. Set by
  `jax.config.update` they hold for the whole process: on a server, for everybody.
- All visitors of this page share one program, so an *argument* tells the callback whose run it speaks for.
- **Go back**, after a divergence, returns to the step at which the loss was last near its lowest.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls),
        "Find the NaN": lambda: view.find_the_nan(run, controls),
        "Code": code,
        "Tools": lambda: view.tools(controls),
        "Terminal": terminal,
        "Timings": timings,
        "Inside": lambda: panels.inside(
            "debugging", controls, "jit(step) with a callback", debugging.spoken_step, controls.batch_size
        ),
        "Notice": NOTICE,
        "Break it": view.gallery,
    },
    terms=("trace", "tracer", "jaxpr", "eager", "StableHLO", "HLO"),
)
