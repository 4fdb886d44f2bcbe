"""The training of `sharding` in all its ways at once, and what one may ask about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from lib.lessons.multi_device.routine import (
    EXAMPLES,
    JIT,
    PMAP,
    SINGLE,
    Layout,
    batch_at,
    in_turn,
    init_params,
    replicated,
    train_step,
    wave_data,
    way,
    ways_of,
)
from lib.routines.mistakes import Outcome, without_paths
from lib.routines.problem import HostStep, Observed, TrainState, new_state


@dataclass(frozen=True)
class ManyDevices:
    """The same network from the same start on the same batches, in each of `WAYS` that the batch size allows."""

    batch_size: int
    layout: Layout

    @property
    def ways(self) -> tuple[str, ...]:
        """Those among whose devices the batch can be divided."""
        return ways_of(self.layout, self.batch_size)

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0), self.ways

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return wave_data(seed)

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        params = init_params(key)
        for_pmap = replicated(params, self.layout)
        return new_state({name: for_pmap if name == PMAP else params for name in self.ways}, key)

    def host_step(self, device: jax.Device) -> HostStep:
        ways = {name: way(name, self.layout, device, self.batch_size) for name in self.ways}

        def step(compiled: dict[str, Callable], state: TrainState, data: Any, learning_rate: np.float32):
            batch = batch_at(data, int(state.step), self.batch_size)
            params, losses = {}, {}
            for name, made in ways.items():
                here = jax.device_put(state.params[name], made.params)  # nothing to do but before the first step
                params[name], loss = in_turn(compiled[name])(here, *made.place_batch(batch), learning_rate)
                # `pmap` returns the same loss from each device.
                losses[name] = float(np.asarray(loss).flat[0])
            alone = losses.pop(SINGLE)
            apart = max((abs(loss - alone) for loss in losses.values()), default=0.0)
            state = state._replace(params=params, step=state.step + 1)
            return state, {"loss": alone, **losses, "difference": apart}

        return HostStep({name: (made.jitted, made.args) for name, made in ways.items()}, step)

    def observe(self, state: TrainState, data: tuple) -> Observed:
        return Observed(metrics={}, picture={})


class Held(NamedTuple):
    """An array, and who holds which piece of it.

    Attributes:
        pieces: for each device its number and, for each axis, where its piece begins and ends.
    """

    name: str
    shape: tuple[int, ...]
    pieces: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


def placement(layout: Layout, first: jax.Device, batch_size: int) -> tuple[Held, ...]:
    """Where inputs, targets and parameters of a step are, as their shardings say it. Nothing is computed.

    Raises:
        ValueError: the batch cannot be divided.
    """
    params, inputs, targets, _ = way(JIT, layout, first, batch_size).args
    return tuple(held(name, array) for name, array in {"inputs": inputs, "targets": targets, **params}.items())


def held(name: str, array: Any) -> Held:
    """Reads the sharding of an array: for each device a tuple of slices of the whole."""
    pieces = []
    for device, index in array.sharding.devices_indices_map(array.shape).items():
        bounds = (part.indices(size)[:2] for part, size in zip(index, array.shape, strict=True))
        pieces.append((device.id, tuple((start, stop) for start, stop in bounds)))
    return Held(name, array.shape, tuple(sorted(pieces)))


def single_losses(seed: int, batch_size: int, learning_rate: float, num_steps: int) -> np.ndarray:
    """The losses of a single device, float32[num_steps], to compare with."""
    data = jax.tree.map(jnp.asarray, wave_data(seed))

    @jax.jit
    def losses(params, learning_rate):
        def body(params, step):
            rows = (step * batch_size + jnp.arange(batch_size)) % EXAMPLES
            return train_step(params, data[0][rows], data[1][rows], learning_rate)

        return jax.lax.scan(body, params, jnp.arange(num_steps))[1]

    return np.asarray(losses(init_params(jax.random.key(seed)), learning_rate))


def refusal(layout: Layout, first: jax.Device, batch_size: int) -> Outcome:
    """What JAX says to a batch that cannot be divided among its devices."""
    made = way(JIT, layout, first, batch_size)
    try:
        made.place_batch(batch_at(wave_data(0), 0, batch_size))
    except ValueError as error:
        words, _, _ = str(error).partition(" This error occurs at source")  # JAX 0.12 goes on with a line of this app's
        return Outcome(type(error).__name__, without_paths(words))
    return Outcome(None, "")
