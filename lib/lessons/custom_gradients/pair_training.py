"""Training through the naive and the mended function of a pair of `custom_gradients`, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.lessons.custom_gradients.routine import (
    PAIRS,
    VERSIONS,
    Batch,
    classifier_arguments,
    orbit_arguments,
    sigmoid,
    unit_arguments,
)
from lib.lessons.pytrees.routine import rows_of
from lib.routines.problem import Metrics, Observed, TrainState, new_state
from lib.routines.sgd import sgd

EXAMPLES = 128
MISSING, MISSING_AT = -999.0, 5
"""What somebody has written for an input that was not there, and which one."""


@lru_cache(maxsize=64)
def pair_data(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float32[EXAMPLES, features] inputs and float32[EXAMPLES] targets for the training of a pair."""
    pair = PAIRS[name]
    rng = np.random.default_rng(seed)
    if pair.arguments is orbit_arguments:
        inputs = rng.permutation((np.arange(EXAMPLES) + 0.5) / EXAMPLES * np.pi)[:, None]
        targets = inputs[:, 0].copy()
        for _ in range(2000):
            targets = inputs[:, 0] + pair.truth[0] * np.sin(targets)
        return inputs.astype(np.float32), targets.astype(np.float32)
    features = 1 if pair.arguments is unit_arguments else len(pair.truth)
    inputs = pair.spread * rng.normal(size=(EXAMPLES, features))
    if pair.mended is sigmoid:
        inputs[MISSING_AT] = MISSING
    if pair.arguments is unit_arguments:
        z = pair.truth[0] * inputs[:, 0] + pair.truth[1]
        targets = np.asarray(jax.vmap(pair.mended)(z.astype(np.float32)))
    elif pair.arguments is classifier_arguments:
        targets = np.sign(inputs @ np.array(pair.truth))
    else:
        targets = inputs @ np.array(pair.truth) + 0.1 * rng.normal(size=EXAMPLES)
    return inputs.astype(np.float32), targets.astype(np.float32)


def loss_fn(pair, fun, theta, batch):
    """The sum of the losses of a batch, through one function of a pair."""
    return pair.loss(jax.vmap(fun)(*pair.arguments(theta, *batch)), *batch)


@dataclass(frozen=True)
class PairTraining:
    """Trains through both functions of a pair: the same start, the same batches, SGD on the mean of the batch's losses.

    The losses reported are means over all examples: `loss` of the mended version, `naive` of the other. Once the naive one
    is infinite or not a number it takes no more steps, so that the mended one can go on: `broken_at` says when, 0 for
    never.
    """

    pair: str
    batch_size: int

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0)

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return pair_data(self.pair, seed)

    def init(self, key: Key[Array, ""], data: Batch) -> TrainState:
        start = jnp.array(PAIRS[self.pair].start)
        naive = {"loss": jnp.float32(0), "broken_at": jnp.int32(0)}
        return new_state(dict.fromkeys(VERSIONS, start), key, opt_state=naive)

    def step(self, state: TrainState, data: Batch, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        pair = PAIRS[self.pair]
        rows = rows_of(state.step, self.batch_size, EXAMPLES)
        batch = tuple(part[rows] for part in data)
        params, losses = {}, {}
        for version, fun in zip(VERSIONS, (pair.naive, pair.mended), strict=True):
            grads = jax.grad(partial(loss_fn, pair, fun))(state.params[version], batch)
            params[version] = sgd(state.params[version], grads / self.batch_size, learning_rate)
            losses[version] = loss_fn(pair, fun, params[version], data) / EXAMPLES
        before = state.opt_state
        good = jnp.isfinite(params["naive"]).all() & jnp.isfinite(losses["naive"]) & (before["broken_at"] == 0)
        params["naive"] = jnp.where(good, params["naive"], state.params["naive"])
        naive = {
            "loss": jnp.where(good, losses["naive"], before["loss"]),
            "broken_at": jnp.where(good | (before["broken_at"] > 0), before["broken_at"], state.step + 1),
        }
        return TrainState(params, naive, state.key, state.step + 1), {"loss": losses["mended"], "naive": naive["loss"]}

    def observe(self, state: TrainState, data: Batch) -> Observed:
        pair = PAIRS[self.pair]
        picture = {"broken_at": state.opt_state["broken_at"]}
        for version, fun in zip(VERSIONS, (pair.naive, pair.mended), strict=True):
            x = pair.arguments(state.params[version], *data)[0]
            picture |= {f"x {version}": x, f"df {version}": jax.vmap(jax.grad(fun))(x)}
        return Observed(metrics={}, picture=picture)
