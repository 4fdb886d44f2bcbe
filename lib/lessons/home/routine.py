"""What the home page trains, and a run of it that is finished."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lib.lessons.training.routine import Training
from lib.live.recorder import Recorder
from lib.live.run import Status
from lib.routines import datasets
from lib.routines.networks import Network
from lib.routines.problem import train_steps

DATA, OPTIMIZER = "XOR", "Adam"
BATCH_SIZE, LEARNING_RATE, SEED, STEPS = 32, 0.03, 0, 300
"""Of the finished run."""
CHUNK = 10
"""Steps from one observation of it to the next."""


def task(batch_size: int, seed: int) -> Training:
    """A small network and four squares of points, in two classes."""
    dataset = datasets.load(DATA, seed)
    return Training(
        Network(2, 1, 2, 8, "tanh"), dataset.classes, dataset.picture, OPTIMIZER, batch_size, dataset
    )  # fmt: skip


def finished_run() -> dict[str, Any]:
    """A short training from beginning to end: those fields of a `Snapshot` that charts are drawn from."""
    problem = task(BATCH_SIZE, SEED)
    data = problem.data(SEED)
    state = jax.jit(problem.init)(jax.random.key(SEED), data)
    steps, observe = jax.jit(partial(train_steps, problem)), jax.jit(problem.observe)
    recorder = Recorder()
    recorder.take_picture(jax.device_get(observe(state, data)))
    while recorder.step < STEPS:
        begun = time.perf_counter()
        state, metrics, _ = jax.block_until_ready(steps(state, data, jnp.float32(LEARNING_RATE), jnp.int32(CHUNK)))
        taken = {name: np.asarray(values)[:CHUNK] for name, values in metrics.items()}
        recorder.take_steps(taken, time.perf_counter() - begun, BATCH_SIZE, timed=recorder.step > 0)
        recorder.take_picture(jax.device_get(observe(state, data)))
    curves, observed = recorder.curves(), recorder.observed()
    return {
        "coordinates": curves.coordinates, "metrics": curves.metrics, "lows": curves.lows, "highs": curves.highs,
        "observed_coordinates": observed.coordinates, "observed": observed.metrics, "picture": recorder.picture,
        "status": Status.FINISHED, "latest": recorder.latest, "step": recorder.step, "step_ms": recorder.step_times(),
    }  # fmt: skip
