"""jit(vmap(f)): write for one example, run a batch

Write the training step of one network; `vmap` runs it for a batch of networks at once. Press **Run**: all bend to the
same dashed sine. Then set **in_axes of targets** to 0 and press **Run**: each network has a sine of its own.

References:
    Automatic vectorization: https://docs.jax.dev/en/latest/automatic-vectorization.html
    jax.vmap: https://docs.jax.dev/en/latest/_autosummary/jax.vmap.html
"""

import streamlit as st

from lib.lessons.jit_vmap import measure as measured
from lib.lessons.jit_vmap import routine as batching
from lib.lessons.jit_vmap import snippet as code_of
from lib.lessons.jit_vmap import view
from lib.lessons.jit_vmap.mistakes import MISTAKES
from lib.lessons.jit_vmap.questions import QUESTIONS
from lib.live.run import Snapshot
from lib.routines.typed import check, parse, parse_shape
from lib.ui import charts, frame, panels, predict, stage
from lib.ui.live_view import live
from lib.ui.settings import ask
from lib.ui.typed_input import TYPED, kept, typed

AXES = ["None", "0", "1"]
SHAPES = {"w": "(3, 5)", "x": "(5,)", "b": "(3,)"}

controls = frame.begin()
with stage.settings():
    own = [
        ask(
            "in_axes_{}", f"in_axes of {what}", AXES[:2], part=what, default="None", required=True,
            help="None: all networks share this argument of the step. 0: each has its own, along axis 0 of the array.",
        ) == "0"
        for what in ("targets", "learning_rate")
    ]  # fmt: skip
problem = batching.Ensemble(controls.batch_size, *own)
inputs, targets = batching.shown_data(problem)


def draw(snapshot: Snapshot) -> list[charts.Shown]:
    preds = snapshot.picture["preds"] if snapshot.picture else None
    return [
        view.fits(inputs, targets, preds, problem, width=0.5),
        charts.fan("Loss: mean, range", "mean squared error", snapshot, True, batching.CURVES, width=0.5),
    ]


live(problem, controls, draw, code=code_of.line(problem), suits=(0.01, 0.3), pace="100")


def typed_name() -> batching.Name:
    """What the visitor types, and the shape of each of its arguments for one example."""
    f = typed("f =", "typed_batched", parse)
    texts = [
        ask("shape_{}", f"shape of {name}", part=name, default=SHAPES.get(name, "()"), width=130)
        for name in f.arguments
    ]

    def read() -> batching.Name:
        shapes = tuple(map(parse_shape, texts))
        check(f, shapes)
        return batching.TypedBatchFunction(f.text, shapes)

    return kept("shapes", read, lambda: next(iter(batching.FUNCTIONS)))


def choose() -> tuple[batching.Name, tuple[int | None, ...], int | None]:
    """A function of one example and its axes, the same in each panel that asks for them."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choice = ask("batched", "Function", [*batching.FUNCTIONS, TYPED], width=200)
        name = typed_name() if choice == TYPED else choice
        function = batching.function_of(name)
        slug = function.fun.__name__
        chosen = [
            ask("{}_in_{}", f"in_axes of {a.name}", AXES, part=(slug, a.name), default=str(axis), width=130)
            for a, axis in zip(function.arguments, function.in_axes, strict=True)
        ]
        chosen.append(ask("{}_out", "out_axes", AXES, part=slug, width=130))
    *in_axes, out_axes = (None if axis == "None" else int(axis) for axis in chosen)
    return name, tuple(in_axes), out_axes


def code() -> None:
    panels.snippet(code_of.snippet(problem, controls.learning_rate), controls, beside=True)


def rows() -> None:
    name, in_axes, out_axes = choose()
    calls, text = code_of.calls(name, in_axes), code_of.rows(name, in_axes, out_axes)
    panels.answer(
        lambda mapped: view.draw_mapped(mapped, calls, text), controls.device,
        batching.try_axes, name, in_axes, out_axes, batching.shown_size(name),
    )  # fmt: skip


def timings() -> None:
    name, in_axes, _ = choose()
    largest = batching.largest_size(name)
    panels.measure(
        "sweep", controls, lambda records: view.draw_sweep(records, largest),
        f"Batches of 1 to {largest:,} examples, whatever the batch size above, each way timed in turns.",
        measured.batching_sweep, name, largest, in_axes,
    )  # fmt: skip


NOTICE = """
`vmap` takes a function of one example and gives the function of a batch: each operation inside gets a batch axis, and
there is no loop. `in_axes` says where each argument has that axis, or `None` where all examples share it; `out_axes`
says where the result has it. `jit` compiles the batched operations into one program.

- Give `learning_rate` the axis 0: each model gets its own, from a thirtieth of the learning rate up to it.
- Set an axis in **Rows** to 1: the colours show which numbers belong to one example.
- A Python loop pays for Python and dispatch at each example, `jit(vmap(f))` once a batch. `vmap` alone dispatches
  each operation by itself, and fuses nothing.
- NumPy, vectorised by hand, wins at small batches; for one product or one power it may win at all sizes measured. On
  large batches of `outer` and `squared distance` `jit(vmap(f))` wins: it compiles one loop for these very shapes.
- Another batch size is another shape, and compiles another program. Another learning rate compiles nothing.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls),
        "Rows": rows,
        "Code": code,
        "Timings": timings,
        "Inside": lambda: panels.inside(
            "vmap", controls, f"jit(vmap(train_step, in_axes={problem.in_axes}))", batching.train_all, *own,
            controls.batch_size,
        ),
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("vmap", MISTAKES),
    },
    terms=("batch", "dispatch", "eager", "fusion", "trace", "lower", "jaxpr", "StableHLO", "HLO", "flops"),
)  # fmt: skip
