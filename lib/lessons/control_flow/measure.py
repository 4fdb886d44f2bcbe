"""Loops inside programs, measured: how long they compile, how large they get, how fast they train."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lib.lessons.control_flow.recurrent import LOOPS, small_network
from lib.lessons.control_flow.routine import sqrt_or_zero
from lib.measure import jaxprs
from lib.measure.stages import NO_OPERATIONS, stages_of
from lib.measure.timing import PAUSE, Rows, compare, once, sweep

WIDTH = 16
MAX_COMPILE_S = 1.5
"""A kind of program that took so long to compile is not made longer."""
ROUNDS, ROUND_STEPS = 8, 2000


def turns_in_python(w, x, num_steps):
    """Unrolled: a copy of the body for each turn."""
    for _ in range(num_steps):
        x = jnp.tanh(x @ w)
    return x


def turns_in_fori_loop(w, x, num_steps):
    """Rolled: one copy."""
    return lax.fori_loop(0, num_steps, lambda i, x: jnp.tanh(x @ w), x)


def turns_in_scan(w, x, num_steps, unroll=1):
    """Rolled, `unroll` copies at a time."""
    return lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=num_steps, unroll=unroll)[0]


TURNS: dict[str, Callable[..., Any]] = {
    "Python for": turns_in_python,
    "fori_loop": turns_in_fori_loop,
    "scan": turns_in_scan,
    "scan, unroll=8": partial(turns_in_scan, unroll=8),
}


def length_sweep(device: jax.Device, batch_size: int, longest: int = 512) -> Rows:
    """Programs of growing length, each compiled from nothing, then run.

    Yields:
        For each number of turns, by the names of `TURNS`: trace, lower and compile together, in the phase "compile",
        with `equations` and `hlo_ops`; then the steady state of a call.
    """
    args = jax.device_put((np.eye(WIDTH, dtype=np.float32), np.ones((batch_size, WIDTH), np.float32)), device)

    def measure(made: dict[str, Any]) -> Rows:
        for name, jitted in made.items():
            yield PAUSE
            stages = stages_of(jitted, *args)
            hlo_ops = sum(n for op, n in stages.hlo_ops.items() if op not in NO_OPERATIONS)
            yield once(name, "compile", stages.phases.total_ms, equations=stages.equations, hlo_ops=hlo_ops)
        yield from compare({name: partial(jitted, *args) for name, jitted in made.items()}, 0.05 * len(made))

    yield from sweep(
        lambda size: {name: jax.jit(partial(turns, num_steps=size)) for name, turns in TURNS.items()},
        tuple(2**i for i in range(longest.bit_length())), measure, 1e3 * MAX_COMPILE_S,
    )  # fmt: skip


def training_race(device: jax.Device, batch_size: int, learning_rate: float, seed: int) -> Rows:
    """The same network trained by each of `LOOPS`, round by round in turns.

    Yields:
        The time of a step in each round of each loop, with the `seconds` of training so far and the `loss`.
    """
    params, batch = jax.device_put(small_network(batch_size, seed), device)
    rate = jax.device_put(jnp.float32(learning_rate), device)
    states = dict.fromkeys(LOOPS, params)
    seconds = dict.fromkeys(LOOPS, 0.0)
    for loop in LOOPS.values():
        yield PAUSE
        jax.block_until_ready(loop(params, batch, rate, num_steps=ROUND_STEPS))  # compiles
    for _ in range(ROUNDS):
        for name, loop in LOOPS.items():
            yield PAUSE
            start = time.perf_counter()
            states[name], loss = jax.block_until_ready(loop(states[name], batch, rate, num_steps=ROUND_STEPS))
            elapsed = time.perf_counter() - start
            seconds[name] += elapsed
            round_ = once(name, "steady", 1e3 * elapsed / ROUND_STEPS, seconds=seconds[name], loss=float(loss))
            yield round_._replace(calls=ROUND_STEPS)


class JaxprDiff(NamedTuple):
    """A function for one example and for a batch, line by line; which lines of the second are new."""

    one: list[jaxprs.EquationLine]
    batch: list[jaxprs.EquationLine]
    marks: list[str]


PREDICATES = {"one for each example": (0, 0), "one for all": (None, 0)}
"""The `in_axes` of `vmap` over the predicate and the argument."""


def cond_and_vmap(batch_size: int, predicate: str) -> JaxprDiff:
    """`cond` of one example, and what `vmap` makes of it, with one of `PREDICATES`."""
    names = ("predicate", "x")
    in_axes = PREDICATES[predicate]
    taken = jnp.ones(batch_size, bool) if in_axes[0] == 0 else jnp.bool_(True)
    one = jaxprs.lines(jaxprs.trace(sqrt_or_zero, (jnp.bool_(True), jnp.float32(1.0))), names)
    mapped = jax.vmap(sqrt_or_zero, in_axes=in_axes)
    batch = jaxprs.lines(jaxprs.trace(mapped, (taken, jnp.ones(batch_size))), names)
    return JaxprDiff(one, batch, jaxprs.marks(one, batch))
