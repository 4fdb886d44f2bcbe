"""What the Measure buttons measure: each yields records, and places its arrays on the device it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lib.measure.levels import fresh, level_arguments
from lib.measure.stages import compile_in_stages
from lib.measure.timing import compare, interleaved, once, profile_rows, row, sweep
from lib.routines import batching, linear_regression, transforms
from lib.routines.composition import Function
from lib.routines.functions import Name, function_of
from lib.routines.transforms import Stack

Rows = Iterator[dict[str, Any]]


def gradient_phases(device: jax.Device, name: Name, point: tuple[float, ...], constants: tuple[float, ...]) -> Rows:
    """`jit(grad(f))` by phases, and `grad(f)` without `jit`."""
    args = jax.device_put((np.array(point, np.float32), tuple(np.float32(c) for c in constants)), device)
    yield from profile_rows(jax.grad(function_of(name).at), args, "jit(grad(f))", "grad(f)")


def batching_sweep(device: jax.Device, name: batching.Name, batch_size: int) -> Rows:
    """Every way to compute a batch, at powers of two up to the batch size."""
    sizes = [2**i for i in range(batch_size.bit_length())]
    yield from sweep(lambda size: batching.rivals(name, size, device), sizes)


def gradient_ways(device: jax.Device, batch_size: int, seed: int) -> Rows:
    """Four ways to the gradient of the summed loss of a batch."""
    inputs, targets = (a[:batch_size] for a in linear_regression.regression_data(seed))
    args = jax.device_put((np.zeros(linear_regression.FEATURES, np.float32), inputs, targets), device)
    calls: dict[str, Callable[[], Any]] = {
        "eager: grad of the batch loss": partial(linear_regression.grad_of_batch_loss, *args)
    }
    for label, (way, whole) in linear_regression.WAYS.items():
        name = f"jit: {label}" if whole else f"{label} of jitted gradients"
        calls[name] = partial(jax.jit(way) if whole else way, *args)
    yield from compare(calls)


def train_step_phases(device: jax.Device, problem: Any, data: Any, seed: int) -> Rows:
    """One step of a problem by phases."""
    data = jax.device_put(data, device)
    state = jax.device_put(jax.jit(problem.init)(jax.random.key(seed), data), device)
    args = (state, data, jax.device_put(jnp.float32(0.01), device))
    yield from profile_rows(problem.step, args, "jit(step)", "step")


def stack_times(device: jax.Device, function: Function, stacks: tuple[Stack, ...], batch_size: int, seed: int) -> Rows:
    """Stacks that JAX takes: what each costs to compile, then the steady state of all in turns.

    Yields:
        Records as of `timing.row`, with `stack`: the place in `stacks`. What is compiled is `jit` of the stack; where
        that is not what stands there, the stack as it stands is timed too, under the phase "first run": JAX goes
        through it from the beginning at each call.
    """
    calls: dict[str, Callable[[], Any]] = {}
    for place, stack in enumerate(stacks):
        args = jax.device_put(level_arguments(function, stack, batch_size, seed), device)
        jitted = fresh(transforms.apply(function.fun, stack))
        _, phases = compile_in_stages(jitted, *args)
        yield once("", "compile", phases.total_ms) | {"stack": place}
        calls[f"{place} steady"] = partial(jitted, *args)
        if not stack or stack[-1].name != "jit":
            calls[f"{place} first run"] = partial(transforms.apply(function.fun, stack), *args)
    for call in calls.values():
        jax.block_until_ready(call())
    for name, timing in interleaved(calls, budget_s=0.4 * len(calls)).items():
        number, _, phase = name.partition(" ")
        yield row("", phase, timing) | {"stack": int(number)}
