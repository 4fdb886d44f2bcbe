"""What the Measure buttons measure: each yields records, and places its arrays on the device it is given."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lib.lessons.compilation import fresh_start
from lib.lessons.compilation import routine as compilation
from lib.measure.stages import compile_in_stages
from lib.measure.timing import PAUSE, Rows, compare, interleaved, once, profile, sweep, timed
from lib.routines.problem import Made

# How it is compiled.

MAX_COMPILE_S = 1.5
"""A kind of program that took so long to compile is not made longer."""
START_TIMEOUT_S = 60
PROGRAM = inspect.getsource(fresh_start)
DISPATCH = ("blocked", "not blocked")
"""Timed until the result is there, and until the call returns."""


def stage_timeline(device: jax.Device, name: str, batch_size: int, depth: int) -> Rows:
    """The stages of a routine of `compilation.ROUTINES`: the way to the first result, and one later call."""
    fun, args = compilation.routine(name, batch_size, depth)
    profiled = yield from profile(fun, jax.device_put(args, device))
    for phase, ms in zip(("trace", "lower", "compile"), profiled.phases, strict=True):
        yield once(name, phase, ms)
    yield once(name, "first run", profiled.first_ms)
    yield timed(name, "steady", profiled.steady)


def _compilations(made: dict[str, tuple[Callable[..., Any], tuple]], device: jax.Device) -> Rows:
    """What it takes to compile functions for their arguments: trace, lower and compile together."""
    for name, (fun, args) in made.items():
        yield PAUSE
        _, phases = compile_in_stages(jax.jit(partial(fun)), *jax.device_put(args, device))
        yield once(name, "compile", phases.total_ms)


def compile_sweep(device: jax.Device, batch_size: int, longest: int = 1024) -> Rows:
    """What it takes to compile programs of growing length, each from nothing: trace, lower and compile together."""
    yield from sweep(
        lambda size: {name: make(size, batch_size) for name, make in compilation.LENGTHS.items()},
        tuple(2**i for i in range(longest.bit_length())), partial(_compilations, device=device), 1e3 * MAX_COMPILE_S,
    )  # fmt: skip


def dispatch_sweep(device: jax.Device, sizes: tuple[int, ...] = (64, 128, 256, 512, 1024)) -> Rows:
    """A product of two square matrices, blocked and not blocked, at growing sizes."""
    matmul = jax.jit(jnp.matmul)

    def calls(size: int) -> dict[str, Callable[[], Any]]:
        a = jax.device_put(np.full((size, size), 1 / size, np.float32), device)
        return {name: partial(matmul, a, a) for name in DISPATCH}

    yield from sweep(calls, sizes, partial(compare, budget_s=0.4, unblocked=DISPATCH[1:]))


def fresh_starts(device: jax.Device) -> Rows:
    """Two processes, one after the other, with one persistent compilation cache that is empty at first.

    They compile for the CPU whatever the device: an accelerator may have room for one process only.

    Yields:
        The phases of each start. That of "compile" also says whether the program was `found` in the cache.
    """
    try:
        cache = tempfile.TemporaryDirectory()
    except OSError:
        raise RuntimeError(
            "the cache needs a temporary folder with room in it, and the server has none; start it with TMPDIR set to one."
        ) from None
    with cache as folder:
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }  # fmt: skip
        for start in ("first start", "second start"):
            try:
                done = subprocess.run(
                    [sys.executable, "-P", "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True,
                    timeout=START_TIMEOUT_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise RuntimeError(
                    f"the new process gave no result within {START_TIMEOUT_S} s, the machine is busy; measure again."
                ) from None
            except subprocess.CalledProcessError as error:
                raise RuntimeError(f"the new process failed: {error.stderr.strip().splitlines()[-1:]}") from None
            took = json.loads(done.stdout.splitlines()[-1])
            for phase, ms in took["ms"].items():
                yield once(start, phase, ms, **({"found": took["found"]} if phase == "compile" else {}))
            yield PAUSE


def _program_taken_home() -> tuple[Callable[..., Rows], tuple[Any, ...], list[tuple[Any, str, str]]]:
    """The code of the program that is started."""
    code = PROGRAM.replace('"""', "'''")
    return fresh_starts, (), [(PROGRAM, "PROGRAM", f'PROGRAM = """\\\n{code}"""')]


fresh_starts.taken_home = _program_taken_home  # type: ignore[attr-defined]


def roofline(
    device: jax.Device, batch_size: int, depth: int, matmul_size: int = 1024, stream_size: int = 2**24
) -> Rows:
    """The roofs of this machine, then routines at the batch size.

    Yields:
        Records with `kind`, which is `peak`, `bandwidth` or `routine`; `gflops_per_s`, `gbytes_per_s`, and `intensity`
        in flops a byte, all by the compiler's count, the peaks by that of the algorithm.
    """
    a = jax.device_put(np.full((matmul_size, matmul_size), 1 / matmul_size, np.float32), device)
    matmul = jax.jit(jnp.matmul)
    jax.block_until_ready(matmul(a, a))
    timing = (yield from interleaved({"": lambda: matmul(a, a)}, 0.8))[""]
    speed = 2e-9 * matmul_size**3 / timing.low
    yield timed(f"matmul of {matmul_size:,}²", "steady", timing, kind="peak", gflops_per_s=speed)
    x = jax.device_put(np.ones(stream_size, np.float32), device)
    triad = jax.jit(lambda x, y: x + 2 * y)
    y = jax.block_until_ready(triad(x, x))
    timing = (yield from interleaved({"": lambda: triad(x, y)}, 0.8))[""]
    speed = 12e-9 * stream_size / timing.low
    yield timed(f"x + 2y of {stream_size:,}", "steady", timing, kind="bandwidth", gbytes_per_s=speed)
    rows, w = np.ones((batch_size, 512), np.float32), np.full((512, 512), 1 / 512, np.float32)
    made: dict[str, Made] = {
        **{name: compilation.routine(name, batch_size, depth) for name in compilation.ROUTINES},
        "x + 1": (lambda x: x + 1, (rows,)),
        "x @ w": (jnp.matmul, (rows, w)),
    }
    for name, (fun, args) in made.items():
        profiled = yield from profile(fun, jax.device_put(args, device), budget_s=0.3)
        if profiled.cost.flops and profiled.cost.size_bytes:
            yield timed(
                name, "steady", profiled.steady, kind="routine", gflops_per_s=profiled.gflops_per_s,
                gbytes_per_s=profiled.gbytes_per_s, intensity=profiled.cost.flops / profiled.cost.size_bytes,
            )  # fmt: skip
