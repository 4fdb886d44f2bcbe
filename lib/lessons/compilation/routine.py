"""Routines whose way through the compiler is looked at: each function here gives one, and arguments for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from lib.lessons.jit_grad import functions
from lib.lessons.jit_grad.routine import gradient
from lib.lessons.jit_grad_vmap import routine as linear_regression
from lib.lessons.jit_grad_vmap.routine import batch_gradient
from lib.lessons.jit_vmap import routine as batching
from lib.lessons.training import routine as training
from lib.lessons.training.routine import Training, train_step, training_step
from lib.measure.stages import peak_memory_of
from lib.routines import networks
from lib.routines.datasets import Dataset
from lib.routines.networks import Network
from lib.routines.problem import Made


def task(batch_size: int, depth: int, dataset: Dataset | None = None) -> Training:
    """A network of `depth` hidden layers of 32 units for the curve of `datasets`, trained with Adam."""
    return Training(Network(1, 1, depth, 32), 0, "curve", "Adam", batch_size, dataset)


class Routine(NamedTuple):
    """A routine to compile.

    Attributes:
        make: of batch size and depth, where they matter.
        sources: what it is made of, to be shown.
    """

    make: Callable[[int, int], Made]
    sources: tuple[Callable[..., Any], ...]


def _train_step(batch_size: int, depth: int) -> Made:
    return training_step(task(batch_size, depth))


def _batch_gradient(batch_size: int, depth: int) -> Made:
    return batch_gradient(batch_size)


def _affine(batch_size: int, depth: int) -> Made:
    return batching.mapped("affine(w, b, x)", batch_size)


def _rosenbrock(batch_size: int, depth: int) -> Made:
    return gradient("Rosenbrock")


ROUTINES: dict[str, Routine] = {
    "train_step": Routine(_train_step, (training.loss_fn, train_step, networks.forward)),
    "grad(mean(vmap(loss)))": Routine(
        _batch_gradient, (linear_regression.loss, linear_regression.mean_loss, linear_regression.grad_of_mean)
    ),
    "vmap(affine)": Routine(_affine, (batching.affine, batching.batched)),
    "grad(rosenbrock)": Routine(_rosenbrock, (functions.rosenbrock,)),
}


def routine(name: str, batch_size: int, depth: int) -> Made:
    """A routine of `ROUTINES`, and arguments for it."""
    return ROUTINES[name].make(batch_size, depth)


# The cache of `jit`.


def sine_power_that_tells(on_trace: Callable[[], None]):
    """A function of its own at each call: JAX keeps what it has compiled for each function object."""

    def sine_power(x, power):
        on_trace()  # Python: it happens while JAX traces, and never when it finds the program
        return jnp.sin(x) ** power

    return sine_power


def argument_types(n: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Arrays to call a function with, by their shape and dtype."""
    types = [
        ((n,), jnp.float32), ((2 * n,), jnp.float32), ((n, 2), jnp.float32),
        ((n,), jnp.int32), ((n,), jnp.float16), ((n,), jnp.bfloat16),
    ]  # fmt: skip
    return {
        f"{jnp.dtype(dtype).name}[{','.join(map(str, shape))}]": jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in types
    }


# How long a program gets.


def sine_loop(x, num_steps):
    """A Python loop: it runs while JAX traces, and leaves `num_steps` sines in the program."""
    for _ in range(num_steps):
        x = jnp.sin(x)
    return x


def sine_fori_loop(x, num_steps):
    """A loop inside the program: one sine, however many steps."""
    return jax.lax.fori_loop(0, num_steps, lambda _, x: jnp.sin(x), x)


def layers_in_python(weights, x):
    """A network whose layers are written out one after the other; `weights` is a list."""
    for w in weights:
        x = jnp.tanh(x @ w)
    return x


def layers_in_scan(weights, x):
    """The same network as a loop over one array of stacked weights."""
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]


