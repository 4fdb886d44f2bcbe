"""One network trained on one device and on many: by `pmap`, by `shard_map`, and by `jit` with `NamedSharding`.

References:
    https://docs.jax.dev/en/latest/notebooks/Distributed_arrays_and_automatic_parallelization.html
    https://docs.jax.dev/en/latest/notebooks/shard_map.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, wraps
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jaxtyping import Array, Float, Key

from lib.routines.sgd import sgd

P = PartitionSpec
FEATURES, HIDDEN, EXAMPLES = 4, 32, 4096
SINGLE, PMAP, SHARD_MAP, JIT = WAYS = ("single device", "pmap", "shard_map", "jit")

BATCH_AXES: dict[str, tuple[str, ...]] = {
    "split over data": ("data",),
    "split over data and model": ("data", "model"),
    "whole on every device": (),
}
HIDDEN_AXES: dict[str, str | None] = {
    "whole on every device": None,
    "hidden units over model": "model",
    "hidden units over data": "data",
}


_turn = threading.Lock()


def in_turn(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Calls it, and waits for its result, while no other such call goes on in this process.

    A device that waits in a collective holds a thread of the CPU's. Two programs at once, each with some of the threads,
    could wait for ever for those that the other holds.
    """

    @wraps(fun)
    def call(*args: Any) -> Any:
        with _turn:
            return jax.block_until_ready(fun(*args))

    return call


def predict(params, inputs: Float[Array, "batch features"]) -> Float[Array, " batch"]:
    """A network of one hidden layer."""
    hidden = jnp.tanh(inputs @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss_fn(params, inputs, targets) -> Float[Array, ""]:
    """Mean squared error of a batch."""
    return jnp.mean((predict(params, inputs) - targets) ** 2)


def train_step(params, inputs, targets, learning_rate):
    """One step of SGD. Not a word about devices."""
    loss, grads = jax.value_and_grad(loss_fn)(params, inputs, targets)
    return sgd(params, grads, learning_rate), loss


def pmap_step(params, inputs, targets, learning_rate):
    """What each device does under `pmap`: its own piece of the batch, then the mean of all gradients."""
    loss, grads = jax.value_and_grad(loss_fn)(params, inputs, targets)
    loss, grads = jax.lax.pmean((loss, grads), "devices")
    return sgd(params, grads, learning_rate), loss


def shard_map_step(params, inputs, targets, learning_rate, layout: Layout):
    """What each device does under `shard_map`: every array here is its own piece of the whole."""
    batch_axes, hidden_axis = layout.batch_axes, layout.hidden_axis
    batch_size = len(targets) * layout.batch_pieces

    def sum_of_all(piece_of_params):
        params = dict(piece_of_params)
        if hidden_axis in batch_axes:  # others hold units that these examples need: fetch them
            for name in ("w1", "b1", "w2"):
                last = params[name].ndim - 1
                params[name] = jax.lax.all_gather(params[name], hidden_axis, axis=last, tiled=True)
        preds = jnp.tanh(inputs @ params["w1"] + params["b1"]) @ params["w2"]
        if hidden_axis is not None and hidden_axis not in batch_axes:  # the same examples, other units: add
            preds = jax.lax.psum(preds, hidden_axis)
        loss = jnp.sum((preds + params["b2"] - targets) ** 2) / batch_size
        return jax.lax.psum(loss, batch_axes) if batch_axes else loss

    # The transpose of a broadcast is a sum: `grad` puts in the sums of gradients over the devices by itself.
    loss, grads = jax.value_and_grad(sum_of_all)(params)
    return sgd(params, grads, learning_rate), loss


def by_pmap(devices: Sequence[jax.Device]):
    """A leading axis on every argument, one entry a device, parameters included."""
    return jax.pmap(pmap_step, axis_name="devices", in_axes=(0, 0, 0, None), devices=devices)


def by_shard_map(layout: Layout, mesh: Mesh):
    """The specs cut the arrays into pieces; the collectives are written down in the step."""
    params, batch = layout.params_spec, layout.batch_spec
    step = partial(shard_map_step, layout=layout)
    return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(params, batch, batch, P()), out_specs=(params, P())))


def by_jit(layout: Layout, mesh: Mesh):
    """The step of a single device: the compiler cuts it up, by where the arrays are to be."""
    params, batch, whole = (
        jax.tree.map(partial(NamedSharding, mesh), spec) for spec in (layout.params_spec, layout.batch_spec, P())
    )
    return jax.jit(train_step, in_shardings=(params, batch, batch, whole), out_shardings=(params, whole))


@dataclass(frozen=True)
class Layout:
    """The shape of a mesh with the axes `data` and `model`, and what is cut along which.

    Attributes:
        batch_axes: along which the examples of a batch are cut.
        hidden_axis: along which the hidden units are cut, with all their weights; None for none.
    """

    mesh_shape: tuple[int, int]
    batch_axes: tuple[str, ...] = ("data",)
    hidden_axis: str | None = None

    @property
    def size(self) -> int:
        """Devices of the mesh."""
        return prod(self.mesh_shape)

    @property
    def batch_pieces(self) -> int:
        """Into how many pieces a batch is cut."""
        return prod(
            size for size, axis in zip(self.mesh_shape, ("data", "model"), strict=True) if axis in self.batch_axes
        )

    @property
    def batch_spec(self) -> PartitionSpec:
        return P(self.batch_axes) if self.batch_axes else P()

    @property
    def params_spec(self) -> dict[str, PartitionSpec]:
        return {"w1": P(None, self.hidden_axis), "b1": P(self.hidden_axis), "w2": P(self.hidden_axis), "b2": P()}

    def devices(self, first: jax.Device) -> list[jax.Device]:
        """The devices of the mesh: all of one platform in a ring, beginning with `first`."""
        ring = jax.devices(first.platform)
        at = ring.index(first)
        return (ring[at:] + ring[:at])[: self.size]

    def mesh(self, first: jax.Device) -> Mesh:
        """The mesh. Its axes are `Auto`: the compiler decides what moves where nobody says it."""
        devices = np.array(self.devices(first)).reshape(self.mesh_shape)
        return Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def mesh_shapes(devices: int) -> list[tuple[int, int]]:
    """The shapes there are for so many devices, the largest first. Powers of two, which divide the hidden units."""
    sizes = [2**i for i in range(min(devices, HIDDEN).bit_length())]
    pairs = [(data, model) for data in sizes for model in sizes if data * model <= devices]
    return sorted(pairs, key=lambda pair: (-prod(pair), -pair[0]))


