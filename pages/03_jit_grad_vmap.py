"""jit(grad(mean(vmap(loss)))): the gradient of a batch

This page fits five weights. Press **Run**: each dot moves to its bar, the least-squares optimum. Then choose **sum**,
press **Reset** and **Run**: the step grows with the batch, and the loss explodes. Find a lower rate that works.

The loss is written for one example. `vmap` gives a loss for each example of a batch, a mean makes one number of them,
`grad` differentiates that number with respect to the weights, and `jit` compiles the whole. Training steps in JAX are
built like this.

References:
    Automatic differentiation: https://docs.jax.dev/en/latest/automatic-differentiation.html
    Per-example gradients: https://docs.jax.dev/en/latest/jacobian-vector-products.html
"""

import numpy as np
import streamlit as st

from lib.lessons.jit_grad_vmap import measure as measured
from lib.lessons.jit_grad_vmap import routine as regression
from lib.lessons.jit_grad_vmap import view
from lib.lessons.jit_grad_vmap.mistakes import MISTAKES
from lib.lessons.jit_grad_vmap.questions import QUESTIONS
from lib.lessons.jit_grad_vmap.snippet import line, snippet
from lib.live.run import Snapshot
from lib.ui import charts, frame, panels, predict, stage
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin()

with stage.settings():
    reduction = ask("reduction", "Reduction", ["mean", "sum"], required=True)
    log = ask("regression_log", "Log scale")
    if controls.batch_size > regression.EXAMPLES:
        st.caption(f"There are {regression.EXAMPLES:,} examples: larger batches are cut to them on this page.")
batch_size, seed = min(controls.batch_size, regression.EXAMPLES), controls.seed
controls = controls._replace(batch_size=batch_size)
optimum, lowest = regression.least_squares(seed)


def draw(snapshot: Snapshot) -> list[charts.Shown]:
    w = snapshot.picture["w"] if snapshot.picture else np.zeros(regression.FEATURES)
    return [
        view.weights("Weights (dots), optimum (bars)", w, optimum),
        charts.fan("Loss over all examples, and its minimum", "mean squared error", snapshot, log, reference=lowest, width=0.5),
    ]  # fmt: skip


def above_the_minimum(snapshot: Snapshot) -> dict[str, str]:
    return {"Above minimum": f"{snapshot.latest['loss'] - lowest:.3g}" if snapshot.latest else "–"}


live(
    regression.LinearRegression(batch_size, reduction), controls, draw, code=line(reduction),
    suits=regression.suitable_rates(batch_size, reduction), pace="20", extra_stats=above_the_minimum,
)  # fmt: skip


def code() -> None:
    left, right = st.columns([1.1, 1], gap="large")
    with left:
        panels.snippet(snippet(batch_size, reduction, controls.learning_rate, seed), controls)
    with right:
        st.markdown("The composition step by step, and what goes in and comes out of each function:")
        panels.steps(regression.four_steps(batch_size, reduction))


def gradients() -> None:
    panels.answer(
        lambda report: view.draw_ways(batch_size, report), controls.device, regression.gradient_report, batch_size, seed
    )


def timings() -> None:
    panels.measure(
        "ways", controls, view.draw_timings, f"The ways of **Gradients** on {batch_size:,} examples, blocked, in turns.",
        measured.gradient_ways, batch_size, seed,
    )  # fmt: skip


def inside() -> None:
    title = f"jit(grad({reduction}(vmap(loss))))"
    panels.inside("ways", controls, title, regression.batch_gradient, batch_size, reduction)


NOTICE = """
- `in_axes=(None, 0, 0)`: all examples share the weights; inputs and targets have a row for each example.
- `grad` needs one number, so the mean goes inside: `grad(vmap(loss))` is an error, and one of those in **Break it**.
- The gradient of a mean is the mean of the gradients: `grad(mean(vmap(loss)))` and `mean(vmap(grad(loss)))` agree but for
  rounding. Only the second has a gradient for each example, to clip or to find outliers: see **Gradients**.
- The gradient of the **sum** is Batch size times that of the **mean**. Divide the learning rate by Batch size, and both
  take the same steps.
- With a constant learning rate SGD hovers above the minimum, closer with a lower rate or a larger batch.
- The Python loop dispatches several programs for each example; the compiled others dispatch one for the whole batch.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, reduction=reduction),
        "Code": code,
        "Gradients": gradients,
        "Timings": timings,
        "Inside": inside,
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("ways", MISTAKES),
    },
    terms=(
        "batch",
        "argnums",
        "learning rate",
        "trace",
        "dispatch",
        "eager",
        "steady",
        "jaxpr",
        "HLO",
        "fusion",
        "flops",
    ),
)
