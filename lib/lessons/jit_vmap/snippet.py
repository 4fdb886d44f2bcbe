"""The code of the lesson, to take away."""

from __future__ import annotations

import re
from math import prod

from lib.lessons.jit_vmap import routine as batching
from lib.lessons.jit_vmap.routine import Ensemble, Name, arguments, function_of, shown_size
from lib.routines.snippets import named, source, written
from lib.routines.typed import parse

STEPS = 300


def line(problem: Ensemble) -> str:
    """What the live run calls at each step."""
    return f"jax.jit(jax.vmap(train_step, in_axes={problem.in_axes}))"


def snippet(problem: Ensemble, learning_rate: float) -> str:
    """Many models, trained by one call."""
    count = problem.batch_size
    parts = source(batching.predict, batching.model_loss, batching.train_step, batching.init)
    own = [name for name, axis in zip(("targets", "rate"), problem.in_axes[2:], strict=True) if axis == 0]
    mapped = " and ".join(["params", *own]) if len(own) < 2 else "params, targets and rate"
    verb = "has" if not own else "have"
    lines = [
        "import jax",
        "import jax.numpy as jnp",
        "",
        "",
        parts,
        "",
        "",
        f"params = jax.vmap(init)(jax.random.split(jax.random.key(0), {count}))",
        "inputs = jnp.linspace(-1, 1, 64)",
        *(
            [f"phases = 2 * jnp.pi / {count} * jnp.arange({count})", "targets = jnp.sin(4 * inputs + phases[:, None])"]
            if problem.own_targets
            else ["targets = jnp.sin(4 * inputs)"]
        ),
        f"rate = {learning_rate!r} * jnp.geomspace(1 / 30, 1, {count})"
        if problem.own_rates
        else f"rate = {learning_rate!r}",
        "",
        f"# {mapped} {verb} an axis of models: axis 0. All else is shared.",
        f"train_all = {line(problem)}",
        f"for step in range({STEPS}):",
        "    params, losses = train_all(params, inputs, targets, rate)",
        'print(f"{losses.min():.3f} {losses.mean():.3f} {losses.max():.3f}")',
    ]
    return "\n".join(lines)


def _array(name: Name, argument: str, shape: tuple[int, ...]) -> str:
    """Code that makes an argument as `arguments` does."""
    size = prod(shape)
    if name == "x ** power":
        return f"jnp.arange(1.0, {1.0 + size})" if shape else repr(3.0 if argument == "x" else 2.0)
    if not shape:
        return "jnp.float32(0.0)"
    numbers = (
        f"jnp.arange({float(size)})" if size <= batching.PERIOD else f"(jnp.arange({float(size)}) % {batching.PERIOD})"
    )
    made = numbers if len(shape) == 1 else f"{numbers}.reshape{shape}"
    return f"2 * {made}" if argument == "y" else made


def _example(argument: str, axis: int | None) -> str:
    """An example's part of an argument."""
    return argument if axis is None else f"{argument}[{':, ' * axis}i]"


def calls(name: Name, in_axes: tuple[int | None, ...]) -> tuple[str, ...]:
    """What a loop over the examples calls."""
    example = _call(name, in_axes)
    return tuple(re.sub(r"\bi\]", f"{i}]", example) for i in range(shown_size(name)))


def _call(name: Name, in_axes: tuple[int | None, ...]) -> str:
    names = [named(argument.name) for argument in function_of(name).arguments]
    example = ", ".join(_example(argument, axis) for argument, axis in zip(names, in_axes, strict=True))
    return f"{_called(name)}({example})"


def _called(name: Name) -> str:
    return "f" if isinstance(name, batching.TypedBatchFunction) else function_of(name).fun.__name__


def rows(name: Name, in_axes: tuple[int | None, ...], out_axes: int | None) -> str:
    """A function in a loop over examples, and the same without a loop."""
    function, count = function_of(name), shown_size(name)
    called = _called(name)
    code = source(function.fun) if isinstance(name, str) else written(parse(name.text))
    names = [named(argument.name) for argument in function.arguments]
    values = arguments(name, in_axes, count)
    axes = f"in_axes={in_axes}" + (f", out_axes={out_axes}" if out_axes != 0 else "")
    stacked = "jnp.stack(rows)" if out_axes == 0 else f"jnp.stack(rows, axis={out_axes})"
    lines = [
        "import jax",
        "import jax.numpy as jnp",
        "",
        "",
        code,
        "",
        "",
        *(f"{argument} = {_array(name, argument, value.shape)}" for argument, value in zip(names, values, strict=True)),
        "",
        f"# A loop: {count} calls.",
        f"rows = [{_call(name, in_axes)} for i in range({count})]",
        f"print({stacked})",
        "",
        "# No loop: one call.",
        f"batched = jax.vmap({called}, {axes})",
        f"print(jax.jit(batched)({', '.join(names)}))",
    ]
    return "\n".join(lines)


def examples() -> dict[str, str]:
    """The code for some settings."""
    typed = batching.TypedBatchFunction("softplus(w @ x) + f[0]", ((2, 3), (3,), (4,)))
    return {
        "ensemble": snippet(Ensemble(32), 0.03),
        "own targets and rates": snippet(Ensemble(4, own_targets=True, own_rates=True), 0.1),
        **{f"rows, {name}": rows(name, function_of(name).in_axes, 0) for name in batching.FUNCTIONS},
        "rows, other axes": rows("outer(x, y)", (1, None), 1),
        "rows, typed": rows(typed, (None, 1, 0), 0),
    }
