"""Trees of arrays: what can be done to one, and a training whose whole update is one `jax.tree.map`."""

from __future__ import annotations

import pprint
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from lib.lessons.state_libraries.plain import predict
from lib.routines.datasets import draw
from lib.routines.networks import Network, Params, init_params
from lib.routines.problem import Metrics, Observed, TrainState, new_state

WIDTH = 16


def network(depth: int) -> Network:
    """A network for a curve: one input, `depth` hidden layers of `WIDTH` tanh units, one output."""
    return Network(1, 1, depth, WIDTH)


@partial(jax.jit, static_argnames="depth")
def start_params(seed, depth: int) -> Params:
    """The parameters of the network before the first step."""
    return init_params(network(depth), jax.random.key(seed))


# Trees, and what can be done to them.


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    """A node with two leaves; what is static is none."""

    w: Any  # an array, or what `jax.tree` puts in its place
    b: Any
    activation: str = field(
        default="tanh",
        metadata={"static": True},
    )


def as_layers(params: Params) -> list[Layer]:
    """The same arrays in dataclasses."""
    return [Layer(layer["w"], layer["b"]) for layer in params]


def zeros_like(params):
    """One function for every leaf, and a tree of its results."""
    return jax.tree.map(jnp.zeros_like, params)


def leaves(params):
    """The arrays in order; dicts by sorted keys: `b`, `w`."""
    return jax.tree.leaves(params)


def flatten_and_back(params):
    """A tree is its leaves and its structure."""
    leaves, treedef = jax.tree.flatten(params)
    back = jax.tree.unflatten(treedef, leaves)
    same = jax.tree.map(jnp.array_equal, params, back)
    return treedef, len(leaves), jax.tree.all(same)


def decay_of_weights_only(params):
    """The path says where a leaf is: biases do not decay."""

    def decay(path, leaf):
        is_weight = jax.tree_util.keystr(path).endswith("['w']")
        return 1e-4 if is_weight else 0.0

    return jax.tree.map_with_path(decay, params)


def number_of_parameters(params):
    """All leaves into one number."""
    return jax.tree.reduce(lambda n, leaf: n + leaf.size, params, 0)


def one_vector(params):
    """All leaves end to end, and the way back."""
    vector, unravel = ravel_pytree(params)
    return vector, unravel(2 * vector)


def registered_dataclass(params):
    """A registered class is a node, as a dict is one."""
    layers = as_layers(params)
    shapes = jax.tree.map(jnp.shape, layers[0])
    return jax.tree.structure(layers[0]), shapes


OPERATIONS: dict[str, tuple[Callable[[Params], Any], tuple[Any, ...]]] = {
    "jax.tree.map": (zeros_like, (zeros_like,)),
    "jax.tree.leaves": (leaves, (leaves,)),
    "jax.tree.flatten, unflatten": (flatten_and_back, (flatten_and_back,)),
    "jax.tree.map_with_path": (decay_of_weights_only, (decay_of_weights_only,)),
    "jax.tree.reduce": (number_of_parameters, (number_of_parameters,)),
    "ravel_pytree": (one_vector, (one_vector,)),
    "register_dataclass": (registered_dataclass, (Layer, registered_dataclass)),
}
"""What can be done to a tree, and the source that shows how."""


def described(value: Any) -> str:
    """A tree as text, with arrays by their dtype and shape."""

    class Shown(str):
        __slots__ = ()
        __repr__ = str.__str__

    def shown(leaf: Any) -> Any:
        is_array = isinstance(leaf, jax.Array) and leaf.ndim > 0
        return Shown(f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]") if is_array else leaf

    if isinstance(value, tuple):
        return "\n".join(described(part) for part in value)
    if isinstance(value, jax.Array) and value.ndim == 0:
        return str(value.item())
    return pprint.pformat(jax.tree.map(shown, value), width=76)


def operation_report(name: str, depth: int, seed: int) -> str:
    """What an operation of `OPERATIONS` gives for the parameters of the network."""
    return described(OPERATIONS[name][0](start_params(seed, depth)))


CONTAINERS: dict[str, Callable[[Params], Any]] = {"list of dicts": lambda params: params, "dataclasses": as_layers}
"""What may hold the same leaves."""


