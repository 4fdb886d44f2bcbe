"""The code of the lesson, to take away."""

from __future__ import annotations

from lib.lessons.jit_grad.functions import FUNCTIONS, Name, TypedScalarFunction, function_of
from lib.routines.snippets import named, source, written
from lib.routines.typed import parse

STEPS = 200


def snippet(name: Name, point: tuple[float, ...], constants: tuple[float, ...], learning_rate: float) -> str:
    """The gradient at a point, and descent from there.

    Args:
        constants: the values of the arguments that stay as they are.
    """
    function = function_of(name)
    if isinstance(name, TypedScalarFunction):
        called, code = "f", written(parse(name.text), (*function.variables, *function.constants))
    else:
        called, code = function.fun.__name__, source(function.fun)
    variables = tuple(map(named, function.variables))
    kept = "".join(f", {value!r}" for value in constants)
    start = ", ".join(map(repr, point))
    call = f"gradient({', '.join(variables)}{kept})"
    if len(variables) == 1:
        argnums, loop = "", [f"    {variables[0]} = {variables[0]} - {learning_rate!r} * {call}"]
        about = f"# By the first argument, {variables[0]}; the others are constants." if constants else ""
    else:
        argnums = f", argnums={function.argnums}"
        about = f"# By {' and '.join(variables)}, the arguments 0 and 1: the result is a tuple."
        moves = [f"{v} - {learning_rate!r} * grads[{i}]" for i, v in enumerate(variables)]
        loop = [f"    grads = {call}", f"    {', '.join(variables)} = {', '.join(moves)}"]
    lines = [
        "import jax",
        *(["import jax.numpy as jnp"] if "jnp." in code else []),
        "",
        "",
        code,
        "",
        "",
        *([about] if about else []),
        f"gradient = jax.jit(jax.grad({called}{argnums}))",
        f"print(gradient({start}{kept}))",
        "",
        "# Descent: step by step against the gradient. In a minimum it is 0.",
        f"{', '.join(variables)} = {start}",
        f"for step in range({STEPS}):",
        *loop,
        f"print({', '.join(variables)})",
        f"print({call})",
    ]
    return "\n".join(lines)


def line(name: Name, batch_size: int) -> str:
    """What the live run calls at each step, with the function and its axes put in."""
    function = function_of(name)
    called = "f" if isinstance(name, TypedScalarFunction) else function.fun.__name__
    argnums = "" if len(function.variables) == 1 else f", argnums={function.argnums}"
    axes = (0,) * len(function.variables) + (None,) * len(function.constants)
    in_axes = f", in_axes={axes}" if function.constants else ""
    points = "a point" if batch_size == 1 else f"{batch_size:,} points"
    return f"jax.jit(jax.vmap(jax.value_and_grad({called}{argnums}){in_axes}))  # f and its gradient at {points}"


def examples() -> dict[str, str]:
    """The code for some settings."""
    found = {}
    for name in ("double well", "squared difference", "Himmelblau"):
        function = FUNCTIONS[name]
        found[name] = snippet(name, function.point, tuple(function.constants.values()), function.learning_rate)
    typed = TypedScalarFunction("a * cos(x) + (y - sin(x))**2", ("x", "y"), (-5.0, 5.0))
    return found | {"typed": snippet(typed, (1.0, 1.0), (2.0,), 0.03)}
