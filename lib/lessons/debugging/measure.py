"""What the tools for debugging cost, and what they print in a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from lib.lessons.debugging import terminal
from lib.lessons.debugging.routine import batch_at, init_params, noisy_sine, sgd_step
from lib.measure.timing import Rows, compare

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 60


def tool_costs(device: jax.Device, batch_size: int, seed: int) -> Rows:
    """One training step in the steady state: as it is, and with each tool."""
    batch = batch_at(noisy_sine(seed), 0, batch_size)
    args = jax.device_put((init_params(jax.random.key(seed)), batch, jnp.float32(0.01)), device)

    def with_callback(params: Any, batch: Any, learning_rate: Any) -> Any:
        params, loss = sgd_step(params, batch, learning_rate)
        jax.debug.callback(lambda loss: None, loss)
        return params, loss

    step = jax.jit(sgd_step)

    def under(context: Callable[[], Any]) -> Any:
        with context():
            return step(*args)

    yield from compare(
        {
            "jit(step)": partial(step, *args),
            "with debug.callback": partial(jax.jit(with_callback), *args),
            "with checkify, NaN": partial(jax.jit(checkify.checkify(sgd_step, errors=checkify.float_checks)), *args),
            "under debug_nans": partial(under, lambda: jax.debug_nans(True)),
            "under checking_leaks": partial(under, jax.checking_leaks),
            "under disable_jit": partial(under, jax.disable_jit),
        }
    )


def _run(*arguments: str, devices: int) -> tuple[str, str]:
    """The standard output of a new Python process on the CPU, or one sentence on why there is none."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
    command = [sys.executable, "-P", *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return "", f"The new process was not done within {TIMEOUT_S} s: the machine is busy. Reload the page."
    if done.returncode:
        return "", f"The new process failed: {done.stderr.strip().splitlines()[-1:]}"
    return done.stdout, ""


def run_in_a_terminal() -> str:
    """What `terminal` prints as a program of its own, on simulated devices; the server's own output is left alone."""
    output, problem = _run(terminal.__file__, devices=4)
    return problem or output.rstrip()


TOOL = "import json, sys; from lib.lessons.debugging.tools import use_tool; "
TOOL += "print(json.dumps(use_tool(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))))"


def use_tool_alone(name: str, batch_size: int, learning_rate: float, seed: int) -> dict[str, list[str]]:
    """`use_tool` in a process of its own."""
    output, problem = _run("-c", TOOL, name, str(batch_size), str(learning_rate), str(seed), devices=1)
    said: dict[str, list[str]] = {"": [problem]} if problem else json.loads(output.splitlines()[-1])
    return said
