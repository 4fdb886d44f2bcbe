"""One network in five dresses: a plain pytree, Flax NNX, Flax Linen, Equinox and Haiku, behind one small interface.

Each library has a module of its own, imported when it is asked for and not before. It has:

    make(params) -> model: the library's own object, with the weights of a plain pytree
    sgd_step(model, batch, learning_rate) -> (model, loss): by plain gradient descent, not jitted
    jit: what the library jits with
    split(model) -> pytree of arrays, merge(pytree) -> model
    weights(model) -> params: back to the plain pytree
    dropout(x, key) -> outputs of two calls in training, and of one in prediction
    batch_norm(batches) -> the layer's running mean after each batch, as it would predict with
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from lib.lessons.state_libraries.common import NETWORK
from lib.routines.datasets import PASSES, digest_of, draw, shuffled
from lib.routines.networks import init_params
from lib.routines.problem import Metrics, Observed, TrainState, new_state

DATA = "moons"
"""Of `datasets.NAMES`: what the libraries train on."""
PLAIN = "pytree"
SMOOTHING = 0.98
"""How much of the running mean of the losses stays at each step: a mean of about 50."""
FEATURES = 3
"""Of the batches that the batch norms see."""
MODES = {"Equinox": ("ema", "batch")}
"""The ways in which a library's batch norm keeps its running mean, its default first, where there are several."""


class Library(NamedTuple):
    """Where a library's module is, how the library handles what changes, and when to choose it.

    Attributes:
        imported: the package that the module imports; empty if it needs none.
        package: what to install.
    """

    module: str
    imported: str
    package: str
    choose: str
    state: str
    randomness: str
    layer: str


LIBRARIES: dict[str, Library] = {
    PLAIN: Library(
        "plain", "", "", "To learn, or for a small model whose arrays should all be in sight.",
        "arguments and results of functions", "a key is an argument; you split it",
        "takes its running mean and returns the new one",
    ),
    "Flax NNX": Library(
        "flax_nnx", "flax", "flax",
        "For a new project with objects as in PyTorch. Flax's authors encourage new users to start here.",
        "in objects that change; `nnx.jit` carries the changes through", "`nnx.Rngs` holds a key and counts calls",
        "changes its variables; `model.eval()` stops that",
    ),
    "Flax Linen": Library(
        "flax_linen", "flax", "flax", "If you work on code that uses it: much published code does. It is Flax's older API.",
        "a dict of collections beside the module", "`rngs={\"dropout\": key}`: a key for each collection",
        "`apply(..., mutable=[...])` returns the new collection",
    ),
    "Equinox": Library(
        "equinox_", "equinox", "equinox",
        "If a model should be a pytree that all of JAX can take: for research, and with Diffrax or Optimistix.",
        "the model is the pytree; a step returns a new one", "`key=` at each call; you split it",
        "takes an `eqx.nn.State` and returns the new one",
    ),
    "Haiku": Library(
        "haiku_", "haiku", "dm-haiku",
        "Only for code that uses it: it is in maintenance, and its authors recommend Flax for new projects.",
        "dicts of parameters and state beside a pure function", "a key to `apply`; `hk.next_rng_key()` inside",
        "`transform_with_state`: `apply` returns the new state",
    ),
}  # fmt: skip


_LOADING = threading.RLock()
"""Their packages import each other in circles: two threads that begin at different ends deadlock, or get half a module."""


def load(name: str) -> Any:
    """The module of a library of `LIBRARIES`. Raises whatever its import raises."""
    with _LOADING:
        return import_module(f"{__package__}.{LIBRARIES[name].module}")


def step(name: str, state: PyTree, batch: tuple[Array, Array], learning_rate: Float[Array, ""]) -> tuple[PyTree, Array]:
    """One step of a library's model, arrays in and arrays out."""
    library = load(name)
    model, loss = library.sgd_step(library.merge(state), batch, learning_rate)
    return library.split(model), loss


def _arrays(name: str, params: PyTree) -> PyTree:
    library = load(name)
    return library.split(library.make(params))


def _weights(name: str, state: PyTree) -> PyTree:
    library = load(name)
    return library.weights(library.merge(state))


def _one_step(name: str) -> PyTree:
    fun, args = routine(name, 1)
    return fun(*args)[0]


def missing(name: str) -> str:
    """Whether a library is not installed, as a sentence; empty if it is. Nothing is imported."""
    try:
        there = not LIBRARIES[name].imported or find_spec(LIBRARIES[name].imported) is not None
    except ModuleNotFoundError:
        there = False
    package = LIBRARIES[name].package
    return "" if there else f"{name} is left out: `{package}` is not installed here. `pip install {package}` brings it."


