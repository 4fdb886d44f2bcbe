"""Keys of random numbers: how they come from one another, and what it costs to use one twice."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lib.lessons.pytrees.routine import rows_of
from lib.routines.problem import Metrics, Observed, TrainState, new_state
from lib.routines.sgd import sgd

MAX_KEYS = 24
NAMES = string.ascii_lowercase


class Node(NamedTuple):
    """How a key comes from another.

    Attributes:
        parent: the place of the other in the tree.
        how: `split` or `fold_in`.
        number: which of the two that `split` gives, or what is folded in.
    """

    parent: int
    how: str
    number: int


Tree = tuple[Node, ...]
"""The keys that come from the first; the first itself, place 0, comes from the seed. A parent comes before its children."""

FIRST_TREE: Tree = (Node(0, "split", 0), Node(0, "split", 1), Node(2, "fold_in", 7))


def grown(tree: Tree, parent: int, how: str, number: int) -> Tree:
    """The tree with the keys that `split` or `fold_in` gives; as it is if there is no room for them, or no such parent."""
    new = tuple(Node(parent, how, i) for i in range(2)) if how == "split" else (Node(parent, how, number),)
    return tree + new if parent <= len(tree) and 1 + len(tree) + len(new) <= MAX_KEYS else tree


def program_of(tree: Tree, seed: int) -> str:
    """The Python that makes the keys."""
    lines = [f"a = jax.random.key({seed})"]
    for place, node in enumerate(tree, 1):
        parent = NAMES[node.parent]
        if node.how == "fold_in":
            lines.append(f"{NAMES[place]} = jax.random.fold_in({parent}, {node.number})")
        elif node.number == 0:
            lines.append(f"{NAMES[place]}, {NAMES[place + 1]} = jax.random.split({parent})")
    return "\n".join(lines)


def key_report(tree: Tree, seed: int) -> dict[str, Array]:
    """What each key of a tree is.

    Returns:
        `data`: uint32[keys, 2], the whole of a key; `normal`: float32[keys], what each gives.
    """
    keys = [jax.random.key(seed)]
    for node in tree:
        parent = keys[node.parent]
        made = jax.random.split(parent)[node.number] if node.how == "split" else jax.random.fold_in(parent, node.number)
        keys.append(made)
    stacked = jnp.stack(keys)
    return {"data": jax.random.key_data(stacked), "normal": jax.vmap(jax.random.normal)(stacked)}


# The same key at every step.

UNITS = 32
EXAMPLES = 64


def predict(params, x, mask):
    """One example through one layer of tanh units, some of them switched off by the mask."""
    hidden = jnp.tanh(params["w1"] * x + params["b1"]) * mask
    return params["w2"] @ hidden / jnp.sqrt(UNITS)


def dropout_loss(params, batch, key):
    """Mean squared error with half of the units off: which half, the key says."""
    mask = 2.0 * jax.random.bernoulli(key, 0.5, (UNITS,))  # twice the rest, so that the mean stays
    inputs, targets = batch
    preds = jax.vmap(predict, in_axes=(None, 0, None))(params, inputs, mask)
    return ((preds - targets) ** 2).mean()


def loss_of_all_units(params, batch):
    """Mean squared error as the network is used after training: with every unit on."""
    inputs, targets = batch
    preds = jax.vmap(predict, in_axes=(None, 0, None))(params, inputs, jnp.ones(UNITS))
    return ((preds - targets) ** 2).mean()


def step_with_a_new_key(params, key, batch, rate):
    """One part of the split is used here, the other goes on."""
    key, subkey = jax.random.split(key)
    grads = jax.grad(dropout_loss)(params, batch, subkey)
    return sgd(params, grads, rate), key


def step_with_the_same_key(params, key, batch, rate):
    """The key goes on as it came: always the same mask."""
    grads = jax.grad(dropout_loss)(params, batch, key)
    return sgd(params, grads, rate), key


WAYS = {"a new key": step_with_a_new_key, "the same key": step_with_the_same_key}


def two_steps_under_the_checker(way: str) -> str:
    """What `jax.debug_key_reuse` says of two steps in one of `WAYS`."""
    inputs, targets = curve_data()
    params = Dropout(EXAMPLES).init(jax.random.key(0), ()).params[way]
    step = jax.jit(lambda *args: WAYS[way](*args))  # a function of its own: compiled under the checker
    with jax.debug_key_reuse(True):  # of this thread alone
        key = jax.random.key(0)
        try:
            for _ in range(2):
                params, key = step(params, key, (inputs, targets), 0.1)
        except jax.errors.KeyReuseError as error:
            return f"{type(error).__name__}: {error}"
    return "Two steps taken: nothing to object to."


def checker_report() -> dict[str, str]:
    """`two_steps_under_the_checker` for each of `WAYS`."""
    return {way: two_steps_under_the_checker(way) for way in WAYS}


def curve_data() -> tuple[np.ndarray, np.ndarray]:
    """float32[64] inputs, evenly in [-1, 1] and in an order that mixes them, and a sine of each."""
    inputs = np.linspace(-1, 1, EXAMPLES, dtype=np.float32)[(37 * np.arange(EXAMPLES)) % EXAMPLES]
    return inputs, np.sin(3 * inputs)


@dataclass(frozen=True)
class Dropout:
    """Two networks with the same start, the same batches and the same first key, each trained in one of `WAYS`.

    The losses are those of all units on all examples: `loss` with new keys, `the same key` with one.
    """

    batch_size: int

    @property
    def lineage(self) -> Any:
        return type(self)

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return curve_data()

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        k1, k2, k3, key = jax.random.split(key, 4)
        params = {
            "w1": 3.0 * jax.random.normal(k1, (UNITS,)),
            "b1": jax.random.normal(k2, (UNITS,)),
            "w2": 2.0 * jax.random.normal(k3, (UNITS,)),
        }
        return new_state({way: params for way in WAYS}, key, opt_state={way: key for way in WAYS})

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        inputs, targets = data
        rows = rows_of(state.step, self.batch_size, EXAMPLES)
        params, keys, losses = {}, {}, {}
        for way, step in WAYS.items():
            batch = inputs[rows], targets[rows]
            params[way], keys[way] = step(state.params[way], state.opt_state[way], batch, learning_rate)
            losses[way] = loss_of_all_units(params[way], data)
        new, same = losses.values()
        return TrainState(params, keys, state.key, state.step + 1), {"loss": new, "the same key": same}

    def observe(self, state: TrainState, data: tuple) -> Observed:
        """The curve that the network of each of `WAYS` has learnt, by the way's name."""
        grid = jnp.linspace(-1, 1, EXAMPLES)
        curves = {
            way: jax.vmap(predict, in_axes=(None, 0, None))(params, grid, jnp.ones(UNITS))
            for way, params in state.params.items()
        }
        return Observed(metrics={}, picture=curves)
