"""What the Measure buttons measure: each yields records, and places its arrays on the device it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lib.measure import fresh_start
from lib.measure.jaxprs import equations_of
from lib.measure.levels import fresh, level_arguments
from lib.measure.stages import compile_in_stages, take_stages
from lib.measure.timing import compare, interleaved, once, profile, profile_rows, row, sweep
from lib.routines import batching, compilation, linear_regression, transforms
from lib.routines.composition import Function
from lib.routines.functions import Name, function_of
from lib.routines.transforms import Stack

Rows = Iterator[dict[str, Any]]

MAX_EAGER = 150
"""Equations of a function that is called without `jit`."""


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
        through it from the beginning at each call. Not if it is long: each of its operations is compiled first.
    """
    calls: dict[str, Callable[[], Any]] = {}
    for place, stack in enumerate(stacks):
        args = jax.device_put(level_arguments(function, stack, batch_size, seed), device)
        jitted = fresh(transforms.apply(function.fun, stack))
        traced, _, _, phases = take_stages(jitted, *args)
        yield once("", "compile", phases.total_ms) | {"stack": place}
        calls[f"{place} steady"] = partial(jitted, *args)
        length = sum(1 for _ in equations_of(traced.jaxpr.jaxpr))
        if (not stack or stack[-1].name != "jit") and length <= MAX_EAGER:
            calls[f"{place} first run"] = partial(transforms.apply(function.fun, stack), *args)
    for call in calls.values():
        jax.block_until_ready(call())
    for name, timing in interleaved(calls, budget_s=0.4 * len(calls)).items():
        number, _, phase = name.partition(" ")
        yield row("", phase, timing) | {"stack": int(number)}


# How it is compiled.

MAX_COMPILE_S = 1.5
"""A kind of program that took so long to compile is not made longer."""
START_TIMEOUT_S = 60
DISPATCH = ("blocked", "not blocked")
"""Timed until the result is there, and until the call returns."""


def stage_timeline(device: jax.Device, name: str, batch_size: int, depth: int) -> Rows:
    """The stages of a routine of `compilation.ROUTINES`, first call and one later call, end to end."""
    fun, args = compilation.routine(name, batch_size, depth)
    profiled = profile(fun, jax.device_put(args, device))
    steady_ms = 1e3 * profiled.steady.median
    at = 0.0
    for phase, ms in zip(
        ("trace", "lower", "compile", "first run", "steady"),
        (*profiled.phases, profiled.first_ms, steady_ms),
        strict=True,
    ):
        yield {"phase": phase, "start_ms": at, "end_ms": at + ms, "ms": ms}
        at += ms


def compile_sweep(device: jax.Device, batch_size: int, longest: int = 1024) -> Rows:
    """What it takes to compile programs of growing length, each from nothing: trace, lower and compile together."""
    slow: set[str] = set()
    size = 1
    while size <= longest:
        for variant, make in compilation.LENGTHS.items():
            if variant in slow:
                continue
            fun, args = make(size, batch_size)
            _, phases = compile_in_stages(jax.jit(partial(fun)), *jax.device_put(args, device))
            if phases.total_ms > 1e3 * MAX_COMPILE_S:
                slow.add(variant)
            ms = phases.total_ms
            yield {"size": size, "variant": variant, "median_ms": ms, "low_ms": ms, "high_ms": ms, "samples": 1}
        size *= 2


def dispatch_sweep(device: jax.Device, sizes: tuple[int, ...] = (64, 128, 256, 512, 1024)) -> Rows:
    """A product of two square matrices, blocked and not blocked, at growing sizes."""
    matmul = jax.jit(jnp.matmul)
    for size in sizes:
        a = jax.device_put(np.full((size, size), 1 / size, np.float32), device)
        jax.block_until_ready(matmul(a, a))  # compiles
        calls: dict[str, Callable[[], Any]] = {name: partial(matmul, a, a) for name in DISPATCH}
        for name, timing in interleaved(calls, budget_s=0.4, unblocked=DISPATCH[1:]).items():
            yield {
                "size": size, "variant": name, "median_ms": 1e3 * timing.median, "low_ms": 1e3 * timing.low,
                "high_ms": 1e3 * timing.high, "samples": timing.samples,
            }  # fmt: skip


def fresh_starts(device: jax.Device) -> Rows:
    """Two processes, one after the other, with one persistent compilation cache that is empty at first.

    They compile for the CPU whatever the device: an accelerator may have room for one process only.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }  # fmt: skip
        for start in ("first start", "second start"):
            try:
                done = subprocess.run(
                    [sys.executable, "-P", fresh_start.__file__], env=environment, capture_output=True, text=True, check=True,
                    timeout=START_TIMEOUT_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise RuntimeError(
                    f"the new process gave no result within {START_TIMEOUT_S} s, the machine is busy; measure again."
                ) from None
            except subprocess.CalledProcessError as error:
                raise RuntimeError(f"the new process failed: {error.stderr.strip().splitlines()[-1:]}") from None
            yield {"start": start, **json.loads(done.stdout.splitlines()[-1])}


def roofline(
    device: jax.Device, batch_size: int, depth: int, matmul_size: int = 1024, stream_size: int = 2**24
) -> Rows:
    """The roofs of this machine, then routines at the batch size.

    Yields:
        `label`; `kind` is `peak`, `bandwidth` or `routine`; `gflops_per_s`, `gbytes_per_s`, and `intensity` in flops
        a byte, all by the compiler's count, the peaks by that of the algorithm.
    """
    a = jax.device_put(np.full((matmul_size, matmul_size), 1 / matmul_size, np.float32), device)
    matmul = jax.jit(jnp.matmul)
    jax.block_until_ready(matmul(a, a))
    seconds = interleaved({"": lambda: matmul(a, a)}, 0.8)[""].low
    yield {"label": f"matmul of {matmul_size:,}²", "kind": "peak", "gflops_per_s": 2e-9 * matmul_size**3 / seconds}
    x = jax.device_put(np.ones(stream_size, np.float32), device)
    triad = jax.jit(lambda x, y: x + 2 * y)
    y = jax.block_until_ready(triad(x, x))
    seconds = interleaved({"": lambda: triad(x, y)}, 0.8)[""].low
    yield {"label": f"x + 2y of {stream_size:,}", "kind": "bandwidth", "gbytes_per_s": 12e-9 * stream_size / seconds}
    made = {name: compilation.routine(name, batch_size, depth) for name in compilation.ROUTINES}
    rows = np.ones((batch_size, 512), np.float32)
    made["x + 1"] = (lambda x: x + 1, (rows,))
    made["x @ w"] = (jnp.matmul, (rows, np.full((512, 512), 1 / 512, np.float32)))
    for name, (fun, args) in made.items():
        profiled = profile(fun, jax.device_put(args, device), budget_s=0.3)
        if profiled.cost.flops and profiled.cost.size_bytes:
            yield {
                "label": name, "kind": "routine", "gflops_per_s": profiled.gflops_per_s,
                "gbytes_per_s": profiled.gbytes_per_s, "intensity": profiled.cost.flops / profiled.cost.size_bytes,
            }  # fmt: skip
