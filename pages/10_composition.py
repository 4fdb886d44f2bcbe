"""Composition: stack any transformations

Write a stack of transformations such as `jit(vmap(grad(f)))`. Press **Run**: steps against its gradient, averaged
over the batch, move the first argument of f, and f falls. Then open **Levels**: what each transformation did to
types, equations and cost.

References:
    Key concepts: https://docs.jax.dev/en/latest/key-concepts.html
    The autodiff cookbook: https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html
"""

import streamlit as st

from lib.lessons.composition import measure as measured
from lib.lessons.composition import routine as composition
from lib.lessons.composition import snippet as code_of
from lib.lessons.composition import transforms, view
from lib.lessons.composition.questions import QUESTIONS
from lib.lessons.composition.routine import COMPARISONS, FUNCTIONS
from lib.live.run import Snapshot
from lib.ui import charts, frame, panels, predict, stage, waiting
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin()
with stage.settings():
    function = view.choose_function()
    stack = view.choose_stack("stack", "Stack of transformations")
with stage.below():
    levels = waiting.result(view.ask_traces(function, stack, controls.batch_size))
    accepted = tuple(level.stack for level in levels if level.signature is not None)
    if not accepted:
        view.refusal(levels[0])
        raise frame.PageEnd
    gradient = composition.gradient_of(function, accepted[-1], controls.batch_size)
    if len(accepted) < len(levels):
        st.caption(f"JAX refuses `{transforms.short(levels[-1].stack)}`: **Levels** says why. What is below it runs.")
    if gradient.note:
        st.caption(gradient.note)


def draw(snapshot: Snapshot) -> list[charts.Shown]:
    return [
        charts.fan("f of the examples: mean, range", "f", snapshot, False, composition.CURVES, width=0.5),
        view.picture(function.arguments[gradient.argnum][0], snapshot),
    ]


live(
    composition.StackDescent(function, gradient, controls.batch_size), controls, draw,
    code=code_of.line(function, gradient.stack), suits=(0.003, 0.1), pace="20",
)  # fmt: skip


def levels_panel() -> None:
    view.build(function, stack)
    view.ladder(function, levels, controls)


def code() -> None:
    panels.snippet(code_of.snippet(function, accepted[-1], controls.batch_size, controls.seed), controls, beside=True)


OWN = "the stack above, and another"


def order() -> None:
    choice, words = st.columns([1, 2.5], vertical_alignment="bottom")
    with choice:
        chosen = ask("composition_pair", "Pair", [*COMPARISONS, OWN])
    with words:
        if chosen == OWN:
            subject, pair = function, (stack, view.choose_stack("other_stack", "The other stack"))
        else:
            comparison = COMPARISONS[chosen]
            subject = FUNCTIONS[comparison.function]
            pair = (transforms.parse(comparison.one), transforms.parse(comparison.other))
            st.markdown(f"f is `{subject.name}`. {comparison.notice}")
    view.compare(subject, pair, controls)


def timings() -> None:
    panels.measure(
        "stack", controls, view.draw_times, "Every level above: compiled from nothing, then called in turns, blocked.",
        measured.stack_times, function, accepted, controls.batch_size, controls.seed,
    )  # fmt: skip


NOTICE = """
`grad`, `vmap` and `jit` take a function and give a function, so they stack in any order. Read a stack from the inside:
`jit(vmap(grad(f)))` is the gradient of one example, for each example, compiled.

- `grad` adds equations after those of f: the backward pass.
- `vmap` adds almost no equations; it gives those that are there another axis.
- `jit` adds one equation, a call. What the compiler does shows in the fusions.
- `vmap(grad(f))` has a batch axis and a derivative axis, `grad(mean(vmap(f)))` the derivative axis alone.
- `jacfwd` and `jacrev` give the same numbers at different costs. `hessian` is one of the other.
- **Levels** checks each value against NumPy, with loops for `vmap` and differences for derivatives. A ✗ usually means
  that a kink is near, where the differences are wrong.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, function=function, stack=transforms.expression(accepted[-1])),
        "Levels": levels_panel,
        "Inside": lambda: view.detail(function, levels, controls),
        "Order": order,
        "Code": code,
        "Timings": timings,
        "Notice": NOTICE,
        "Break it": view.broken,
    },
    terms=("argnums", "jaxpr", "HLO", "fusion", "flops", "tangent", "cotangent", "primal", "eager", "steady"),
)
