"""Who computes: a worker opens a run and takes it on chunk by chunk, measures, and answers.

Programs and states stay with the worker that made them. What a run holds of a state is for the worker alone to read:
here, where threads of this process compute, it is the state itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lib.live.engine import Engine, Wish
from lib.live.program import (
    Chunk,
    Program,
    compute_chunk,
    request_program,
    request_start_picture,
    start_state,
    steps_key,
)
from lib.routines.problem import Problem, TrainState


@dataclass(frozen=True)
class Spec:
    """What to run. Two specs of equal `lineage` go on from each other's state.

    Attributes:
        sent: its data, where the problem has come without them.
    """

    problem: Problem
    device: Any
    seed: int
    sent: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def data(self) -> Any:
        """What it runs on, a pytree of NumPy arrays."""
        return self.problem.data(self.seed) if self.sent is None else self.sent

    @cached_property
    def digest(self) -> bytes:
        """Tells data apart by their bytes, shapes and dtypes."""
        leaves, structure = jax.tree.flatten(self.data)
        digest = hashlib.blake2b(str(structure).encode(), digest_size=16)
        for leaf in map(np.asarray, leaves):
            digest.update(f"{leaf.dtype}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf))
        return digest.digest()

    @cached_property
    def placed_data(self) -> Any:
        """The data on the device."""
        return jax.device_put(self.data, self.device)

    def on(self, device: Any) -> Spec:
        """The same, on a device."""
        return self if device is self.device else replace(self, device=device, sent=self.data)

    @property
    def lineage(self) -> Any:
        """What a state depends on."""
        return self.problem.lineage, self.seed, self.digest

    @property
    def identity(self) -> Any:
        """Everything that tells one from another."""
        return self.problem, self.device, self.seed, self.digest


class Opened(NamedTuple):
    """A run that a worker is ready to take on.

    Attributes:
        spec: with the device that it was given.
        program: of a run elsewhere only what there is to tell of it, without its functions.
        shared: whether it was compiled, or being compiled, when the run asked for it.
        ticket: what a worker elsewhere knows it by.
    """

    worker: Worker
    spec: Spec
    program: Program
    shared: bool
    ticket: Any = None


class WorkerLost(Exception):
    """A worker has gone, and with it all that it had; the message names it."""


class Saved(NamedTuple):
    """A state in NumPy, to go on from anywhere.

    Attributes:
        leaves: its arrays, and the data of its keys.
    """

    leaves: list[np.ndarray]

    @classmethod
    def of(cls, state: TrainState) -> Saved:
        """Of a state on a device of this process."""
        leaves = jax.tree.leaves(state)
        return cls([np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in leaves])

    def restored(self, start: TrainState) -> TrainState:
        """The state again: in the structure of a start of the same lineage, and where that one is."""
        leaves, structure = jax.tree.flatten(start)

        def placed(saved: np.ndarray, leaf: Any) -> Any:
            if not _is_key(leaf):
                return jax.device_put(saved, leaf.sharding)
            key = jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(leaf))
            return jax.device_put(key, leaf.sharding)

        return jax.tree.unflatten(structure, map(placed, self.leaves, leaves))


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


class Worker(Protocol):
    """Where runs are computed, and what else takes a device. Every method returns at once.

    Attributes:
        ahead: so many chunks of a run may be asked for before the first of them is there.
    """

    ahead: int

    def load(self, device: Any) -> int:
        """How many turns are being taken or waited for on the processor of a device."""

    def open(self, spec: Spec, wish: Wish | None = None) -> Future:
        """Has the programs of a run compiled, or finds them; of an `Opened`. What is not begun when the wish is given up is not
        compiled: `Unwanted`."""

    def picture(self, spec: Spec, wish: Wish | None = None) -> Future:
        """Has the picture of the state before the first step drawn, if the wish is still held when its turn comes."""

    def advance(
        self, opened: Opened, state: Any, learning_rate: float, num_steps: int, want_picture: bool
    ) -> tuple[Any, Future]:
        """Has a chunk of steps computed, in its turn.

        Args:
            state: of an earlier chunk, also of another worker's, or None for the start.
            num_steps: 0 for the picture alone.

        Returns:
            What the next chunk can be asked for with while this one is computed, None if that cannot be; and the future
            of the `Chunk`, which raises `WorkerLost` if there is nobody left to compute it.
        """

    def measure(self, measurement: Any) -> Future:
        """Takes the next slice of a `Measurement`, with the processor to itself; whether there is more to do."""

    def answer(self, device: Any, fun: Callable[..., Any], *args: Any) -> Any:
        """What a function of a module gives on a device, in NumPy; whoever asks waits."""


class LocalWorker:
    """The threads of this process, behind the queues of its engine."""

    ahead = 1

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, device: jax.Device) -> int:
        """See `Worker`."""
        return self._engine.load(device)

    def open(self, spec: Spec, wish: Wish | None = None) -> Future:
        """See `Worker`."""
        opened: Future = Future()
        shared = self._engine.programs.has(steps_key(spec.problem, spec.data, spec.device))

        def done(program: Future) -> None:
            if (error := program.exception()) is not None:
                opened.set_exception(error)
            else:
                opened.set_result(Opened(self, spec, program.result(), shared))

        request_program(self._engine, spec.problem, spec.data, spec.device, done, wish)
        return opened

    def picture(self, spec: Spec, wish: Wish | None = None) -> Future:
        """See `Worker`."""
        return request_start_picture(self._engine, spec.problem, spec.data, spec.device, spec.seed, wish)

    def advance(
        self, opened: Opened, state: TrainState | None, learning_rate: float, num_steps: int, want_picture: bool
    ) -> tuple[None, Future]:
        """See `Worker`."""
        args = opened.program, opened.spec, state, learning_rate, num_steps, want_picture
        return None, self._engine.submit(opened.spec.device, take_chunk, *args)

    def measure(self, measurement: Any) -> Future:
        """See `Worker`."""
        return self._engine.measure(measurement.device, measurement.take_slice)

    def answer(self, device: jax.Device, fun: Callable[..., Any], *args: Any) -> Any:
        """See `Worker`."""
        return on_device(device, fun, *args)


def on_device(device: jax.Device, fun: Callable[..., Any], *args: Any) -> Any:
    """The result as NumPy arrays, of a computation on a device of this process."""
    with jax.default_device(device):  # of this thread alone
        return jax.device_get(fun(*args))


def place(device: Any, local: Worker) -> tuple[Worker, Any]:
    """Who computes on a device, and on which one: the next best if its worker has gone."""
    return (local, device) if isinstance(device, jax.Device) else device.place() or (local, jax.devices()[0])


def take_chunk(
    program: Program, spec: Spec, state: Any, learning_rate: float, num_steps: int, want_picture: bool
) -> Chunk:
    """The next chunk of a run, or its first.

    Args:
        state: a `TrainState`, or what gives one: a `Saved`, a state of another worker's, or the future of a chunk that
            comes before in the same queue. None for the start.
    """
    if isinstance(state, Future):
        state = state.result().state
    if not isinstance(state, TrainState):
        saved = state if state is None or isinstance(state, Saved) else state.fetch().result()
        state = start_state(program, spec.seed, spec.placed_data)
        state = state if saved is None else saved.restored(state)
    return compute_chunk(program, state, spec.placed_data, learning_rate, num_steps, want_picture)
