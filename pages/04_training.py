"""Training: all transformations in one loop

A network is a function of parameters and one input. `vmap` makes it a function of a batch, `grad` of its loss tells
every parameter where to go, an optimizer makes steps of that, and `jit` compiles the step, here together with a loop
over many of them. Nothing else is needed, and nothing is hidden.

References:
    Training a neural network: https://docs.jax.dev/en/latest/notebooks/neural_network_with_tfds_data.html
    Optax: https://optax.readthedocs.io/
"""

import streamlit as st

from lib.lessons.training import charts as drawn
from lib.lessons.training import measure as measured
from lib.lessons.training import routine as training
from lib.lessons.training import view
from lib.live.recorder import AXES
from lib.live.run import Snapshot
from lib.routines import networks, problem
from lib.ui import charts, frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask
from lib.ui.style import quantity

controls = frame.begin(__doc__)

settings, panel = st.columns([1, 2.9], gap="medium")
with settings:
    view.choose_preset()
    dataset = view.choose_data(controls)
    if dataset is None:
        raise frame.PageEnd
    task = view.choose_network(dataset, controls.batch_size)
    stop_at = ask("stop_at", "Stop at step", 1, 100000000, placeholder="never", step=1000)


def numbers(snapshot: Snapshot) -> dict[str, str]:
    seen = {name: values[-1] for name, values in snapshot.observed.items()}
    shown = {"Test loss": f"{seen['test_loss']:.3g}" if seen else "–"}
    if dataset.classes:
        shown["Accuracy: train, test"] = f"{seen['train_accuracy']:.1%}, {seen['test_accuracy']:.1%}" if seen else "–"
    return shown | {"Examples/s": quantity(snapshot.steps_per_s * snapshot.batch_size) if snapshot.steps_per_s else "–"}


with panel:
    charted = st.container()  # above the options of its charts
    with st.container(horizontal=True, vertical_alignment="bottom"):
        axis = ask("axis", "Loss against", AXES, required=True, format_func=drawn.AXIS_TITLES.__getitem__)
        log = ask("training_log", "Logarithmic loss")
    with charted:
        draw = drawn.draw_run(dataset, axis, log, view.pinned())
        run = live(task, controls, draw, stop_at=stop_at, extra_stats=numbers)
    view.pins(run, f"{task.optimizer} {controls.learning_rate:g}, batch {controls.batch_size}, {task.network}")

st.subheader("The routine", anchor=False)
left, right = st.columns(2)
with left:
    panels.source(networks.forward, training.loss_fn, training.train_step)
with right:
    panels.source(problem.train_steps)

st.subheader("Timings", anchor=False)
panels.measure(
    "training", controls, lambda records: charts.show(charts.timings("One training step, by phases", records)),
    "Traces, lowers, compiles and runs one step from nothing, and runs it eagerly.",
    measured.train_step_phases, task, dataset.arrays, controls.seed,
    about=(task, controls.seed),
)  # fmt: skip
panels.inside("training", controls, "jit(train_step)", training.training_step, task)

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- The learning rate is an argument of the compiled loop: change it during the run, and the next steps take it. Batch
  size, width and depth are shapes: they compile another program, and the line below the charts says for how long.
- Small batches are quick and noisy, large ones slow and smooth. Compare them against examples seen, then against
  seconds: the winner may change.
- The training loss is that of one batch, the test loss that of examples that were never trained on. Where they part,
  the network learns the examples by heart.
- Thousands of steps run in one compiled loop, so Python is not in the way; the eager step above shows what it costs.
"""
)
st.subheader("Break it", anchor=False)
st.markdown(
    "Choose one of the presets marked ✗ at the top and press Run: too high a rate, weights that start at zero, units that "
    "are off for ever, too little data. Each says why it fails and what mends it."
)
