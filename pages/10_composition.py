"""Composition: stack any transformations

`grad`, `vmap` and `jit` take a function and give a function, so they stack in any order, and the order matters. Build
a stack, and see at every level what became of the function: its type, its equations, its machine code, its value, its
price.

References:
    Key concepts: https://docs.jax.dev/en/latest/key-concepts.html
    The autodiff cookbook: https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html
"""

import streamlit as st

from lib.lessons.composition import measure as measured
from lib.lessons.composition import routine as composition
from lib.lessons.composition import transforms, view
from lib.lessons.composition.routine import COMPARISONS, FUNCTIONS
from lib.live.run import Snapshot
from lib.ui import charts, frame, panels, waiting
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)

left, right = st.columns([1, 2.1], gap="large")
with left:
    function = view.choose_function()
with right:
    stack = view.build(function)
if stack is None:
    raise frame.PageEnd

st.subheader("Level by level", anchor=False)
levels = waiting.result(view.ask_traces(function, stack, controls.batch_size))
view.ladder(function, levels, controls)
view.detail(function, levels, controls)
accepted = tuple(level.stack for level in levels if level.signature is not None)

st.subheader("Live: descent along the stack's gradient", anchor=False)
gradient = composition.gradient_of(function, accepted[-1], controls.batch_size)
problem = composition.StackDescent(function, gradient, controls.batch_size)
st.markdown(
    f"`{transforms.expression(gradient.stack)}` gives the gradient with respect to "
    f"`{function.arguments[gradient.argnum][0]}`"
    + ", one for each example; their mean is the step. " * gradient.per_example
    + ", which has an entry for each example: each descends by itself. " * gradient.own
    + ", and that is the step. " * (not gradient.per_example and not gradient.own)
    + gradient.note
)
log = ask("lab_log", "Logarithmic axis")


def draw_run(snapshot: Snapshot) -> list[charts.Shown]:
    title = "f of the examples: mean, range, some one by one"
    return [charts.fan(title, "f", snapshot, log, composition.CURVES, height=400)]


live(problem, controls, draw_run, pace="20")

st.subheader("What did the order change?", anchor=False)
OWN = "the stack above, and another"
chosen = ask("composition_pair", "Pair", [*COMPARISONS, OWN])
if chosen == OWN:
    text = ask("other_stack", "The other stack")
    subject, pair = function, view.read_pair(stack, text)
else:
    comparison = COMPARISONS[chosen]
    subject = FUNCTIONS[comparison.function]
    pair = (transforms.parse(comparison.one), transforms.parse(comparison.other))
    st.markdown(f"f is **{comparison.function}**. {comparison.notice}")
compared = view.compare(subject, pair, controls) if pair else ()

st.subheader("Timings", anchor=False)
panels.measure(
    "stack", controls, view.draw_times, "Every level above: compiled from nothing, then called in turns, blocked.",
    measured.stack_times, function, accepted, controls.batch_size, controls.seed,
)  # fmt: skip
if compared:
    panels.measure(
        "pair", controls, view.draw_times, "The pair: compiled from nothing, then called in turns, blocked.",
        measured.stack_times, subject, compared, controls.batch_size, controls.seed,
    )  # fmt: skip

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- Read a stack from the inside: `jit(vmap(grad(f)))` is the gradient of one example, of each example, compiled.
- `grad` adds equations after those of the function: the backward pass, whose lines come from the same source lines.
- `vmap` adds next to none: it gives the same equations another axis. A loop would have added one pass for each example.
- A ✗ is no fault of JAX's as a rule: near a kink, or where f is not defined, differences are the ones that are wrong.
- `jit` adds one equation, a call, and changes nothing else; the compiler's work shows in the fusions.
- `vmap(grad(f))` has a batch axis and a derivative axis, `grad(mean(vmap(f)))` the derivative axis alone.
- `jacfwd` and `jacrev` give the same numbers at different prices; `hessian` is one over the other.
"""
)
st.subheader("Break it", anchor=False)
st.markdown("Each of these loads a stack that JAX refuses. The levels below the one that is refused still show.")
view.broken()
