"""jit(grad(vmap(loss))): the gradient of a batch

The loss is written for one example. `vmap` makes it a loss for each example of a batch, a reduction makes one number
of them, `grad` differentiates that number with respect to the weights, and `jit` compiles the whole. This is what
every training step in JAX comes down to.

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
from lib.live.run import Snapshot
from lib.ui import charts, frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
batch_size, seed = min(controls.batch_size, regression.EXAMPLES), controls.seed

left, right = st.columns([1, 1.25], gap="large")
with left:
    st.subheader("Four steps", anchor=False)
    panels.steps(regression.four_steps(batch_size))
    panels.source(regression.example_loss, regression.batch_loss)
with right:
    st.subheader("Four ways to one gradient", anchor=False)

    def draw_ways(report: dict) -> None:
        grads = {way: report[way] for way in regression.WAYS}
        table = {"way": list(grads)} | {
            f"∂/∂w{i}": [f"{grad[i]:.6g}" for grad in grads.values()] for i in range(regression.FEATURES)
        }
        st.dataframe(table, hide_index=True)
        worst = max(np.abs(grad - grads["closed form"]).max() for grad in grads.values())
        scale = np.abs(grads["closed form"]).max()
        st.markdown(
            f"Gradient of the **summed** loss of {batch_size:,} examples at w = 0. Largest difference from the closed "
            f"form `2 Xᵀ(Xw - y)`: **{worst:.2g}**, which is {worst / scale:.1e} of the largest entry: rounding of float32."
        )
        title = "Length of each example's own gradient"
        charts.show(view.histogram(title, "norm of the gradient", "examples", report["norms"]))

    panels.answer(draw_ways, controls.device, regression.gradient_report, batch_size, seed)

st.subheader("Live: SGD towards the least-squares optimum", anchor=False)
st.markdown(
    "The gradient of the **sum** is Batch size times that of the **mean**: with the sum, a learning rate that suits one "
    "batch size is too high for a larger one. With the mean it keeps its meaning."
)
with st.container(horizontal=True, vertical_alignment="center"):
    reduction = ask("reduction", "Reduction", ["mean", "sum"], required=True)
    log = ask("regression_log", "Logarithmic loss axis")
optimum, lowest = regression.least_squares(seed)


def draw_run(snapshot: Snapshot) -> list[charts.Shown]:
    title = "Mean squared error over all examples"
    w = snapshot.picture["w"] if snapshot.picture else np.zeros(regression.FEATURES)
    above = (
        ", which no weights beat." if not snapshot.latest
        else f". The run is {snapshot.latest['loss'] - lowest:.3g} above it."
    )  # fmt: skip
    return [
        charts.fan(title, "mean squared error", snapshot, log, reference=lowest, height=420, width=0.615),
        view.weights("Weights (dots) and the optimum (bars)", w, optimum, 420, 0.385),
        charts.Text(f"Dashed: the least-squares optimum, {lowest:.6f}{above}"),
    ]


live(regression.LinearRegression(controls.batch_size, reduction), controls, draw_run, pace="100")

st.subheader("Timings", anchor=False)


def draw_timings(records: list) -> None:
    charts.show(charts.timings("The gradient of one batch, in the steady state", records))
    if records:
        st.caption(f"Medians of {records[0].samples} samples each, taken in turns, with quartiles.")


panels.measure(
    "ways", controls, draw_timings, f"The ways above on {batch_size:,} examples, blocked, in turns.",
    measured.gradient_ways, batch_size, seed,
)  # fmt: skip
panels.inside("ways", controls, "jit(grad(vmap(loss)))", regression.batch_gradient, batch_size)

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- `in_axes=(None, 0, 0)`: the weights are shared, inputs and targets are walked over.
- The gradient of the sum is the sum of the gradients: `grad(vmap)` and `vmap(grad)` agree to rounding. The second
  also has each example's own gradient, for clipping or for finding outliers, and pays for it in memory.
- Sum at learning rate η and mean at learning rate Batch size × η take the same steps.
- SGD does not settle at the optimum with a constant rate: it hovers above, closer with a lower rate or a larger batch.
- A Python loop over a jitted gradient pays one dispatch an example.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("ways", MISTAKES)
