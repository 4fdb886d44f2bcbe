"""What will this do? Answers are found by tracing it."""

from __future__ import annotations

from lib.lessons.composition import transforms
from lib.lessons.composition.levels import trace_levels
from lib.lessons.composition.routine import ExampleFunction, add_level
from lib.measure.questions import Choice, Number, Question


def equations(function: ExampleFunction, stack: str, batch_size: int) -> int:
    """How many equations the jaxpr of a stack has, inner ones included."""
    return trace_levels(function, transforms.parse(stack), batch_size)[-1].equations


def grad_outside(function: ExampleFunction, stack: str, batch_size: int) -> str:
    """What JAX says to one more `grad`."""
    longer = add_level(function, transforms.parse(stack), "grad")
    traced = trace_levels(function, longer, batch_size)[-1]
    if traced.signature is not None:
        return "it works"
    return traced.error if traced.error in ("TypeError", "ValueError") else "another error"


def _why_refused(truth: str) -> str:
    if truth == "it works":
        return "The stack returns one number, so `grad` takes it."
    return "`grad` is for functions that return one number. Put `sum` or `mean` between, or `grad` further inside."


QUESTIONS = (
    Question(
        "how long",
        "How many equations has the jaxpr of `{stack}`?",
        Number(1, 1e3, "equations"),
        equations,
        "`grad` adds the backward pass to the equations of f, `vmap` changes shapes and adds few, `jit` adds a call.",
    ),
    Question(
        "one more grad",
        "What does JAX say to `grad` of `{stack}`?",
        Choice(("it works", "TypeError", "ValueError", "another error")),
        grad_outside,
        _why_refused,
    ),
)