def device_counts(platform: str) -> tuple[int, ...]:
    """1, 2, 4 ... as many as there are of a platform."""
    return tuple(sorted(data for data, model in mesh_shapes(jax.device_count(platform)) if model == 1))


class Way(NamedTuple):
    """A way to compute a step, for one batch size.

    Attributes:
        jitted: `(params, inputs, targets, learning_rate) -> (params, loss)`.
        args: their shapes and places.
        params, batch: where they are to be.
        lead: length of the axis that each argument has in front, or None.
    """

    jitted: Any
    args: tuple[Any, Any, Any, Any]
    params: Any
    batch: Any
    lead: int | None = None

    def place_batch(self, batch: tuple[np.ndarray, ...]) -> tuple[Array, ...]:
        """A batch on its devices."""
        if self.lead:
            batch = tuple(part.reshape(self.lead, -1, *part.shape[1:]) for part in batch)
        return jax.device_put(batch, self.batch)


def ways_of(layout: Layout, batch_size: int) -> tuple[str, ...]:
    """Those among whose devices a batch can be divided."""
    pieces = {SINGLE: 1, PMAP: layout.size, SHARD_MAP: layout.batch_pieces, JIT: layout.batch_pieces}
    return tuple(name for name in WAYS if batch_size % pieces[name] == 0)


def replicated(params: Any, layout: Layout) -> Any:
    """What `pmap` takes: each array once for each device."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (layout.size, *leaf.shape)), params)


def way(name: str, layout: Layout, first: jax.Device, batch_size: int) -> Way:
    """One of `WAYS`. It is made once, so that its program is compiled once, whoever asks for it."""
    if name in (SINGLE, PMAP):  # for these a mesh is no more than a number of devices
        layout = Layout((1 if name == SINGLE else layout.size, 1))
    return _way(name, layout, first, batch_size)


@lru_cache(maxsize=32)
def _way(name: str, layout: Layout, first: jax.Device, batch_size: int) -> Way:
    if name == SINGLE:
        here = SingleDeviceSharding(first)
        return Way(jax.jit(train_step), _arguments((batch_size,), (), here, here), here, here)
    if name == PMAP:
        devices = layout.devices(first)
        there = NamedSharding(Mesh(np.array(devices), ("devices",)), P("devices"))
        lead = len(devices)
        args = _arguments((lead, batch_size // lead), (lead,), there, there)
        return Way(by_pmap(devices), args, there, there, lead)
    mesh = layout.mesh(first)
    params = jax.tree.map(partial(NamedSharding, mesh), layout.params_spec)
    batch = NamedSharding(mesh, layout.batch_spec)
    make: Callable[..., Any] = by_shard_map if name == SHARD_MAP else by_jit
    return Way(make(layout, mesh), _arguments((batch_size,), (), params, batch), params, batch)


def _arguments(rows: tuple[int, ...], lead: tuple[int, ...], params: Any, batch: Any) -> tuple[Any, Any, Any, Any]:
    """Shapes and places of what a step takes.

    Args:
        rows: the shape of the targets.
        lead: the axes that parameters have in front.
        params, batch: where they are to be.
    """
    shapes = jax.eval_shape(init_params, jax.random.key(0))
    places = params if isinstance(params, dict) else dict.fromkeys(shapes, params)
    placed = {
        name: jax.ShapeDtypeStruct(lead + leaf.shape, leaf.dtype, sharding=places[name])
        for name, leaf in shapes.items()
    }
    inputs = jax.ShapeDtypeStruct((*rows, FEATURES), jnp.float32, sharding=batch)
    targets = jax.ShapeDtypeStruct(rows, jnp.float32, sharding=batch)
    return placed, inputs, targets, jax.ShapeDtypeStruct((), jnp.float32)


def init_params(key: Key[Array, ""]) -> dict[str, Array]:
    """Normal weights of variance 1 / fan-in, biases 0."""
    k1, k2 = jax.random.split(key)
    return {
        "w1": jax.random.normal(k1, (FEATURES, HIDDEN)) / jnp.sqrt(FEATURES),
        "b1": jnp.zeros(HIDDEN),
        "w2": jax.random.normal(k2, (HIDDEN,)) / jnp.sqrt(HIDDEN),
        "b2": jnp.float32(0),
    }


@lru_cache(maxsize=16)
def wave_data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A wave in four dimensions: inputs float32[4096, 4] and targets float32[4096]."""
    inputs = np.random.default_rng(seed).normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    return inputs, np.sin(inputs.sum(1)).astype(np.float32)


def batch_at(data: tuple[np.ndarray, np.ndarray], step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of a step: the examples in turn."""
    rows = np.arange(step * batch_size, (step + 1) * batch_size) % EXAMPLES
    return data[0][rows], data[1][rows]
