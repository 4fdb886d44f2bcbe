"""What each library costs: to compile a step, and to call it, in the library's own way and through our interface."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from lib.lessons.state_libraries.common import NETWORK
from lib.lessons.state_libraries.routine import DATA, PLAIN, load, step
from lib.measure.stages import compile_in_stages
from lib.measure.timing import PAUSE, Record, Rows, Timing, interleaved, once, timed
from lib.routines.datasets import digest_of, draw, shuffled
from lib.routines.networks import init_params

STEPS = 50
"""Steps of a sample."""


def arguments(device: jax.Device, batch_size: int, seed: int) -> tuple[Any, Any, Any]:
    """Plain parameters, a batch and a learning rate, on the device."""
    (inputs, targets), _ = draw(DATA, seed)
    rows = shuffled(len(inputs), digest_of(DATA, seed))[:batch_size]
    params = init_params(NETWORK, jax.random.key(seed))
    placed: tuple[Any, Any, Any] = jax.device_put((params, (inputs[rows], targets[rows]), np.float32(0.01)), device)
    return placed


def _pure_step(name: str) -> Callable[..., Any]:
    """`step` of a library as a function of its own, so that nothing that JAX keeps applies to it."""
    return lambda state, batch, learning_rate: step(name, state, batch, learning_rate)


def calls(
    names: tuple[str, ...], device: jax.Device, params: Any, batch: Any, learning_rate: Any
) -> dict[str, Callable[[], Any]]:
    """One step of each library, as calls without arguments: see `library_calls`."""
    made: dict[str, Callable[[], Any]] = {}
    for calls_of_one in [library_calls(name, device, params, batch, learning_rate) for name in names]:
        made |= calls_of_one
    return made


def library_calls(
    name: str, device: jax.Device, params: Any, batch: Any, learning_rate: Any
) -> dict[str, Callable[[], Any]]:
    """One step of a library, as calls without arguments.

    Returns:
        `NAME own`: the library's own object, jitted in the library's own way. `NAME pure`: arrays in, arrays out,
        through our interface, by `jax.jit`. Both give the loss, so that the same is waited for.
    """

    def loss_of(jitted: Any, model: Any) -> Any:
        return jitted(model, batch, learning_rate)[1]

    library = load(name)
    # One state each: what changes in place must not change under the other.
    mine, state = (jax.device_put(library.split(library.make(params)), device) for _ in range(2))
    return {
        f"{name} own": partial(loss_of, library.jit(library.sgd_step), library.merge(mine)),
        f"{name} pure": partial(loss_of, jax.jit(_pure_step(name)), state),
    }


def _steps(call: Callable[[], Any]) -> None:
    """A sample: so many steps, each blocked, for every library alike."""
    for _ in range(STEPS):
        jax.block_until_ready(call())


def step_times(calls: dict[str, Callable[[], Any]], budget_s: float) -> Generator[None, None, dict[str, Timing]]:
    """Seconds a step, in turns."""
    for call in calls.values():
        yield PAUSE
        _steps(call)  # compiles, and fills the fast path of the dispatch
    timings = yield from interleaved({name: partial(_steps, call) for name, call in calls.items()}, budget_s)
    return {
        name: t._replace(median=t.median / STEPS, low=t.low / STEPS, high=t.high / STEPS, calls=t.calls * STEPS)
        for name, t in timings.items()
    }


def _compilation(name: str, device: jax.Device, params: Any, batch: Any, learning_rate: Any) -> Rows:
    yield PAUSE
    library = load(name)
    state = jax.device_put(library.split(library.make(params)), device)
    args = (state, batch, learning_rate)
    jax.eval_shape(_pure_step(name), *args)  # what the library and jax.numpy keep for their own functions
    _, phases = compile_in_stages(jax.jit(_pure_step(name)), *args)
    for phase, ms in zip(("trace", "lower", "compile"), phases, strict=True):
        yield once(name, phase, ms)


def library_costs(device: jax.Device, names: tuple[str, ...], batch_size: int, seed: int) -> Rows:
    """What each library's step takes to compile; then the steady state of all steps, in turns.

    Yields:
        Records with the library as their label: trace, lower and compile, from nothing; then the steady state, whose
        `way` is "own" or "pure" (see `calls`). Last, both of the plain pytree once more, alone, for `overhead`.
    """
    params, batch, learning_rate = arguments(device, batch_size, seed)
    for rows in [_compilation(name, device, params, batch, learning_rate) for name in names]:
        yield from rows
    made = calls(names, device, params, batch, learning_rate)
    timings = yield from step_times(made, budget_s=2.0)
    for key, timing in timings.items():
        name, _, way = key.rpartition(" ")
        yield timed(name, "steady", timing, way=way)
    # The same program twice, so little counts: these two alone, by the quartile that other work on the machine spoils least.
    pair = {key: made[key] for key in (f"{PLAIN} own", f"{PLAIN} pure")}
    timings = yield from step_times(pair, budget_s=1.0)
    for way, timing in zip(ALONE, timings.values(), strict=True):
        yield timed(PLAIN, "steady", timing, way=way)


ALONE = ("own, alone", "pure, alone")


def overhead(records: Sequence[Record]) -> float | None:
    """What our interface adds to a step of the plain pytree, as a share of it; None if the samples do not tell."""
    bare, through = (next(record for record in records if record.more.get("way") == way) for way in ALONE)
    steady = all(record.high_ms < 1.2 * record.low_ms for record in (bare, through))
    return through.low_ms / bare.low_ms - 1 if steady else None
