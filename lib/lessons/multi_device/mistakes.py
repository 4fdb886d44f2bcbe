"""Typical mistakes with several devices, on all of the CPU's, however many there are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lib.lessons.multi_device.routine import in_turn
from lib.routines.mistakes import Mistake


def _cpus() -> Mesh:
    return Mesh(np.array(jax.devices("cpu")), ("data",), axis_types=(AxisType.Auto,))


def batch_that_does_not_divide():
    inputs = np.ones((6, 2), np.float32)
    return jax.device_put(inputs, NamedSharding(_cpus(), P("data"))).sum()


def batch_padded_with_weights():
    devices = len(jax.devices("cpu"))
    padding = -6 % devices
    inputs = np.pad(np.ones((6, 2), np.float32), ((0, padding), (0, 0)))
    weights = np.pad(np.ones((6, 1), np.float32), ((0, padding), (0, 0)))
    inputs, weights = jax.device_put((inputs, weights), NamedSharding(_cpus(), P("data")))
    return (weights * inputs).sum()


def arrays_on_two_devices():
    x = jax.device_put(np.ones(4), jax.devices("cpu")[0])
    y = jax.device_put(np.ones(4), jax.devices("cpu")[-1])
    return x + y


def arrays_on_one_mesh():
    everywhere = NamedSharding(_cpus(), P())
    x = jax.device_put(np.ones(4), everywhere)
    y = jax.device_put(np.ones(4), everywhere)
    return x + y


def sum_of_one_piece():
    def total(piece):
        return piece.sum()

    x = jnp.arange(2.0 * len(jax.devices("cpu")))
    return jax.shard_map(total, mesh=_cpus(), in_specs=P("data"), out_specs=P())(x)


def sum_over_all_pieces():
    def total(piece):
        return jax.lax.psum(piece.sum(), "data")

    x = jnp.arange(2.0 * len(jax.devices("cpu")))
    return jax.shard_map(total, mesh=_cpus(), in_specs=P("data"), out_specs=P())(x)


def gradients_that_stay_at_home():
    def step(w, piece):
        return w - 0.1 * jax.grad(lambda w: ((w - piece) ** 2).mean())(w)

    devices = jax.devices("cpu")
    pieces = jnp.arange(2.0 * len(devices)).reshape(len(devices), 2)
    return jax.pmap(step, axis_name="devices", in_axes=(None, 0), devices=devices)(0.0, pieces)


def gradients_averaged():
    def step(w, piece):
        grad = jax.grad(lambda w: ((w - piece) ** 2).mean())(w)
        return w - 0.1 * jax.lax.pmean(grad, "devices")

    devices = jax.devices("cpu")
    pieces = jnp.arange(2.0 * len(devices)).reshape(len(devices), 2)
    return jax.pmap(step, axis_name="devices", in_axes=(None, 0), devices=devices)(0.0, pieces)


MISTAKES: dict[str, Mistake] = {
    "a batch that does not divide": Mistake(
        in_turn(batch_that_does_not_divide), in_turn(batch_padded_with_weights), ValueError,
        "Every device gets a piece of the same shape, so the axis must divide by the number of devices. Pad the batch "
        "and give what is padded the weight 0, or take a batch size that divides.",
    ),
    "arrays on two devices": Mistake(
        in_turn(arrays_on_two_devices), in_turn(arrays_on_one_mesh), ValueError,
        "`device_put` commits an array to its place, and JAX moves no committed array behind your back. Put both on the "
        "same device, or on one mesh.",
    ),
    "a sum that stays on its device": Mistake(
        in_turn(sum_of_one_piece), in_turn(sum_over_all_pieces), ValueError,
        "`out_specs=P()` promises that all devices return the same, and each has the sum of its own piece. `psum` adds "
        "them up. (With `check_vma=False` one gets the first device's sum, and no error.)",
    ),
    "gradients that nobody averages": Mistake(
        in_turn(gradients_that_stay_at_home), in_turn(gradients_averaged), None,
        "No error, but as many models as devices: each follows its own piece of the batch, and they drift apart. "
        "`pmean` of the gradients keeps them the same.",
    ),
}  # fmt: skip
