"""What will this do? Answers are found by running it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lib.lessons.control_flow.recurrent import LOOPS, network_and_windows, small_network
from lib.lessons.control_flow.routine import activation_switch
from lib.measure.jaxprs import equations_of
from lib.measure.questions import Choice, Number, Order, Question
from lib.measure.timing import Rows, compare

STEPS = 200


def equations(loop: str, batch_size: int) -> int:
    """How many the gradient of the loss has, inner ones included."""
    fun, args = network_and_windows(batch_size, loop)
    return sum(1 for _ in equations_of(jax.make_jaxpr(fun)(*args).jaxpr))


def switch_out_of_range(batch_size: int) -> str:
    """The batch size as the index of one of three branches."""
    x = jnp.float32(0.5)
    value = jax.jit(activation_switch)(batch_size, x)
    branches = {"tanh(0.5)": jnp.tanh(x), "relu(0.5)": jax.nn.relu(x), "sin(0.5)": jnp.sin(x)}
    return next(name for name, expected in branches.items() if np.isclose(value, expected))


def race_of_loops(device: jax.Device, batch_size: int, seed: int) -> Rows:
    """`STEPS` steps of a small network by each of `LOOPS`, in turns."""
    params, batch = jax.device_put(small_network(batch_size, seed), device)
    rate = jax.device_put(jnp.float32(0.01), device)
    yield from compare({name: partial(loop, params, batch, rate, num_steps=STEPS) for name, loop in LOOPS.items()}, 0.8)


def _why_so_many(loop: str) -> str:
    if loop == "Python for":
        return (
            "Python's loop ran while JAX traced: there is a copy of the cell for each of 32 turns, and its derivative."
        )
    return "`scan` holds one copy of the cell, forwards and backwards. With `unroll=8` the compiler copies it, not the trace."


QUESTIONS = (
    Question(
        "how long",
        "How many equations has the gradient of the loss with this loop over 32 turns: {loop}?",
        Number(10, 1e5, "equations"),
        equations,
        _why_so_many,
    ),
    Question(
        "out of range",
        "What does `lax.switch(i, (tanh, relu, sin), 0.5)` give under `jit` for i = {batch_size}?",
        Choice(("IndexError", "tanh(0.5)", "relu(0.5)", "sin(0.5)")),
        switch_out_of_range,
        "Branches count from 0, and an index out of range is clamped to the last one: a program cannot raise an error.",
    ),
    Question(
        "which is fastest",
        "200 steps of a small network, batches of {batch_size}: which loop is fastest?",
        Order(tuple(LOOPS)),
        race_of_loops,
        "The Python loop dispatches each step by itself. The other two are one program each, and much alike.",
    ),
)
