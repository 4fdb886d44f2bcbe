"""What a live run computes: a start, a step, and a picture of the state in between.

A `Problem` is a frozen dataclass: its fields are settings, so that it hashes, and `jit` takes it as a
static argument. Whatever may change without recompiling (learning rate, data, state) is an argument.

What only its data depend on is a field too, with a default and `field(compare=False)`: it is no part of the program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from math import prod
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
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


class Observed(NamedTuple):
    """What a page draws beside the metrics of the steps.

    Attributes:
        metrics: scalars that become a curve over the run, such as `test_loss`.
        picture: arrays that are drawn as they are at the moment.
    """

    metrics: dict[str, Array]
    picture: dict[str, Array]


class Problem(Protocol):
    """What a live run needs to know. `init`, `step` and `observe` are pure and can be traced."""

    @property
    def batch_size(self) -> int: ...

    @property
    def lineage(self) -> Any:
        """Hashable. Two problems of equal lineage go on from each other's state, and share their start and picture."""

    def data(self, seed: int) -> PyTree:
        """What it computes with, as NumPy arrays; the same at each call with the same seed."""

    def init(self, key: Key[Array, ""], data: PyTree) -> TrainState: ...

    def step(self, state: TrainState, data: PyTree, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]: ...

    def observe(self, state: TrainState, data: PyTree) -> Observed:
        """What is taken of a state between chunks, not at each step."""


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


def train_steps(
    problem: Problem,
    state: TrainState,
    data: PyTree,
    learning_rate: Float[Array, ""],
    num_steps: Int[Array, ""],
) -> tuple[TrainState, Metrics, Bool[Array, " leaves"]]:
    """Takes `num_steps` steps in one loop, to be compiled.

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


AnyProblem = TypeVar("AnyProblem")


def without_data(problem: AnyProblem) -> AnyProblem:
    """The problem as it is compiled: each field that is no part of the comparison has its default."""
    if not is_dataclass(problem):
        return problem
    return replace(problem, **{field.name: field.default for field in fields(problem) if not field.compare})  # type: ignore[type-var]


class ProblemError(ValueError):
    """A problem that no run can take; the message says what to change."""


def check_hashable(problem: Problem) -> None:
    """Whether programs can be kept by the problem, and states by its lineage.

    Raises:
        ProblemError: if not, with one sentence.
    """
    name = type(problem).__name__
    _check_hash(problem, f"`{name}`", "make it a frozen dataclass of numbers, strings and tuples")
    if not hasattr(problem, "lineage"):
        raise ProblemError(
            f"A problem needs a `lineage`, and `{name}` has none; add a property that returns what its state depends on."
        )
    _check_hash(problem.lineage, f"the `lineage` of `{name}`", "build it of numbers, strings and tuples")


def check_problem(problem: Problem, data: PyTree) -> None:
    """Looks for the mistakes that are easily made in a problem, without compiling or computing anything.

    A `HostProblem` has nothing to trace but its start.

    Args:
        data: what its `data` returns.

    Raises:
        ProblemError: at the first mistake, with one sentence.
    """
    check_hashable(problem)
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array) or np.dtype(leaf.dtype).kind in "OSU":
            raise ProblemError(
                f"`data` must return a pytree of arrays of numbers, and `data{jax.tree_util.keystr(path)}` is "
                f"{_described(leaf)}; make it a NumPy array of numbers."
            )
    problem = without_data(problem)
    state = jax.eval_shape(lambda data: problem.init(jax.random.key(0), data), data)
    if isinstance(problem, HostProblem):
        return
    after, metrics = jax.eval_shape(problem.step, state, data, jax.ShapeDtypeStruct((), jnp.float32))
    _check_loss(metrics)
    _check_state(state, after)
    _check_observed(jax.eval_shape(problem.observe, state, data))


def _check_hash(value: Any, what: str, remedy: str) -> None:
    try:
        hash(value)
    except TypeError as error:
        raise ProblemError(
            f"A problem and its lineage must be hashable, since programs are kept by them, and {what} is not ({error}); {remedy}."
        ) from None


def _described(value: Any) -> str:
    """A leaf in words: `float32[3]` for an array, else its type."""
    shape = getattr(value, "shape", None)
    return f"of type `{type(value).__name__}`" if shape is None else f"{value.dtype}{list(shape)}"


def _check_loss(metrics: Any) -> None:
    if "loss" not in metrics:
        raise ProblemError(
            f"`step` must report a `loss` among its metrics, and it reports {', '.join(map(repr, metrics)) or 'nothing'}; "
            "return it as `(state, {'loss': loss})`."
        )
    if metrics["loss"].shape:
        raise ProblemError(
            f"The `loss` that `step` reports must be a scalar, and it is {_described(metrics['loss'])}; take its mean."
        )


def _check_state(before: Any, after: Any) -> None:
    old, new = (
        {f"`state{jax.tree_util.keystr(path)}`": leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
        for state in (before, after)
    )
    changes = [f"{path} is left out" for path in old if path not in new]
    changes += [f"{path} is new" for path in new if path not in old]
    changes += [
        f"{path} goes in as {_described(old[path])} and comes out as {_described(new[path])}"
        for path in old
        if path in new and (old[path].shape, old[path].dtype) != (new[path].shape, new[path].dtype)
    ]
    containers: list[Any] = [jax.tree.structure(state) for state in (before, after)]
    if not changes and containers[0] != containers[1]:
        changes = [f"{containers[0]} goes in and {containers[1]} comes out"]
    if changes:
        raise ProblemError(
            "`step` must return a state of the structure, shapes and dtypes that it takes, as `init` makes it, and "
            f"{changes[0]}; let both return the same."
        )


def _check_observed(observed: Any) -> None:
    if not isinstance(observed, Observed):
        raise ProblemError(
            f"`observe` must return an `Observed`, and it returns a `{type(observed).__name__}`; "
            "return `Observed(metrics, picture)`, which are two dicts."
        )
    for name, value in observed.metrics.items():
        if value.shape:
            raise ProblemError(
                f"The metrics of `observe` must be scalars, and `{name}` is {_described(value)}; put it into `picture`."
            )


Made = tuple[Callable[..., Any], tuple]
"""A function that is not jitted yet, and arrays to call it with."""
