"""Training: all transformations in one loop

This page trains a small network. Press **Run**: its units bend the plane until the border separates the two classes.
Then choose the preset **zero initialisation** and press **Run**: the loss stays flat. The sentence under the controls
says why.

A network is a function of parameters and one input. `vmap` makes it a function of a batch, `grad` of the mean loss tells
each parameter where to go, an optimizer makes steps of that, and `jit` compiles the step with the loop around it.

References:
    Training a neural network: https://docs.jax.dev/en/latest/notebooks/neural_network_with_tfds_data.html
    Optax: https://optax.readthedocs.io/
"""

import streamlit as st

from lib.lessons.training import charts as drawn
from lib.lessons.training import measure as measured
from lib.lessons.training import presets, view
from lib.lessons.training import routine as training
from lib.lessons.training.questions import QUESTIONS
from lib.lessons.training.snippet import line, snippet
from lib.live.recorder import AXES
from lib.live.run import Snapshot
from lib.routines import problem
from lib.routines.snippets import source
from lib.ui import charts, frame, panels, predict, stage
from lib.ui.live_view import live, session_feed
from lib.ui.settings import ask

controls = frame.begin()

with stage.settings():
    view.choose_preset(session_feed("training").run)
    dataset = view.choose_data(controls)
    if dataset is None:
        raise frame.PageEnd
    task = view.choose_network(dataset, controls.batch_size)
with stage.more():
    axis = ask("axis", "Loss against", AXES, required=True, format_func=drawn.AXIS_TITLES.__getitem__)
    log = ask("training_log", "Log scale")
    stop_at = ask("stop_at", "Stop at step", 1, 100000000, placeholder="never", step=1000)
with stage.below():
    view.expectation()


def numbers(snapshot: Snapshot) -> dict[str, str]:
    seen = snapshot.latest_observed
    shown = {"Test loss": f"{seen['test_loss']:.3g}" if seen else "–"}
    if dataset.classes:
        shown["Accuracy: train, test"] = f"{seen['train_accuracy']:.1%}, {seen['test_accuracy']:.1%}" if seen else "–"
    return shown


draw = drawn.draw_run(task, axis, log, view.pinned())
run = live(
    task, controls, draw, code=line(task.optimizer), suits=view.SUITS[task.optimizer],
    pace=presets.PACE, stop_at=stop_at, extra_stats=numbers,
)  # fmt: skip
view.pins(run, f"{task.optimizer} {controls.learning_rate:g}, batch {controls.batch_size}, {task.network}")


def code() -> None:
    one, loop = st.columns([1.15, 1], gap="large")
    with one:
        data = dataset.digest.partition("/")[0]
        text = snippet(
            data, task.network, task.classes, task.optimizer, task.batch_size, controls.learning_rate, controls.seed
        )
        panels.snippet(text, controls, height=800)
    with loop:
        st.markdown("The run above takes many steps in one compiled loop:")
        st.code(source(problem.train_steps), wrap_lines=True)


def timings() -> None:
    panels.measure(
        "training", controls, lambda records: charts.show(charts.timings("One training step, by phases", records)),
        "Traces, lowers, compiles and runs one step from nothing, and runs it eagerly.",
        measured.train_step_phases, task, controls.seed,
    )  # fmt: skip


NOTICE = """
- A tile shows what one unit gives at each place of the plane; a line is a weight: the wider, the larger. Orange is
  negative and class 0, blue is positive and class 1.
- Change the learning rate during the run: it is an argument of the compiled loop. Batch size, layers and units are
  shapes: another one compiles another program, and the time chart shows what it costs.
- The training loss is that of one batch, so it is noisy. Where the test loss rises while it falls, the network learns
  its examples by heart.
- **Pin** a curve, change the batch size, **Reset**, **Run**. Draw the losses against examples seen, then against seconds
  (behind **More**): the order may change.
- Many steps run without Python in between. **Timings** shows what an eager step costs.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, data=dataset, network=task.network, optimizer=task.optimizer),
        "Code": code,
        "Timings": timings,
        "Inside": lambda: panels.inside("training", controls, "jit(train_step)", training.training_step, task),
        "Notice": NOTICE,
        "Break it": view.bad_presets(),
    },
    terms=(
        "batch", "learning rate", "trace", "lower", "eager", "steady", "jaxpr", "StableHLO", "HLO", "fusion", "flops",
    ),
)  # fmt: skip
