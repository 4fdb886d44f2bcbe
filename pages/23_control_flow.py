"""Control flow: cond, switch, while_loop, fori_loop, scan

A recurrent network predicts the next number of a series, by a `scan` over 32 of them. Press **Run**: orange comes to
follow grey. Then choose Python `for`: the loss goes on, but the program holds the loop's body 32 times and compiles
longer.

Python's `if` and `for` run while JAX traces: a branch that depends on a number raises an error, and a loop is unrolled, with
a copy of its body for each turn. `jax.lax` has branches and loops that are part of the program: they decide when it runs.

References:
    Control flow: https://docs.jax.dev/en/latest/control-flow.html
    jax.lax.scan: https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html
    jax.lax.cond: https://docs.jax.dev/en/latest/_autosummary/jax.lax.cond.html
    jax.lax.while_loop: https://docs.jax.dev/en/latest/_autosummary/jax.lax.while_loop.html
"""

import streamlit as st

from lib.lessons.control_flow import measure as measured
from lib.lessons.control_flow import recurrent, view
from lib.lessons.control_flow.mistakes import MISTAKES
from lib.lessons.control_flow.questions import QUESTIONS
from lib.lessons.control_flow.snippet import line, snippet
from lib.routines.snippets import source
from lib.ui import frame, panels, predict, stage
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin()
with stage.settings():
    loop = ask(
        "time_loop",
        "Loop over time",
        list(recurrent.PREDICTS),
        required=True,
        help="How the network goes from one number of the series to the next: 32 turns.",
    )

problem = recurrent.Recurrent(controls.batch_size, loop=loop)
live(problem, controls, view.draw_run(recurrent.series(controls.seed)), code=line(loop), suits=(0.001, 0.1), pace="100")


def code() -> None:
    panels.snippet(snippet(loop, controls.batch_size), controls, beside=True, height=900)


def race() -> None:
    st.markdown("A small network, trained by three loops over its steps, in turns.")
    left, right = st.columns(2, gap="medium")
    left.code(source(recurrent.by_python, recurrent.by_scan), wrap_lines=True)
    right.code(source(recurrent.by_fori_loop, recurrent.sgd_step), wrap_lines=True)
    panels.measure(
        "race", controls, view.draw_race,
        f"{measured.ROUNDS} rounds of {measured.ROUND_STEPS:,} steps: batch size {controls.batch_size:,}, learning rate "
        f"{controls.learning_rate:g}.",
        measured.training_race, controls.batch_size, controls.learning_rate, controls.seed,
    )  # fmt: skip


def timings() -> None:
    panels.measure(
        "turns", controls, view.draw_lengths,
        f"Loops of 1, 2, 4, … turns, compiled and run. A loop that takes {measured.MAX_COMPILE_S:g} s to compile gets no longer.",
        measured.length_sweep, controls.batch_size,
    )  # fmt: skip
    panels.source(measured.turns_in_python, measured.turns_in_fori_loop, measured.turns_in_scan, label="The loops")


NOTICE = """
- A branch or a number of turns that JAX knows while it traces may be Python. One that depends on values must be `lax`.
- Unrolled, the program and the time to compile it grow with the number of turns. Rolled, they do not: see **Timings**.
- `unroll=8` is in between: an eighth of the turns, each eight times as long. It may run faster: measure it.
- A Python loop of jitted steps dispatches each step by itself. For small steps that takes most of the time: see
  **Training race**.
- Reverse mode needs the values of each turn. `scan` stores them. `while_loop` cannot: its number of turns is unknown.
- `cond` runs one branch, unless `vmap` gives it a predicate for each example: see **Under vmap**.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, loop=loop),
        "Code": code,
        "if, for, while": lambda: view.pairs(controls),
        "Derivatives": lambda: view.derivatives(controls),
        "Under vmap": lambda: view.cond_under_vmap(controls),
        "Training race": race,
        "Timings": timings,
        "Inside": lambda: panels.inside(
            "control",
            controls,
            line(loop).removeprefix("jax."),
            recurrent.network_and_windows,
            controls.batch_size,
            loop,
        ),
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("control", MISTAKES),
    },
    terms=(
        "scan",
        "carry",
        "trace",
        "tracer",
        "static",
        "dispatch",
        "batch",
        "jaxpr",
        "StableHLO",
        "HLO",
        "fusion",
        "flops",
    ),
)