def leaf_report(container: str, depth: int, seed: int) -> dict[str, Any]:
    """Each leaf of the parameters before the first step, and the structure that holds them.

    Returns:
        `path`, `shape`, `dtype`, `size_bytes` and `norm` of each leaf; `structure` as text.
    """
    params = CONTAINERS[container](start_params(seed, depth))
    found = jax.tree_util.tree_leaves_with_path(params)
    return {
        "path": ["params" + jax.tree_util.keystr(path) for path, _ in found],
        "shape": [str(leaf.shape) for _, leaf in found],
        "dtype": [str(leaf.dtype) for _, leaf in found],
        "size_bytes": [leaf.nbytes for _, leaf in found],
        "norm": [float(np.linalg.norm(np.ravel(leaf))) for _, leaf in found],
        "structure": str(jax.tree.structure(params)),
    }


# The update. The rule of `lib.routines.sgd` is written out: it is what the lesson shows.


def sgd_update(params, grads, learning_rate):
    """The whole of SGD: one function for every leaf of both trees."""
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)


def update_in_a_loop(params, grads, learning_rate):
    """The same with a Python loop over layers and names: it knows the tree that it walks over."""
    return [
        {name: layer[name] - learning_rate * layer_grads[name] for name in layer}
        for layer, layer_grads in zip(params, grads, strict=True)
    ]


def update_of_a_vector(vector, gradient, learning_rate):
    """The same for parameters that are kept as one vector."""
    return vector - learning_rate * gradient


def update_through_a_vector(params, grads, learning_rate):
    """The same for a tree that is made a vector and back at each step."""
    vector, unravel = ravel_pytree(params)
    return unravel(update_of_a_vector(vector, ravel_pytree(grads)[0], learning_rate))


def curve_loss(params, inputs: Float[Array, "batch 1"], targets: Float[Array, " batch"]) -> Float[Array, ""]:
    """Mean squared error."""
    preds = jax.vmap(predict, in_axes=(None, 0))(params, inputs)[:, 0]
    return ((preds - targets) ** 2).mean()


def train_step(params, batch, learning_rate):
    """One step: the gradients are a tree of the same structure."""
    loss, grads = jax.value_and_grad(curve_loss)(params, *batch)
    return sgd_update(params, grads, learning_rate), loss


def rows_of(step, batch_size: int, examples: int):
    """Batches walk over the examples, around and around."""
    return (step * batch_size + jnp.arange(batch_size)) % examples


@dataclass(frozen=True)
class TreeTraining:
    """Fits the curve of `datasets`; reports the loss of all examples, and shows every number of every leaf."""

    depth: int
    batch_size: int

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0)

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return draw("regression", seed)[0]

    def init(self, key: Key[Array, ""], data: tuple) -> TrainState:
        return new_state(init_params(network(self.depth), key), key)

    def step(self, state: TrainState, data: tuple, learning_rate: Float[Array, ""]) -> tuple[TrainState, Metrics]:
        inputs, targets = data
        rows = rows_of(state.step, self.batch_size, len(targets))
        params, _ = train_step(state.params, (inputs[rows], targets[rows]), learning_rate)
        metrics = {"loss": curve_loss(params, inputs, targets)}
        return state._replace(params=params, step=state.step + 1), metrics

    def observe(self, state: TrainState, data: tuple) -> Observed:
        """`leaves`: float32[parameters], all leaves end to end."""
        return Observed(metrics={}, picture={"leaves": ravel_pytree(state.params)[0]})


def step_of_training(batch_size: int, depth: int) -> tuple[Callable[..., Any], tuple]:
    """One `train_step` on inputs evenly spaced, for its stages."""
    inputs = np.linspace(-1, 1, batch_size, dtype=np.float32)[:, None]
    params = init_params(network(depth), jax.random.key(0))
    return train_step, (params, (inputs, np.sin(4 * inputs[:, 0])), np.float32(0.03))


# Pure and impure.


def call_the_impure() -> list[dict[str, str]]:
    """What was said at each of four calls."""
    said: list[str] = []

    def impure(x):
        said.append(f"x is {x}")  # stands for `print`
        return x**2

    def pure(x, calls):
        return x**2, calls + 1

    def told_by_the_program(x):
        jax.debug.callback(lambda x: said.append(f"x is {x}"), x)
        return x**2

    ways: dict[str, Callable[..., Any]] = {
        "without jit": impure,
        "jit": jax.jit(impure),
        "jit, debug.callback": jax.jit(told_by_the_program),
    }
    counted, calls, rows = jax.jit(pure), 0, []
    for x in (1.0, 2.0, 3.0, np.array([1.0, 2.0], np.float32)):
        row = {"call": f"f({x})"}
        for name, fun in ways.items():
            said.clear()
            jax.block_until_ready(fun(x))
            jax.effects_barrier()  # waits for callbacks
            row[name] = "; ".join(said) or "nothing"
        _, calls = counted(x, calls)
        row["jit, pure: calls so far"] = str(calls)
        rows.append(row)
    return rows
