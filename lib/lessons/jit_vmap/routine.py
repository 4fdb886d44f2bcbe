"""Functions of several arguments for `vmap`, the axes one can map them over, and rivals of `vmap`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.routines.problem import Made, Metrics, Observed, TrainState, new_state
from lib.routines.snippets import written
from lib.routines.specialise import CannotWriteError
from lib.routines.typed import TextError, check, parse


def raised(x, power):
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
        raised, lambda x, power: x**power,
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
        (Argument("x", (3,)), Argument("y", (3,))), (0, 0),
    ),
    "outer(x, y)": BatchFunction(
        outer, lambda x, y: x[:, :, None] * y[:, None, :],
        (Argument("x", (3,)), Argument("y", (2,))), (0, 0),
    ),
}  # fmt: skip


class TypedBatchFunction(NamedTuple):
    """The name of a function that a visitor has typed: a text that `parse` takes, and a shape for each argument."""

    text: str
    shapes: tuple[tuple[int, ...], ...]

    def written(self) -> list[tuple[Any, str, str]]:
        """The function as code, and the same for NumPy.

        Raises:
            CannotWriteError: NumPy has not all that it calls.
        """
        function, code = function_of(self), written(parse(self.text))
        if "jax." in code:
            raise CannotWriteError(f"NumPy alone has no function for all of {self.text}")
        in_numpy = code.replace("jnp.", "np.").replace("def f(", "def f_numpy(")
        return [(function.fun, "f", code), (function.numpy_one, "f_numpy", in_numpy)]


Name = str | TypedBatchFunction
"""Of a function: a key of `FUNCTIONS`, or what was typed."""


@lru_cache(maxsize=32)
def function_of(name: Name) -> BatchFunction:
    """The function of that name. All arguments of a typed one carry the batch to start with."""
    if isinstance(name, str):
        return FUNCTIONS[name]
    typed = parse(name.text)
    arguments = tuple(map(Argument, typed.arguments, name.shapes))
    return BatchFunction(typed, None, arguments, (0,) * len(arguments), typed.numpy)


def called(name: Name) -> str:
    """The function as code: its name, or what was typed."""
    return FUNCTIONS[name].fun.__name__ if isinstance(name, str) else name.text


def batched_shape(shape: tuple[int, ...], axis: int | None, batch_size: int) -> tuple[int, ...]:
    """The shape of an argument with its batch axis put in.

    An axis beyond the shape is not put in: `vmap` shall be the one to refuse it.
    """
    if axis is None or axis > len(shape):
        return shape
    return (*shape[:axis], batch_size, *shape[axis:])


PERIOD = 97
"""The numbers of an argument begin anew after so many: it is prime, so that no two examples are alike."""


def arguments(name: Name, in_axes: tuple[int | None, ...], batch_size: int) -> tuple[np.ndarray, ...]:
    """Inputs for a function, float32, the same at each call.

    `x ** power` gets 1, 2, 3, ... and 2, or 3 if `x` is shared; the others count up from 0, `y` in steps of two, so
    that results are easy to check by eye.
    """
    function = function_of(name)
    made = []
    for argument, axis in zip(function.arguments, in_axes, strict=True):
        shape = batched_shape(argument.shape, axis, batch_size)
        size = int(np.prod(shape))
        if name == "x ** power" and shape == ():
            values = np.array(3.0 if argument.name == "x" else 2.0)
        elif name == "x ** power":
            values = 1.0 + np.arange(size) % (PERIOD if argument.name == "x" else 4)
        else:
            values = np.arange(size) % PERIOD * (2.0 if argument.name == "y" else 1.0)
        made.append(values.reshape(shape).astype(np.float32))
    return tuple(made)


def shown_size(name: Name) -> int:
    """How many examples are shown: no axis of one example is as long, so that one can tell the batch axis by it."""
    lengths = {size for argument in function_of(name).arguments for size in argument.shape}
    return next(size for size in range(4, 4 + len(lengths) + 1) if size not in lengths)


LARGEST = 4**8
"""The largest batch of a measurement."""


def largest_size(name: Name) -> int:
    """The largest batch that a function is measured at: `LARGEST`, or of a typed one what is not too much work."""
    if isinstance(name, str):
        return LARGEST
    size = LARGEST
    while size > 1:
        with suppress(TextError):
            check(parse(name.text), name.shapes, size)
            break
        size //= 4
    return size


class Mapped(NamedTuple):
    """What became of a choice of axes.

    Attributes:
        inputs: name, value and batch axis of each argument.
        output: value and batch axis, or None if JAX refused.
        error: the type of JAX's exception, empty if there was none.
        text: the message of the exception.
        explanation: of the error, in words.
        one, batch: the jaxprs of the function and of its `vmap`; empty if JAX refused.
    """

    inputs: tuple[tuple[str, np.ndarray, int | None], ...]
    output: tuple[np.ndarray, int | None] | None
    error: str = ""
    text: str = ""
    explanation: str = ""
    one: str = ""
    batch: str = ""


def batched(f, in_axes, out_axes):
    """The composition itself."""
    return jax.jit(jax.vmap(f, in_axes=in_axes, out_axes=out_axes))


def try_axes(name: Name, in_axes: tuple[int | None, ...], out_axes: int | None, batch_size: int) -> Mapped:
    """Maps a function over the given axes, or tells why JAX will not."""
    function = function_of(name)
    args = arguments(name, in_axes, batch_size)
    inputs = tuple(
        (argument.name, arg, axis) for argument, arg, axis in zip(function.arguments, args, in_axes, strict=True)
    )
    try:
        value = np.asarray(batched(function.fun, in_axes, out_axes)(*args))
    except (ValueError, TypeError, IndexError) as error:
        why = _explain_axes(args, function, in_axes, out_axes)
        return Mapped(inputs, None, type(error).__name__, str(error), why)
    example = tuple(jax.ShapeDtypeStruct(argument.shape, np.float32) for argument in function.arguments)
    mapped = jax.vmap(function.fun, in_axes=in_axes, out_axes=out_axes)
    one, batch = jax.make_jaxpr(function.fun)(*example), jax.make_jaxpr(mapped)(*args)
    return Mapped(inputs, (value, out_axes), one=str(one), batch=str(batch))


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


MAX_LOOP = 4096
"""Examples that are taken one after the other, at the most: of more there is no loop, which would take too long."""


def rivals(
    name: Name, batch_size: int, device: jax.Device, in_axes: tuple[int | None, ...] | None = None
) -> dict[str, Callable[[], Any]]:
    """The same batch computed in the ways of `RIVALS`, each as a call without arguments.

    The JAX ways take arrays that are on the device already. The loops get their examples cut beforehand: cutting them
    out of an array is not what is timed. NumPy has a way by hand where the arguments are mapped that it was written for.

    Args:
        in_axes: None for those that the function has by itself.
    """
    function = function_of(name)
    axes = function.in_axes if in_axes is None else in_axes
    host = arguments(name, axes, batch_size)
    args = jax.device_put(host, device)
    mapped, all_at_once = jax.vmap(function.fun, in_axes=axes), batched(function.fun, axes, 0)
    ways: dict[str, Callable[[], Any]] = {
        "vmap(f), eager": lambda: mapped(*args),
        "jit(vmap(f))": lambda: all_at_once(*args),
    }
    if batch_size <= MAX_LOOP:
        split = [
            tuple(np.take(a, i, axis) if axis is not None else a for a, axis in zip(host, axes, strict=True))
            for i in range(batch_size)
        ]
        examples = jax.device_put(split, device)
        one, numpy_one = jax.jit(function.fun), function.numpy_one or function.fun
        ways["Python loop of jit(f)"] = lambda: [one(*example) for example in examples]
        ways["NumPy loop"] = lambda: [numpy_one(*example) for example in split]
    by_hand = function.numpy
    if by_hand is not None and [axis is None for axis in axes] == [axis is None for axis in function.in_axes]:
        rows = tuple(a if axis is None else np.moveaxis(a, axis, 0) for a, axis in zip(host, axes, strict=True))
        ways["NumPy vectorised"] = lambda: by_hand(*rows)
    return {rival: ways[rival] for rival in RIVALS if rival in ways}


RIVALS = ("Python loop of jit(f)", "vmap(f), eager", "jit(vmap(f))", "NumPy loop", "NumPy vectorised")

CURVES = 16
"""Models that are shown one by one, from the first to the last at equal distances; of more the range is shown."""
EXAMPLES = 64
"""Examples that every model is fitted to."""
SLOWEST = 1 / 30
"""The lowest learning rate, as a part of the highest, where each model has its own."""


def predict(params, x):
    """A small network for one example: one input, eight tanh units, one output."""
    hidden = jnp.tanh(params["w1"] * x + params["b1"])
    return params["w2"] @ hidden + params["b2"]


def model_loss(params, inputs: Float[Array, " examples"], targets: Float[Array, " examples"]):
    preds = jax.vmap(predict, in_axes=(None, 0))(params, inputs)
    return ((preds - targets) ** 2).mean()


def train_step(params, inputs, targets, learning_rate):
    """One gradient step of one model: there is no axis for models in it."""
    loss, grads = jax.value_and_grad(model_loss)(params, inputs, targets)
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss


def init(key):
    """The start of one model."""
    w1, b1, w2 = jax.random.normal(key, (3, 8))
    return {"w1": 3.0 * w1, "b1": b1, "w2": w2 / jnp.sqrt(8.0), "b2": jnp.float32(0.0)}


def sine_data(batch_size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A sine without noise: float32[64] inputs in [-1, 1], and targets; or targets for so many models, each with a
    phase of its own, float32[batch, 64]."""
    inputs = np.linspace(-1, 1, EXAMPLES, dtype=np.float32)
    if batch_size is None:
        return inputs, np.sin(4 * inputs)
    phases = (2 * np.pi / batch_size * np.arange(batch_size, dtype=np.float32)).astype(np.float32)
    return inputs, np.sin(4 * inputs + phases[:, None])


