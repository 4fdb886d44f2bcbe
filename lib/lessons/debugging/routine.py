"""A training step to look into, and a run of it that speaks.

The step fits a normal distribution to each target: mean and standard deviation come from a small network, and nothing
keeps the deviation above 0. At a high learning rate it gets below, and its logarithm is NaN.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.routines.problem import Metrics, Observed, TrainState, new_state
from lib.routines.sgd import sgd
from lib.routines.specialise import written_as

UNITS = 16
EXAMPLES = 1024
GRID = np.linspace(-1, 1, 48, dtype=np.float32)


def predict(params, x: Float[Array, ""]):
    """Mean and standard deviation of the target; the second should be positive, and nobody sees to it."""
    hidden = jnp.tanh(params["w1"] * x + params["b1"])
    mean, scale = params["w2"] @ hidden / jnp.sqrt(UNITS) + params["b2"]
    return mean, scale


def example_loss(params, x: Float[Array, ""], y: Float[Array, ""]):
    """How unlikely a target is: the negative logarithm of its density, without the constant."""
    mean, scale = predict(params, x)
    return jnp.log(scale) + 0.5 * ((y - mean) / scale) ** 2


def loss_fn(params, batch):
    """Mean loss of a batch `(inputs, targets)`."""
    return jax.vmap(example_loss, in_axes=(None, 0, 0))(params, *batch).mean()


def sgd_step(params, batch, learning_rate):
    """One step, and the loss before it."""
    loss, grads = jax.value_and_grad(loss_fn)(params, batch)
    return sgd(params, grads, learning_rate), loss


def init_params(key: Key[Array, ""]) -> dict[str, Array]:
    """Weights that start at mean 0 and deviation 1 for every input."""
    k1, k2 = jax.random.split(key)
    return {
        "w1": 3.0 * jax.random.normal(k1, (UNITS,)),
        "b1": jax.random.normal(k2, (UNITS,)),
        "w2": jnp.zeros((2, UNITS)),
        "b2": jnp.array([0.0, 1.0]),
    }


@lru_cache(maxsize=16)
def noisy_sine(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float32[1024] inputs in [-1, 1], and a sine of them with noise that grows to the right."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-1, 1, EXAMPLES).astype(np.float32)
    noise = (0.5 + 0.2 * inputs) * rng.normal(size=EXAMPLES)
    return inputs, (np.sin(3 * inputs) + noise).astype(np.float32)


def batch_at(data: tuple[Any, Any], step: Any, batch_size: int) -> tuple[Any, Any]:
    """The examples of a step: batches walk over the data, around and around."""
    rows = (step * batch_size + np.arange(batch_size)) % EXAMPLES
    return data[0][rows], data[1][rows]


# The live run.


def message(step: Any, loss: Any, scale: Any) -> str:
    """What a step says."""
    return f"step {int(step):,}: loss {float(loss):.4f}, smallest deviation {float(scale):.4f}"


class Board:
    """What the steps of each visitor's run have said, by step.

    Programs are shared by all visitors, so which run a message is of must be an argument of the program: a ticket.
    """

    SIZE, LENGTH = 256, 200

    def __init__(self) -> None:
        self._tickets = itertools.count()
        self._said: OrderedDict[int, dict[int, str]] = OrderedDict()
        self._lock = threading.Lock()

    def ticket(self) -> np.int32:
        """A number that no other run has."""
        return np.int32(next(self._tickets))

    def note(self, ticket: Any, step: Any, loss: Any, scale: Any) -> None:
        """Called from inside the program.

        A chunk of steps goes on to its end though all is NaN. The run takes none of these steps, and thousands of them
        would push out what was said before: they are not kept. Then the chunk is taken again in parts, from an earlier
        step on: what was said of later ones makes room.
        """
        if not np.isfinite(loss):
            return
        step = int(step)
        with self._lock:
            said = self._said.setdefault(int(ticket), {})
            self._said.move_to_end(int(ticket))
            while said and next(reversed(said)) >= step:
                said.popitem()
            said[step] = message(step, loss, scale)
            while len(said) > self.LENGTH:
                said.pop(next(iter(said)))
            while len(self._said) > self.SIZE:
                self._said.popitem(last=False)

    def read(self, ticket: Any, before: int) -> list[str]:
        """The messages of a run from the steps before one, newest first."""
        with self._lock:
            said = dict(self._said.get(int(ticket), {}))
        return [said[step] for step in reversed(said) if step < before]


BOARD = Board()


def tell(data: dict[str, Any], step: Any, loss: Any, scale: Any) -> None:
    """Has the program say how it is, on the board."""
    jax.debug.callback(BOARD.note, data["ticket"], step, loss, scale)


def print_message(step: Any, loss: Any, scale: Any) -> None:
    """Called from inside the program."""
    print(message(step, loss, scale))


def tell_by_print(data: dict[str, Any], step: Any, loss: Any, scale: Any) -> None:
    """Has the program say how it is."""
    jax.debug.callback(print_message, step, loss, scale)


@dataclass(frozen=True)
class Watched:
    """SGD on `loss_fn`; every so many steps the step says how it is. `every=0`: it says nothing.

    Attributes:
        ticket: under which the messages are kept; a `Board` gives out none below 0.
    """

    batch_size: int
    every: int
    ticket: np.int32 = field(default=np.int32(-1), compare=False, repr=False)

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0, every=0)

    def examples(self, seed: int) -> dict[str, Any]:
        """The data, without what is said of the visitor."""
        inputs, targets = noisy_sine(seed)
        return {"inputs": inputs, "targets": targets}

    @written_as(examples)
    def data(self, seed: int) -> dict[str, Any]:
        inputs, targets = noisy_sine(seed)
        return {"inputs": inputs, "targets": targets, "ticket": np.asarray(self.ticket)}

    def written(self) -> list[tuple[Any, str, Any]]:
        """A program that is alone says how it is by `print`."""
        return [(tell, "tell_by_print", tell_by_print)]

    def init(self, key: Key[Array, ""], data: dict[str, Any]) -> TrainState:
        return new_state(init_params(key), key)

    def step(
        self, state: TrainState, data: dict[str, Any], learning_rate: Float[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        batch = batch_at((data["inputs"], data["targets"]), state.step, self.batch_size)
        _, scales = jax.vmap(predict, in_axes=(None, 0))(state.params, batch[0])
        params, loss = sgd_step(state.params, batch, learning_rate)
        if self.every:
            jax.lax.cond(
                state.step % self.every == 0,
                lambda: tell(data, state.step, loss, scales.min()),
                lambda: None,
            )
        metrics = {"loss": loss, "smallest deviation": scales.min()}
        return state._replace(params=params, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: dict[str, Any]) -> Observed:
        means, scales = jax.vmap(predict, in_axes=(None, 0))(state.params, jnp.asarray(GRID))
        return Observed(metrics={}, picture={"means": means, "scales": scales, "step": state.step, **state.params})


def spoken_step(batch_size: int) -> tuple[Callable[..., Any], tuple]:
    """A step with a callback in it, and arguments for it."""

    def step(params, batch, learning_rate):
        params, loss = sgd_step(params, batch, learning_rate)
        jax.debug.callback(lambda loss: None, loss)
        return params, loss

    return step, (init_params(jax.random.key(0)), batch_at(noisy_sine(0), 0, batch_size), jnp.float32(0.01))
