"""Functions of several arguments for `vmap`, the axes one can map them over, and rivals of `vmap`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.routines.problem import Made, Metrics, Observed, TrainState, new_state
from lib.routines.sgd import sgd
from lib.routines.typed import parse


def power(x, power):
    return x**power


def dot(w, x):
    return w @ x


def affine(w, b, x):
    return w @ x + b


def squared_distance(x, y):
    return ((x - y) ** 2).sum()


def outer(x, y):
    return x[:, None] * y[None, :]


class Argument(NamedTuple):
    """One argument of an example function: its name and its shape for one example."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class BatchFunction:
    """A function for one example.

    Attributes:
        fun: arrays to an array.
        numpy: the same for NumPy arrays, batched by hand with `in_axes` as given below; None if nobody has done it.
        arguments: what `fun` takes for one example.
        in_axes: where the batch axis is to start with, `None` for an argument shared by the batch.
        numpy_one: `fun` for NumPy's arrays, where it is not `fun` itself, which has no `jnp` in it then.
    """

    fun: Callable[..., Array]
    numpy: Callable[..., np.ndarray] | None
    arguments: tuple[Argument, ...]
    in_axes: tuple[int | None, ...]
    numpy_one: Callable[..., np.ndarray] | None = None


FUNCTIONS: dict[str, BatchFunction] = {
    "x ** power": BatchFunction(
        power, lambda x, power: x**power,
        (Argument("x", ()), Argument("power", ())), (0, None),
    ),
    "dot(w, x)": BatchFunction(
        dot, lambda w, x: x @ w,
        (Argument("w", (5,)), Argument("x", (5,))), (None, 0),
    ),
    "affine(w, b, x)": BatchFunction(
        affine, lambda w, b, x: x @ w.T + b,
        (Argument("w", (3, 5)), Argument("b", (3,)), Argument("x", (5,))), (None, None, 0),
    ),
    "squared distance": BatchFunction(
        squared_distance, lambda x, y: ((x - y) ** 2).sum(-1),
        (Argument("x", (4,)), Argument("y", (4,))), (0, 0),
    ),
    "outer(x, y)": BatchFunction(
        outer, lambda x, y: x[:, :, None] * y[:, None, :],
        (Argument("x", (3,)), Argument("y", (4,))), (0, 0),
    ),
}  # fmt: skip


class TypedBatchFunction(NamedTuple):
    """The name of a function that a visitor has typed: a text that `parse` takes, and a shape for each argument."""

    text: str
    shapes: tuple[tuple[int, ...], ...]


Name = str | TypedBatchFunction
"""Of a function: a key of `FUNCTIONS`, or what was typed."""


@lru_cache(maxsize=256)
def function_of(name: Name) -> BatchFunction:
    """The function of that name. All arguments of a typed one carry the batch to start with."""
    if isinstance(name, str):
        return FUNCTIONS[name]
    typed = parse(name.text)
    arguments = tuple(map(Argument, typed.arguments, name.shapes))
    return BatchFunction(typed, None, arguments, (0,) * len(arguments), typed.numpy)


def batched_shape(shape: tuple[int, ...], axis: int | None, batch_size: int) -> tuple[int, ...]:
    """The shape of an argument with its batch axis put in.

    An axis beyond the shape is not put in: `vmap` shall be the one to refuse it.
    """
    if axis is None or axis > len(shape):
        return shape
    return (*shape[:axis], batch_size, *shape[axis:])


def arguments(name: Name, in_axes: tuple[int | None, ...], batch_size: int) -> tuple[np.ndarray, ...]:
    """Inputs for a function, float32, the same at each call.

    `x ** power` gets 1, 2, 3, ... and 2; the others count up in steps of a tenth, so that results are easy
    to check by eye.
    """
    function = function_of(name)
    made = []
    for argument, axis in zip(function.arguments, in_axes, strict=True):
        shape = batched_shape(argument.shape, axis, batch_size)
        size = int(np.prod(shape))
        if argument.name == "power":
            values = np.full(size, 2.0) if axis is None else 1.0 + np.arange(size) % 4
        elif name == "x ** power":
            values = 1.0 + np.arange(size)
        else:
            values = 0.1 * (np.arange(size) % 97)
        made.append(values.reshape(shape).astype(np.float32))
    return tuple(made)


class Mapped(NamedTuple):
    """What became of a choice of axes.

    Attributes:
        inputs: name, shape and batch axis of each argument.
        output: shape and batch axis, or None if JAX refused.
        error: the type of JAX's exception, empty if there was none; then `text` is its message.
        text: else the values.
    """

    inputs: tuple[tuple[str, tuple[int, ...], int | None], ...]
    output: tuple[tuple[int, ...], int | None] | None
    error: str
    text: str
    explanation: str


def batched(f, in_axes, out_axes):
    """The composition itself."""
    return jax.jit(jax.vmap(f, in_axes=in_axes, out_axes=out_axes))


def try_axes(name: Name, in_axes: tuple[int | None, ...], out_axes: int | None, batch_size: int) -> Mapped:
    """Maps a function over the given axes, or tells why JAX will not."""
    function = function_of(name)
    args = arguments(name, in_axes, batch_size)
    inputs = tuple(
        (argument.name, arg.shape, axis) for argument, arg, axis in zip(function.arguments, args, in_axes, strict=True)
    )
    try:
        value = np.asarray(batched(function.fun, in_axes, out_axes)(*args))
    except (ValueError, TypeError, IndexError) as error:
        return Mapped(inputs, None, type(error).__name__, str(error), _explain_axes(args, function, in_axes, out_axes))
    return Mapped(inputs, (value.shape, out_axes), "", np.array2string(value, precision=4, threshold=40), "")


