"""What each level of a stack costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from lib.lessons.composition import transforms
from lib.lessons.composition.levels import level_signature
from lib.lessons.composition.routine import ExampleFunction
from lib.lessons.composition.transforms import Stack
from lib.measure.jaxprs import equations_of
from lib.measure.stages import fresh, take_stages
from lib.measure.timing import PAUSE, Rows, interleaved, once, timed

MAX_EAGER = 150
"""Equations of a function that is called without `jit`."""

Levels = dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[Any, ...], bool]]
"""By label: a function, the names of its arguments, their shapes, and whether it is jitted already."""


def stack_times(
    device: jax.Device, function: ExampleFunction, stacks: tuple[Stack, ...], batch_size: int, seed: int
) -> Rows:
    """Stacks that JAX takes: see `level_times`. A label has its keywords only where two stacks differ in them alone."""
    yield from level_times(device, _levels(function, stacks, batch_size), function.name, seed, function.positive)


def _levels(function: ExampleFunction, stacks: tuple[Stack, ...], batch_size: int) -> Levels:
    made: Levels = {}
    names = [transforms.short(stack) for stack in stacks]
    for stack, name in zip(stacks, names, strict=True):
        label = name if names.count(name) == 1 else transforms.expression(stack)
        signature = level_signature(function, stack, batch_size)
        jitted = bool(stack) and stack[-1].name == "jit"
        made[label] = (
            transforms.apply(function.fun, stack),
            signature.names,
            transforms.shapes_of(signature.inputs),
            jitted,
        )
    return made


def level_times(device: jax.Device, levels: Levels, name: str, seed: int, positive: bool) -> Rows:
    """What each level costs to compile, then the steady state of all in turns.

    Yields:
        Records that say which function is f, with the level's label in theirs. What is compiled is `jit` of the level;
        where that is not what stands there, the level as it stands is timed too, in the phase "eager": JAX goes through
        it from the beginning at each call. Not if it is long: each of its operations is compiled first.
    """
    calls: dict[str, Callable[[], Any]] = {}
    phase_of = {"under jit": "steady", "as it stands": "eager"}
    for label, (fun, names, shapes, is_jitted) in levels.items():
        yield PAUSE
        args = jax.device_put(transforms.draw(names, shapes, seed, positive), device)
        jitted = fresh(fun)
        traced, _, _, phases = take_stages(jitted, *args)
        yield once(f"{label}, compile", "compile", phases.total_ms, function=name)
        calls[f"{label}, under jit"] = partial(jitted, *args)
        length = sum(1 for _ in equations_of(traced.jaxpr.jaxpr))
        if not is_jitted and length <= MAX_EAGER:
            calls[f"{label}, as it stands"] = partial(fun, *args)
    for call in calls.values():
        yield PAUSE
        jax.block_until_ready(call())
    timings = yield from interleaved(calls, budget_s=0.4 * len(calls))
    for label, timing in timings.items():
        yield timed(label, phase_of[label.rpartition(", ")[2]], timing, function=name)


def _taken_home(
    function: ExampleFunction, stacks: tuple[Stack, ...], batch_size: int, seed: int
) -> tuple[Callable[..., Rows], tuple[Any, ...], list[tuple[Any, str, str]]]:
    """`level_times`, its arguments, and the code of the levels."""
    levels = _levels(function, stacks, batch_size)
    arguments = tuple(name for name, _ in function.arguments)
    rows = [
        f"{label!r}: ({transforms.nested(stack, arguments)}, {names!r}, {_shapes(shapes)}, {jitted})"
        for stack, (label, (_, names, shapes, jitted)) in zip(stacks, levels.items(), strict=True)
    ]
    made = f"{function.code}\n\n\nLEVELS = {{{', '.join(rows)}}}"
    return level_times, (levels, function.name, seed, function.positive), [(levels, "LEVELS", made)]


def _shapes(tree: Any) -> str:
    if isinstance(tree, jax.ShapeDtypeStruct):
        return f"jax.ShapeDtypeStruct({tree.shape}, '{tree.dtype}')"
    return f"({''.join(f'{_shapes(part)}, ' for part in tree)})"


stack_times.taken_home = _taken_home  # type: ignore[attr-defined]
