"""custom_jvp and custom_vjp: your own derivatives

Two trainings: through a function as it is written (naive), and through one that has a derivative of its own (mended).
Press **Run**. Crosses mark examples whose naive derivative is infinite or NaN: one in a batch stops the naive training.
Then choose another pair.

`grad` differentiates operation by operation. The result can overflow, be NaN, be 0 everywhere or need much memory. Then
you say what the derivative is: with `custom_jvp` how the result changes with the argument (forward mode),
with `custom_vjp` what goes back from the result to the argument (reverse mode).

References:
    Custom derivative rules: https://docs.jax.dev/en/latest/notebooks/Custom_derivative_rules_for_Python_code.html
    NaN through where: https://docs.jax.dev/en/latest/faq.html
    jax.checkpoint: https://docs.jax.dev/en/latest/gradient-checkpointing.html
    check_grads: https://docs.jax.dev/en/latest/_autosummary/jax.test_util.check_grads.html
"""

import streamlit as st

from lib.lessons.custom_gradients import fixed_points, pair_training, view
from lib.lessons.custom_gradients import measure as measured
from lib.lessons.custom_gradients import routine as custom_gradients
from lib.lessons.custom_gradients.mistakes import MISTAKES
from lib.lessons.custom_gradients.questions import QUESTIONS
from lib.lessons.custom_gradients.snippet import line, snippet
from lib.routines.snippets import source
from lib.ui import frame, panels, predict, stage
from lib.ui.live_view import live, ready
from lib.ui.settings import ask

controls = frame.begin()
batch_size, device = controls.batch_size, controls.device
with stage.settings():
    name = ask(
        "custom_gradients_pair",
        "Pair",
        list(custom_gradients.PAIRS),
        width=400,
        help="A function twice: as it is written, and with a derivative of its own.",
    )
pair = custom_gradients.PAIRS[name]
live(
    pair_training.PairTraining(name, batch_size), controls,
    view.draw_run(name, ready(device, custom_gradients.curves, name)),
    code=line(name), suits=(0.01, 0.3), pace="20", extra_stats=view.run_stats,
)  # fmt: skip


def code() -> None:
    functions, loss = st.columns(2, gap="large")
    text = snippet(name)
    with functions:
        panels.snippet(text, controls, height=720 if text.count("\n") > 26 else None)
    with loss:
        st.markdown("The live run takes the gradient of this loss, through both functions.")
        st.code(source(pair.arguments, pair.loss, pair_training.loss_fn), wrap_lines=True)


def curves() -> None:
    st.latex(pair.formula)
    st.markdown(f"{pair.why} {pair.fails}")
    panels.answer(view.draw_curves(name), device, custom_gradients.curves, name)
    panels.answer(view.draw_checks(name), device, custom_gradients.check_report, name)


def fixed_point() -> None:
    st.markdown(
        f"The place on an orbit of eccentricity {fixed_points.SLOW} is a fixed point. Unrolled, reverse mode stores every "
        "iteration. Implicit, it solves one equation at the fixed point."
    )
    panels.measure(
        "fixed_point", controls, view.draw_costs(("unrolled", "implicit"), "iterations (log scale)"),
        f"The derivative by the eccentricity at {batch_size:,} times, with 8 to 512 iterations.",
        measured.fixed_point_sweep, batch_size,
    )  # fmt: skip
    panels.source(
        fixed_points.kepler_step,
        fixed_points.unrolled,
        fixed_points.solver,
        fixed_points.orbit_gradients,
        label="The code",
    )


def checkpoint() -> None:
    st.markdown(
        "A gradient stores what each layer has computed until reverse mode needs it. With `jax.checkpoint` a layer stores its "
        "input alone, or what a policy says, and computes the rest again."
    )
    panels.measure(
        "checkpoint", controls, view.draw_costs(tuple(fixed_points.BLOCKS), "layers (log scale)"),
        f"The gradient of 2, 8 and 32 layers for {batch_size:,} examples.",
        measured.checkpoint_sweep, batch_size,
    )  # fmt: skip
    panels.source(fixed_points.block, fixed_points.layers_loss, fixed_points.deep_gradients, label="The code")


def timings() -> None:
    panels.measure(
        "pair", controls, view.draw_gradients, f"Both gradients at {batch_size:,} points between the ends of the chart above.",
        measured.pair_gradients, name, batch_size,
    )  # fmt: skip


NOTICE = """
- A rule changes the derivative, not the value. Where the value is wrong too, as for `log(1 + exp(x))`, change the body.
- `custom_jvp` serves forward and reverse mode. `custom_vjp` serves reverse mode alone: for what has no meaning in forward
  mode, such as clipping a gradient.
- Before a `where`, make the argument safe, not the result: in reverse mode 0 * NaN is NaN.
- A derivative that is wrong on purpose, clipped or straight through, can train well. `check_grads` refuses it.
- The memory of the unrolled derivative grows with the iterations, that of the implicit one does not. Its time need not
  be less: it iterates in reverse mode too.
- `jax.checkpoint` costs flops. Measure whether the memory is worth it.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, pair=name, x=pair.points[0]),
        "Code": code,
        "Curves": curves,
        "Fixed point": fixed_point,
        "Checkpoint": checkpoint,
        "Timings": timings,
        "Inside": lambda: panels.inside(
            "custom", controls, f"jax.jit(jax.grad({pair.mended.__name__}))", custom_gradients.gradient, name, "mended"
        ),
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("custom", MISTAKES),
    },
    terms=("primal", "tangent", "cotangent", "trace", "jaxpr", "StableHLO", "HLO", "fusion", "flops"),
)