def _explain_axes(
    args: tuple[np.ndarray, ...], function: BatchFunction, in_axes: tuple[int | None, ...], out_axes: int | None
) -> str:
    """Which of the rules for axes a choice breaks, in words."""
    if all(axis is None for axis in in_axes):
        return "`None` for every argument leaves nothing to map over; give at least one argument an axis."
    for argument, axis in zip(function.arguments, in_axes, strict=True):
        if axis is not None and axis > len(argument.shape):
            return (
                f"For one example `{argument.name}` has {len(argument.shape)} axes, so with the batch it has "
                f"{len(argument.shape) + 1}, and axis {axis} cannot be among them; take a lower one."
            )
    if out_axes is None:
        return (
            "`out_axes=None` promises that the result is the same for every example. Here it depends on the mapped "
            "arguments, so it needs a batch axis: take 0."
        )
    return "The result of one example has too few axes to put the batch there; take `out_axes=0`."


def rivals(name: Name, batch_size: int, device: jax.Device) -> dict[str, Callable[[], Any]]:
    """The same batch computed in the ways of `RIVALS`, each as a call without arguments.

    The JAX ways take arrays that are on the device already. The loop over the jitted function gets its
    examples cut beforehand: cutting them out of an array is not what is timed.
    """
    function = function_of(name)
    axes = function.in_axes
    host = arguments(name, axes, batch_size)
    args = jax.device_put(host, device)
    split = [
        tuple(np.take(a, i, axis) if axis is not None else a for a, axis in zip(host, axes, strict=True))
        for i in range(batch_size)
    ]
    examples = jax.device_put(split, device)
    mapped = jax.vmap(function.fun, in_axes=axes)
    one, all_at_once = jax.jit(function.fun), batched(function.fun, axes, 0)
    numpy_one, by_hand = function.numpy_one or function.fun, function.numpy
    ways: dict[str, Callable[[], Any]] = {
        "Python loop of jit(f)": lambda: [one(*example) for example in examples],
        "vmap(f), eager": lambda: mapped(*args),
        "jit(vmap(f))": lambda: all_at_once(*args),
        "NumPy loop": lambda: [numpy_one(*example) for example in split],
    }
    return ways if by_hand is None else ways | {"NumPy vectorised": lambda: by_hand(*host)}


RIVALS = ("Python loop of jit(f)", "vmap(f), eager", "jit(vmap(f))", "NumPy loop", "NumPy vectorised")

CURVES = 16
"""Models whose losses are reported one by one; of more the range is."""
EXAMPLES = 64
"""Examples that every model of the ensemble is fitted to."""


def predict(params, x):
    """A small network for one example: one input, eight tanh units, one output."""
    hidden = jnp.tanh(params["w1"] * x + params["b1"])
    return params["w2"] @ hidden + params["b2"]


def model_loss(params, inputs: Float[Array, " examples"], targets: Float[Array, " examples"]):
    """Mean squared error of one model."""
    preds = jax.vmap(predict, in_axes=(None, 0))(params, inputs)
    return ((preds - targets) ** 2).mean()


def ensemble_step(params, data, learning_rate):
    """One gradient step of every model: `vmap` over the models, whose leaves carry a leading axis."""

    def one_model(params):
        loss, grads = jax.value_and_grad(model_loss)(params, *data)
        return sgd(params, grads, learning_rate), loss

    return jax.vmap(one_model)(params)


def sine_data() -> tuple[np.ndarray, np.ndarray]:
    """A sine with no noise: float32[64] inputs in [-1, 1], and targets."""
    inputs = np.linspace(-1, 1, EXAMPLES, dtype=np.float32)
    return inputs, np.sin(4 * inputs)


@dataclass(frozen=True)
class Ensemble:
    """`batch_size` small networks with different starting points, trained by one vmapped step."""

    batch_size: int

    @property
    def lineage(self) -> Any:
        return self

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return sine_data()

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        def one(key):
            k1, k2, k3 = jax.random.split(key, 3)
            return {
                "w1": 3.0 * jax.random.normal(k1, (8,)),
                "b1": jax.random.normal(k2, (8,)),
                "w2": jax.random.normal(k3, (8,)) / jnp.sqrt(8.0),
                "b2": jnp.float32(0.0),
            }

        return new_state(jax.vmap(one)(jax.random.split(key, self.batch_size)), key)

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        params, losses = ensemble_step(state.params, data, learning_rate)
        metrics = {
            "loss": losses.mean(),
            "lowest": losses.min(),
            "highest": losses.max(),
            "each": losses[:CURVES],
        }
        return state._replace(params=params, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        first = jax.tree.map(lambda leaf: leaf[:CURVES], state.params)
        preds = jax.vmap(jax.vmap(predict, in_axes=(None, 0)), in_axes=(0, None))(first, data[0])
        return Observed(metrics={}, picture={"preds": preds})


def mapped(name: Name, batch_size: int) -> Made:
    """`vmap(f)` of a function of `FUNCTIONS`."""
    function = function_of(name)
    args = arguments(name, function.in_axes, batch_size)
    return jax.vmap(function.fun, in_axes=function.in_axes), args
