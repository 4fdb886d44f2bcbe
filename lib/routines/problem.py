"""What a live run computes: a start, a step, and a picture of the state in between.

A `Problem` is a frozen dataclass: its fields are settings, so that it hashes, and `jit` takes it as a
static argument. Whatever may change without recompiling (learning rate, data, state) is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

MAX_STEPS = 32768
"""Steps of one call of `train_steps`, at the most."""
MAX_METRIC_VALUES = 2**18
"""Numbers in the buffer of metrics, at the most (1 MiB of float32): many metrics, fewer steps."""


class TrainState(NamedTuple):
    """Everything that a run is, as a pytree: a chunk of steps is a pure function of it."""

    params: PyTree
    opt_state: PyTree
    key: Key[Array, ""]
    step: Int[Array, ""]


Metrics = dict[str, Array]
"""What each step reports, `loss` among it: scalars, or vectors of one length a name."""


class Problem(Protocol):
    """What a live run needs to know. All methods are pure and can be traced."""

    @property
    def batch_size(self) -> int: ...

    @property
    def lineage(self) -> Any:
        """Hashable. Two problems of equal lineage go on from each other's state, and share their start and picture."""

    def init(self, key: Key[Array, ""], data: PyTree) -> TrainState: ...

    def step(self, state: TrainState, data: PyTree, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]: ...

    def observe(self, state: TrainState, data: PyTree) -> dict[str, Array]:
        """What the page draws beside the loss; taken between chunks, not at each step."""


class HostStep(NamedTuple):
    """A step that the host takes by calling compiled functions one after the other.

    Attributes:
        parts: jitted functions, and the shapes to compile each for, with their shardings.
        step: `(compiled, state, data, learning_rate) -> (state, metrics)`, where `compiled` has a function for each
            of the parts, data are NumPy arrays, and metrics are numbers.
    """

    parts: dict[str, tuple[Any, tuple]]
    step: Callable[[dict[str, Any], TrainState, PyTree, Any], tuple[TrainState, dict[str, Any]]]


@runtime_checkable
class HostProblem(Protocol):
    """A `Problem` whose arrays live on several devices at once, so that no one program could be its step.

    Its start is computed on the device it is given, and `observe` is called as it stands.
    """

    def host_step(self, device: jax.Device) -> HostStep: ...


def capacity(problem: Problem, state: PyTree, data: PyTree) -> int:
    """How many steps one call of `train_steps` can report."""
    learning_rate = jax.ShapeDtypeStruct((), jnp.float32)
    _, metrics = jax.eval_shape(problem.step, state, data, learning_rate)
    width = sum(prod(leaf.shape) for leaf in metrics.values())
    return max(16, min(MAX_STEPS, MAX_METRIC_VALUES // width))


@partial(jax.jit, static_argnames="problem")
def train_steps(
    problem: Problem,
    state: TrainState,
    data: PyTree,
    learning_rate: Float[Array, ""],
    num_steps: Int[Array, ""],
) -> tuple[TrainState, Metrics, Bool[Array, " leaves"]]:
    """Takes `num_steps` steps in one compiled loop.

    `num_steps` is traced: one program serves a single step, a chunk of any length, and the exact step at
    which a run has to stop. As fast as `lax.scan` of a fixed length, which would recompile for each.

    Returns:
        The new state; each metric of each step, in buffers of `capacity` rows of which the first
        `num_steps` count; and for each leaf of the new parameters whether it is finite throughout.
    """
    rows = capacity(problem, state, data)
    _, shapes = jax.eval_shape(problem.step, state, data, learning_rate)
    buffers = {name: jnp.zeros((rows, *leaf.shape), leaf.dtype) for name, leaf in shapes.items()}

    def body(i: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, buffers = carry
        state, metrics = problem.step(state, data, learning_rate)
        return state, {name: buffers[name].at[i].set(value) for name, value in metrics.items()}

    state, buffers = jax.lax.fori_loop(0, num_steps, body, (state, buffers))
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)])
    return state, buffers, finite


def new_state(params: PyTree, key: Key[Array, ""], opt_state: PyTree = ()) -> TrainState:
    """The state before the first step."""
    return TrainState(params, opt_state, key, jnp.int32(0))


Made = tuple[Callable[..., Any], tuple]
"""A function that is not jitted yet, and arrays to call it with."""