def shown_models(batch_size: int) -> np.ndarray:
    """The numbers of the models that are shown one by one."""
    return np.linspace(0, batch_size - 1, min(batch_size, CURVES)).round().astype(np.int32)


@dataclass(frozen=True)
class Ensemble:
    """`batch_size` small networks with different starts, trained by one vmapped step.

    Attributes:
        own_targets: whether each fits a sine of its own, by its phase; else all fit the same.
        own_rates: whether each has a learning rate of its own, from a thirtieth of the learning rate up to it.
    """

    batch_size: int
    own_targets: bool = False
    own_rates: bool = False

    @property
    def lineage(self) -> Any:
        return self

    @property
    def in_axes(self) -> tuple[int | None, ...]:
        """Where parameters, inputs, targets and learning rate of `train_step` have the axis of models."""
        return 0, None, 0 if self.own_targets else None, 0 if self.own_rates else None

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return sine_data(self.batch_size if self.own_targets else None)

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        return new_state(jax.vmap(init)(jax.random.split(key, self.batch_size)), key)

    def rates(self, learning_rate: Any) -> Any:
        """What the step gets for a learning rate."""
        return learning_rate * jnp.geomspace(SLOWEST, 1, self.batch_size) if self.own_rates else learning_rate

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        train_all = jax.vmap(train_step, in_axes=self.in_axes)
        inputs, targets = data
        params, losses = train_all(state.params, inputs, targets, self.rates(learning_rate))
        metrics = {
            "loss": losses.mean(),
            "lowest": losses.min(),
            "highest": losses.max(),
            "each": losses[shown_models(self.batch_size)],
        }
        return state._replace(params=params, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        shown = jax.tree.map(lambda leaf: leaf[shown_models(self.batch_size)], state.params)
        preds = jax.vmap(jax.vmap(predict, in_axes=(None, 0)), in_axes=(0, None))(shown, data[0])
        return Observed(metrics={}, picture={"preds": preds})


def shown_data(problem: Ensemble) -> tuple[np.ndarray, np.ndarray]:
    """The inputs, and the targets of the models that are shown: one for all, or one each."""
    inputs, targets = problem.data(0)
    return inputs, targets[shown_models(problem.batch_size)] if problem.own_targets else targets


def train_all(own_targets: bool, own_rates: bool, batch_size: int) -> Made:
    """The vmapped step of an `Ensemble`, as its page shows it."""
    problem = Ensemble(batch_size, own_targets, own_rates)
    data = problem.data(0)
    params = jax.device_get(problem.init(jax.random.key(0), data).params)
    rates = np.asarray(problem.rates(0.03), np.float32) if own_rates else 0.03
    return jax.vmap(train_step, in_axes=problem.in_axes), (params, *data, rates)


def mapped(name: Name, batch_size: int) -> Made:
    """`vmap(f)` of a function by its name."""
    function = function_of(name)
    args = arguments(name, function.in_axes, batch_size)
    return jax.vmap(function.fun, in_axes=function.in_axes), args