WIDTH = 16
"""Units of a layer in the networks above."""
LENGTHS: dict[str, Callable[[int, int], Made]] = {
    "sines, for": lambda n, batch_size: (partial(sine_loop, num_steps=n), (np.ones(batch_size, np.float32),)),
    "sines, fori_loop": lambda n, batch_size: (
        partial(sine_fori_loop, num_steps=n), (np.ones(batch_size, np.float32),)
    ),
    "layers, for": lambda n, batch_size: (
        layers_in_python, ([np.eye(WIDTH, dtype=np.float32)] * n, np.ones((batch_size, WIDTH), np.float32))
    ),
    "layers, scan": lambda n, batch_size: (
        layers_in_scan,
        (np.stack([np.eye(WIDTH, dtype=np.float32)] * n), np.ones((batch_size, WIDTH), np.float32)),
    ),
}  # fmt: skip
"""Programs of growing length: of n and the batch size."""


# Static arguments, donation, export.


def static_report(num_steps: int) -> dict[str, Any]:
    """A loop bound that is traced, static, and traced again by a loop that can do with it.

    Returns:
        `error`: JAX's own, of the Python loop with a traced bound; `static` and `fori_loop`: values; and for both,
        how often calls with `num_steps`, `num_steps` again and `num_steps + 1` have traced.
    """
    traces = {"static": 0, "fori_loop": 0}

    def counted(name, loop):
        def counting(x, num_steps):
            traces[name] += 1
            return loop(x, num_steps)

        return counting

    try:
        jax.jit(lambda x, num_steps: sine_loop(x, num_steps))(1.0, num_steps)
        error = ""
    except jax.errors.TracerIntegerConversionError as refused:
        error = str(refused).partition("\n")[0]
    static = jax.jit(counted("static", sine_loop), static_argnames="num_steps")
    looped = jax.jit(counted("fori_loop", sine_fori_loop))
    for n in (num_steps + 1, num_steps, num_steps):
        values = {"static": static(1.0, num_steps=n), "fori_loop": looped(1.0, n)}
    return {"error": error, **values, "traces": traces}


def sgd_update(params, grads):
    """A step whose result is as large as its first argument, and takes its place."""
    return params - 0.1 * grads


def donation_report(size: int) -> dict[str, dict[str, Any]]:
    """`sgd_update` of float32[size], with its first argument kept and donated.

    Returns:
        For each: `is_deleted` of the argument after the call, `same_memory` of the result as of the argument, and
        `alias_bytes` and `peak_bytes` by the compiler's count, None where it gives none.
    """
    report = {}
    for name, donated in (("kept", ()), ("donated", (0,))):
        step = jax.jit(sgd_update, donate_argnums=donated)
        params, grads = jnp.ones(size), jnp.ones(size)
        memory = step.lower(params, grads).compile().memory_analysis()
        before = params.unsafe_buffer_pointer()
        updated = step(params, grads)
        report[name] = {
            "is_deleted": params.is_deleted(),
            "same_memory": updated.unsafe_buffer_pointer() == before,
            "alias_bytes": getattr(memory, "alias_size_in_bytes", None),
            "peak_bytes": peak_memory_of(memory),
        }
    return report


PLATFORMS = ("cpu", "cuda", "tpu")
"""Lowering needs no such device: the compiler comes in where the program is called."""


def export_batched_affine():
    """`jit(vmap(affine))` for a batch of any size and for several kinds of devices, as bytes."""
    (size,) = export.symbolic_shape("batch")
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((3, 5), (3,), (size, 5))]
    mapped = batching.batched(batching.affine, (None, None, 0), 0)
    exported = export.export(mapped, platforms=PLATFORMS)(*shapes)
    return bytes(exported.serialize())


def export_report(batch_size: int) -> dict[str, Any]:
    """Exports, reads back and calls.

    Returns:
        `size_bytes`, `arguments` (their types, the batch by name), `platforms`, the StableHLO `module`, the `shape` of
        the result for `batch_size`, and its largest `difference` from that of the function itself.
    """
    written = export_batched_affine()
    read = export.deserialize(bytearray(written))
    fun, args = batching.mapped("affine(w, b, x)", batch_size)
    result = read.call(*args)
    return {
        "size_bytes": len(written),
        "arguments": ", ".join(aval.str_short() for aval in read.in_avals),
        "platforms": ", ".join(read.platforms),
        "module": read.mlir_module(),
        "shape": result.shape,
        "difference": jnp.abs(result - jax.jit(fun)(*args)).max(),
    }
