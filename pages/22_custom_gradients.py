"""custom_jvp and custom_vjp: derivatives of one's own

`grad` differentiates a program as it is written, operation by operation. Where that overflows, meets a NaN, is 0
everywhere or needs too much memory, you say yourself what the derivative is: with `custom_jvp` how the result moves
when the argument does, with `custom_vjp` what goes back to the argument.

References:
    Custom derivative rules: https://docs.jax.dev/en/latest/notebooks/Custom_derivative_rules_for_Python_code.html
    NaN through where: https://docs.jax.dev/en/latest/faq.html
    jax.checkpoint: https://docs.jax.dev/en/latest/gradient-checkpointing.html
    check_grads: https://docs.jax.dev/en/latest/_autosummary/jax.test_util.check_grads.html
"""

import streamlit as st

from lib.lessons.custom_gradients import fixed_points, pair_training, view
from lib.lessons.custom_gradients import measure as gradient_memory
from lib.lessons.custom_gradients import routine as custom_gradients
from lib.lessons.custom_gradients.mistakes import MISTAKES
from lib.ui import frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
batch_size, device = controls.batch_size, controls.device

name = ask("custom_gradients_pair", "Pair", list(custom_gradients.PAIRS), width=480)
pair = custom_gradients.PAIRS[name]
st.latex(pair.formula)
for column, version, sources in zip(st.columns(2, gap="large"), custom_gradients.VERSIONS, pair.sources, strict=True):
    with column:
        st.subheader(version.capitalize(), anchor=False)
        panels.source(*sources)
panels.answer(view.draw_curves(name), device, custom_gradients.curves, name)
st.markdown(pair.why)
st.markdown("**What `jax.test_util.check_grads` says**, which takes central differences:")
panels.answer(view.draw_checks(name), device, custom_gradients.check_report, name)

st.subheader("Live: a training through both", anchor=False)
st.markdown(f"The same start, the same batches, the same rate. {pair.fails}")
with st.expander("The loss and the step"):
    panels.source(pair.arguments, pair.loss, pair_training.loss_fn, pair_training.PairTraining)
live(pair_training.PairTraining(name, batch_size), controls, view.draw_run(name), pace="100")
panels.stages("custom", controls, f"jit(grad({pair.mended.__name__}))", custom_gradients.gradient, name, "mended")  # fmt: skip

st.subheader("A fixed point: unrolled and implicit", anchor=False)
st.markdown(
    "The unrolled way back goes through every iteration, and keeps them all. The implicit one solves one equation at the "
    f"fixed point. Here for {batch_size:,} places on an orbit of eccentricity {fixed_points.SLOW}, which converges slowly."
)
with st.expander("Both ways"):
    panels.source(fixed_points.kepler_step, fixed_points.unrolled, fixed_points.solver, fixed_points.orbit_gradients)
panels.measure(
    "fixed_point", controls, view.draw_costs(("unrolled", "implicit"), "iterations (log scale)"),
    "The derivative with respect to the eccentricity, for 8 to 512 iterations of both.",
    gradient_memory.fixed_point_sweep, batch_size,
)  # fmt: skip

st.subheader("`jax.checkpoint`: compute again instead of keeping", anchor=False)
st.markdown(
    "A gradient keeps what each layer has computed until the way back needs it. With `jax.checkpoint` a layer keeps its "
    "input alone, or what a policy says, and computes the rest a second time."
)
with st.expander("The layers"):
    panels.source(fixed_points.block, fixed_points.layers_loss, fixed_points.deep_gradients)
panels.measure(
    "checkpoint", controls, view.draw_costs(tuple(fixed_points.BLOCKS), "layers (log scale)"),
    f"The gradient of 2, 8 and 32 layers for {batch_size:,} examples.",
    gradient_memory.checkpoint_sweep, batch_size,
)  # fmt: skip

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- A rule changes the derivative, not the value: where the naive value is wrong too, as for `log(1 + exp(x))`, the body has
  to change.
- `custom_jvp` serves both modes. `custom_vjp` serves the way back alone, and is for what has no meaning forwards, such as
  clipping what comes back.
- In front of a `where`, make the argument harmless, not the result: on the way back 0 * NaN is NaN.
- A derivative that is wrong on purpose, clipped or straight through, can train well. `check_grads` refuses it, and should.
- The memory of the unrolled derivative grows with the iterations, that of the implicit one does not. Its time need not be
  less: on the way back it iterates as well.
- What is computed again costs flops: measure whether the memory is worth them.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("custom", MISTAKES)
