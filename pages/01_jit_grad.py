"""jit(grad(f)): the compiled gradient

`grad` takes a function that returns one number and gives the function of its derivative: exact to rounding,
without symbols and without differences. `jit` traces it once, compiles it, and calls machine code from then on.
It is the most common composition there is: every training step is one.

References:
    Automatic differentiation: https://docs.jax.dev/en/latest/automatic-differentiation.html
    Just-in-time compilation: https://docs.jax.dev/en/latest/jit-compilation.html
"""

import numpy as np
import streamlit as st

from lib.lessons.jit_grad import measure as measured
from lib.lessons.jit_grad import routine as descent
from lib.lessons.jit_grad import view
from lib.lessons.jit_grad.functions import FUNCTIONS, Name, TypedScalarFunction, formulas, function_of, parse_number
from lib.lessons.jit_grad.mistakes import MISTAKES
from lib.live.run import Snapshot
from lib.ui import charts, frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask
from lib.ui.typed_input import TYPED, typed

controls = frame.begin(__doc__)


def typed_name() -> TypedScalarFunction:
    """What the visitor types, and which of its arguments are variables."""
    f = typed("f =", "typed", parse_number)
    variables = [argument for argument in f.arguments if argument in ("x", "y")] or list(f.arguments[:2])
    if len(f.arguments) > 1:
        variables = ask(
            "variables_{}",
            "Variables, one or two; the others are constants",
            f.arguments,
            part="_".join(f.arguments),
            default=variables,
            selection_mode="multi",
        )
    with st.container(horizontal=True):
        low = ask("typed_low", "from", -100.0, 100.0, step=1.0)
        high = ask("typed_high", "to", -100.0, 100.0, step=1.0)
    if not 1 <= len(variables) <= 2 or low >= high:
        st.error("Choose one or two variables, and a domain that goes from a lower to a higher number.")
        raise frame.PageEnd
    return TypedScalarFunction(f.text, tuple(sorted(variables)), (low, high))


def draw_formulas(found: tuple) -> None:
    """f and its derivatives, as far as they have formulas."""
    heads = ["f", *(rf"\frac{{\partial f}}{{\partial {v}}}" for v in function.variables)]
    for head, latex in zip(heads, found, strict=True):
        if latex is not None:
            st.latex(f"{head} = {latex}")
    if None in found:
        st.caption("Where no formula is shown there is none that fits on the page; `grad` needs none.")


left, right = st.columns([1, 1.4], gap="large")
with left:
    chosen = ask("function", "Function", [*FUNCTIONS, TYPED])
    name: Name = typed_name() if chosen == TYPED else chosen
    function = function_of(name)
    if isinstance(name, TypedScalarFunction):
        panels.answer(draw_formulas, controls.device, formulas, name.text, name.variables)
        slug = f"typed_{name.domain[0]:g}_{name.domain[1]:g}"
    else:
        st.latex(function.formula)
        slug = name.replace(" ", "_")
    low, high = function.domain
    with st.container(horizontal=True):
        point = tuple(
            ask("{}_{}", v, low, high, part=(slug, v), default=start, step=0.5)
            for v, start in zip(function.variables, function.point, strict=True)
        )
        constants = tuple(
            ask("{}_{}", c, -10.0, 10.0, part=(slug, c), default=value, step=0.5)
            for c, value in function.constants.items()
        )
    panels.source(*(() if isinstance(name, TypedScalarFunction) else (function.fun,)), descent.compiled_gradient)

title = "f" if isinstance(name, TypedScalarFunction) else name
one_variable = len(function.variables) == 1
shape_of_f = descent.curve if one_variable else descent.surface


def number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)


def draw_value(report: dict) -> None:
    automatic, closed, central = report["automatic"], report["closed form"], report["central difference"]
    st.markdown(f"At this point **f = {report['f']:.6g}**, computed on {controls.device_name}.")
    st.dataframe(
        {
            "derivative": [f"∂f/∂{v}" for v in function.variables],
            "jit(grad(f))": [f"{x:.7g}" for x in automatic],
            "closed form": [number(x, ".7g") for x in closed],
            "error": [number(x, ".1e") for x in np.abs(automatic - closed)],
            "central difference": [f"{x:.7g}" for x in central],
            "its error": [number(x, ".1e") for x in np.abs(central - closed)],
        },
        hide_index=True,
    )


def draw_shape(shape: dict) -> None:
    if not all(np.isfinite(values).all() for values in (shape.values() if one_variable else [shape])):
        st.caption(
            "Where nothing is drawn, f or a derivative of it is infinite or not a number. Points that start there end "
            "the descent below; choose a domain without."
        )
    if one_variable:
        charts.show(view.curve(title, function, shape, point[0]))
    else:
        heading = f"{title}: contours, dark is low"
        charts.show(view.contours(heading, function, shape, np.array([point]), 380))


with right:
    panels.answer(draw_value, controls.device, descent.gradient_report, name, point, constants)
    panels.answer(draw_shape, controls.device, shape_of_f, name, constants)

st.subheader("Live: descent from many points at once", anchor=False)
st.markdown(
    f"**Batch size** points start at random places of the domain, and each goes down its own gradient. Try a learning "
    f"rate of {function.learning_rate:g} here; then one that is ten times as large."
)
with st.expander("The routine"):
    panels.source(descent.descent_step)
log = ask("descent_log", "Logarithmic loss axis")


shape = panels.ready(controls.device, shape_of_f, name, constants)


def draw_run(snapshot: Snapshot) -> list[charts.Shown]:
    here = snapshot.picture or {"points": np.empty((0, 2), np.float32), "values": np.empty(0, np.float32)}
    points = here["points"]
    if one_variable:
        picture = view.descent("The points on the curve", function, shape(), points[:, 0], here["values"], 0.5)
    else:
        picture = view.contours("The points on the contours, dark is low", function, shape(), points, 440, 0.5)
    loss = "f at the points: their mean, their range, some one by one"
    return [picture, charts.fan(loss, "f", snapshot, log, descent.CURVES, height=440, width=0.5)]


live(descent.Descent(name, controls.batch_size, constants), controls, draw_run, pace="20")

st.subheader("Timings", anchor=False)


def draw_timings(records: list) -> None:
    charts.show(charts.timings("One gradient, by phases", records))
    steady = next((r for r in records if r.phase == "steady"), None)
    if steady:
        st.caption(
            f"Steady state: median of {steady.samples} samples of {steady.calls} calls each, with quartiles. "
            f"The compiler counts {steady.more['flops'] or 0:g} flops and {steady.more['size_bytes'] or 0:g} bytes a call, "
            f"so it achieves {steady.more['gflops_per_s'] or 0:.2g} GFLOP/s and {steady.more['gbytes_per_s'] or 0:.2g} GB/s."
        )


panels.measure(
    "grad", controls, draw_timings, "Traces, lowers, compiles and runs the gradient from nothing, and runs it eagerly.",
    measured.gradient_phases, name, point, constants,
)  # fmt: skip
panels.inside("grad", controls, "jit(grad(f))", descent.gradient, name)

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- The automatic derivative agrees with the closed form to the rounding of float32; the central difference is thousands
  of times less exact.
- Compilation costs as much as thousands of calls: it pays from the second call on, as long as shapes stay the same.
- Who does not wait for the result measures the dispatch alone. For so small a function the two nearly coincide.
- Change the learning rate during a run: the next steps take it, and nothing compiles.
- Descent finds a minimum near where it starts, not the lowest one: see the double well and Himmelblau's four.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("grad", MISTAKES)
