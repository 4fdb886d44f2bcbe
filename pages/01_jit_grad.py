"""jit(grad(f)): the compiled gradient

Points go downhill, against the gradient of a function: as many as the batch size says. Press **Run**: each comes to a
minimum near its start. Then set the learning rate to 0.3, press **Reset** and **Run**: points jump across the hill.

References:
    Automatic differentiation: https://docs.jax.dev/en/latest/automatic-differentiation.html
    Just-in-time compilation: https://docs.jax.dev/en/latest/jit-compilation.html
"""

import streamlit as st

from lib.lessons.jit_grad import measure as measured
from lib.lessons.jit_grad import routine as descent
from lib.lessons.jit_grad import view
from lib.lessons.jit_grad.functions import FUNCTIONS, Name, TypedScalarFunction, function_of, parse_number
from lib.lessons.jit_grad.mistakes import MISTAKES
from lib.lessons.jit_grad.questions import QUESTIONS
from lib.lessons.jit_grad.snippet import line, snippet
from lib.live.run import Snapshot
from lib.routines.snippets import source
from lib.ui import charts, frame, panels, predict, stage
from lib.ui.live_view import live, ready
from lib.ui.settings import ask
from lib.ui.typed_input import TYPED, typed

controls = frame.begin()


def typed_name() -> TypedScalarFunction:
    """What the visitor types, and which of its arguments are variables."""
    f = typed("f =", "typed", parse_number)
    variables = [argument for argument in f.arguments if argument in ("x", "y")] or list(f.arguments[:2])
    if len(f.arguments) > 1:
        chosen = ask(
            "variables_{}", "Variables, one or two", f.arguments, part="_".join(f.arguments), default=variables[:2],
            selection_mode="multi",
        )  # fmt: skip
        if 1 <= len(chosen) <= 2:
            variables = chosen
        else:
            st.error(f"Choose one or two variables. Until then: {' and '.join(variables[:2])}.")
    low = ask("typed_low", "from", -100.0, 100.0, step=1.0, width=110)
    high = ask("typed_high", "to", -100.0, 100.0, step=1.0, width=110)
    if low >= high:
        st.error(f"The domain must end above {low:g}, where it begins. Until then it ends at {low + 1:g}.")
        high = low + 1
    return TypedScalarFunction(f.text, tuple(sorted(variables[:2])), (low, high))


with stage.settings():
    choice = ask("function", "Function", [*FUNCTIONS, TYPED], width=220)
    name: Name = typed_name() if choice == TYPED else choice
    function = function_of(name)
    slug = view.slug(name)
    constants = tuple(
        ask("{}_{}", c, -10.0, 10.0, part=(slug, c), default=value, step=0.5, width=130)
        for c, value in function.constants.items()
    )

one_variable = len(function.variables) == 1
landscape = ready(controls.device, descent.curve if one_variable else descent.landscape, name, constants)
points = min(controls.batch_size, descent.CURVES)


def draw(snapshot: Snapshot) -> list[charts.Shown]:
    picture = view.descent if one_variable else view.contours
    return [
        picture(function, landscape(), snapshot.picture, points, width=0.5),
        charts.fan("f at the points: mean, range", "f", snapshot, False, descent.CURVES, width=0.5),
    ]


rate = function.learning_rate
live(
    descent.Descent(name, controls.batch_size, constants), controls, draw,
    code=line(name, controls.batch_size), suits=(rate / 10, 3 * rate), pace="20",
)  # fmt: skip


def code() -> None:
    one, all_points = st.columns(2, gap="large")
    with one:
        panels.snippet(snippet(name, function.point, constants, controls.learning_rate), controls)
    with all_points:
        st.markdown("One step of the run above: `vmap` takes all points at once, and `jit` compiles the whole step.")
        st.code(source(descent.descent_step), wrap_lines=True)


def value() -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        point = tuple(
            ask("{}_{}", v, *function.domain, part=(slug, v), default=start, step=0.5, width=160)
            for v, start in zip(function.variables, function.point, strict=True)
        )
    panels.answer(
        lambda report: view.draw_value(name, point, report, controls.device_name),
        controls.device, descent.value_report, name, point, constants,
    )  # fmt: skip


def timings() -> None:
    panels.measure(
        "grad", controls, view.draw_timings, "Traces, lowers, compiles and runs the gradient, then runs it eagerly.",
        measured.gradient_phases, name, function.point, constants,
    )  # fmt: skip


NOTICE = """
`grad` takes a function that returns one number and gives the function of its derivative, exact but for rounding. `jit`
traces it once and compiles it; from then on each call runs machine code. Every training step is such a composition.

- `grad` differentiates by the first argument. `argnums=(0, 1)` asks for two derivatives, and the result is a tuple.
- **Value** compares `grad` with the closed form and with central differences. These depend on a step size, and their
  error is larger at almost every point, usually by a factor of tens to thousands.
- At a kink there is no derivative. `grad` returns a number all the same: a convention of JAX.
- Compiling pays only if a function is called often enough. **Timings** measures from which call on.
- Change the learning rate during a run: it is an argument of the step, so nothing compiles. Another batch size is
  another shape, and compiles another program.
- Descent finds a minimum near its start, not the lowest one: try the double well and Himmelblau's four minima.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, function=name, constants=constants),
        "Code": code,
        "Value": value,
        "Timings": timings,
        "Inside": lambda: panels.inside("grad", controls, "jit(grad(f))", descent.gradient_as_shown, name),
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("grad", MISTAKES),
    },
    terms=("argnums", "trace", "lower", "dispatch", "eager", "steady", "jaxpr", "StableHLO", "HLO", "fusion", "flops"),
)
