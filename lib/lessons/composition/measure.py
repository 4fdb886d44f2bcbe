"""What each level of a stack costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from lib.lessons.composition import transforms
from lib.lessons.composition.levels import level_arguments
from lib.lessons.composition.routine import ExampleFunction
from lib.lessons.composition.transforms import Stack
from lib.measure.jaxprs import equations_of
from lib.measure.stages import fresh, take_stages
from lib.measure.timing import PAUSE, Rows, interleaved, once, timed

MAX_EAGER = 150
"""Equations of a function that is called without `jit`."""


def stack_times(
    device: jax.Device, function: ExampleFunction, stacks: tuple[Stack, ...], batch_size: int, seed: int
) -> Rows:
    """Stacks that JAX takes: what each costs to compile, then the steady state of all in turns.

    Yields:
        Records that say which `function` is f, with the stack's expression in their label, without keywords where it is the
        only such stack. What is
        compiled is `jit` of the stack; where that is not what stands there, the stack as it stands is timed too, in
        the phase "eager": JAX goes through it from the beginning at each call. Not if it is long: each of its
        operations is compiled first.
    """
    calls: dict[str, Callable[[], Any]] = {}
    phase_of = {"under jit": "steady", "as it stands": "eager"}
    names = [transforms.short(stack) for stack in stacks]
    for stack, name in zip(stacks, names, strict=True):
        yield PAUSE
        label = name if names.count(name) == 1 else transforms.expression(stack)
        args = jax.device_put(level_arguments(function, stack, batch_size, seed), device)
        jitted = fresh(transforms.apply(function.fun, stack))
        traced, _, _, phases = take_stages(jitted, *args)
        yield once(f"{label}, compile", "compile", phases.total_ms, function=function.name)
        calls[f"{label}, under jit"] = partial(jitted, *args)
        length = sum(1 for _ in equations_of(traced.jaxpr.jaxpr))
        if (not stack or stack[-1].name != "jit") and length <= MAX_EAGER:
            calls[f"{label}, as it stands"] = partial(transforms.apply(function.fun, stack), *args)
    for call in calls.values():
        yield PAUSE
        jax.block_until_ready(call())
    timings = yield from interleaved(calls, budget_s=0.4 * len(calls))
    for label, timing in timings.items():
        yield timed(label, phase_of[label.rpartition(", ")[2]], timing, function=function.name)
