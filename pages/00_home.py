"""JAX's transformations, live

A small network learns to tell two classes of points apart; with seed 0 you see a finished run. Press **Run**: the
border forms anew. Each lesson below nests JAX's transformations: `grad` differentiates, `vmap` adds a batch axis,
`jit` compiles.

A training step uses all three. Batch size, learning rate, device and seed hold for all lessons, and the address keeps
them: a link shares them.

References:
    JAX documentation: https://docs.jax.dev/
"""

from lib.lessons.home import routine, view
from lib.lessons.training import charts as drawn
from lib.lessons.training.presets import PACE
from lib.lessons.training.snippet import line, snippet
from lib.lessons.training.view import SUITS
from lib.ui import frame, panels
from lib.ui.live_view import live

controls = frame.begin()
task = routine.task(controls.batch_size, controls.seed)
live(
    task, controls, drawn.draw_run(task), code=line(task.optimizer), suits=SUITS[task.optimizer],
    pace=PACE, stand_in=view.finished(controls.device, controls.seed),
)  # fmt: skip


def code() -> None:
    text = snippet(
        routine.DATA, task.network, task.classes, task.optimizer, task.batch_size, controls.learning_rate, controls.seed
    )
    panels.snippet(text, controls, beside=True, height=640)


NOTICE = """
- Orange and blue are the two classes, and negative and positive numbers. A tile shows what one unit gives at each place.
- A line is a weight: the wider, the larger.
- The chart at the right splits the first seconds of a run: tracing, lowering and compiling come once, and the steps
  after them are quick.
"""

panels.follow(
    {"Lessons": view.lessons, "Code": code, "Machine": view.machine, "Notice": NOTICE},
    terms=("trace", "lower", "batch", "learning rate"), opened="Lessons",
)  # fmt: skip