def defect_of(name: str) -> str:
    """What keeps a library from being used, as a sentence; empty if nothing does. It is imported and traced."""
    if missing(name):
        return missing(name)
    try:
        jax.eval_shape(lambda: _weights(name, _one_step(name)))
    except Exception as error:  # a library of another year may raise anything
        message = re.sub(r" *[(][^()]*[/\\][^()]*[)]", "", str(error).partition("\n")[0])  # without the server's paths
        said = f"{type(error).__name__}: {message}"
        return f"{name} is left out: it does not work with what is installed here (`{said}`)."
    return ""


def defects() -> dict[str, str]:
    """Of each library, what keeps it from being used."""
    return {name: defect_of(name) for name in LIBRARIES}


@dataclass(frozen=True)
class Libraries:
    """Every library's model, trained side by side: the same start, the same batches, the same update.

    Its metrics: the plain pytree's `loss`; each library's, as a running mean (`losses`); and how far the losses of this
    step are apart (`spread`). Its `opt_state` holds the running means.

    Attributes:
        names: keys of `LIBRARIES`, the plain pytree first.
    """

    names: tuple[str, ...]
    batch_size: int

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0)

    def data(self, seed: int) -> dict[str, Any]:
        train, _ = draw(DATA, seed)
        return {"train": train, "order": shuffled(len(train[0]), digest_of(DATA, seed))}

    def init(self, key: Key[Array, ""], data: dict[str, Any]) -> TrainState:
        params_key, key = jax.random.split(key)
        params = init_params(NETWORK, params_key)
        return new_state({name: _arrays(name, params) for name in self.names}, key, jnp.zeros(len(self.names)))

    def step(
        self, state: TrainState, data: dict[str, Any], learning_rate: Float[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        inputs, targets = data["train"]
        start = (state.step * self.batch_size) % (PASSES * inputs.shape[0])
        rows = jax.lax.dynamic_slice_in_dim(data["order"], start, self.batch_size)
        batch = inputs[rows], targets[rows]
        stepped = {name: step(name, state.params[name], batch, learning_rate) for name in self.names}
        losses = jnp.stack([stepped[name][1] for name in self.names])
        params = {name: stepped[name][0] for name in self.names}
        means = SMOOTHING * state.opt_state + (1 - SMOOTHING) * losses
        metrics = {
            "loss": losses[0],
            "losses": means / (1 - SMOOTHING ** (state.step + 1)),  # as Haiku's batch norm does, and Equinox's
            "spread": jnp.abs(losses - losses[0]).max(),
        }
        return TrainState(params, means, state.key, state.step + 1), metrics

    def observe(self, state: TrainState, data: dict[str, Any]) -> Observed:
        """How far each library's weights are from the plain pytree's: the largest difference of any weight."""
        plain = _weights(PLAIN, state.params[PLAIN])
        apart = []
        for name in self.names:
            differences = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), _weights(name, state.params[name]), plain)
            apart.append(jnp.stack(jax.tree.leaves(differences)).max())
        return Observed(metrics={}, picture={"weights_apart": jnp.stack(apart)})


def routine(name: str, batch_size: int) -> tuple[Callable[..., Any], tuple]:
    """A step of a library, not jitted, and arrays to call it with."""
    state = _arrays(name, init_params(NETWORK, jax.random.key(0)))
    batch = jnp.zeros((batch_size, NETWORK.features)), jnp.zeros(batch_size)
    return partial(step, name), (state, batch, jnp.float32(0.01))


# What the tables say of each library.


def census(name: str) -> dict[str, Any]:
    """Leaves of the model's pytree of arrays, their numbers in all, and path and shape of the first weights."""
    arrays = jax.eval_shape(lambda: _arrays(name, init_params(NETWORK, jax.random.key(0))))
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    path, first = next((path, leaf) for path, leaf in leaves if len(leaf.shape) == 2)
    return {
        "leaves": len(leaves), "parameters": sum(leaf.size for _, leaf in leaves),
        "path": jax.tree_util.keystr(path), "shape": first.shape,
    }  # fmt: skip


def censuses(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """`census` of each library."""
    return {name: census(name) for name in names}


def stateful_report(name: str, batch_size: int, seed: int) -> dict[str, Any]:
    """A library's dropout of eight ones, and its batch norm on three batches of normal numbers of mean 1.

    Returns:
        `first`, `second` (calls in training), `test`; of the first feature the means of the `batches`, and `means`, the
        layer's after each batch, for each of its modes if it has several.
    """
    library = load(name)

    @jax.jit
    def report(key):
        dropout_key, batches_key = jax.random.split(key)
        first, second, test = library.dropout(jnp.ones(8), dropout_key)
        batches = 1 + jax.random.normal(batches_key, (3, batch_size, FEATURES))
        made = {"first": first, "second": second, "test": test, "batches": batches.mean(1)[:, 0]}
        for mode in MODES.get(name, ("",)):
            means = library.batch_norm(batches, mode) if mode else library.batch_norm(batches)
            made[f"means {mode}".strip()] = jnp.stack(means)[:, 0]
        return made

    return report(jax.random.key(seed))
