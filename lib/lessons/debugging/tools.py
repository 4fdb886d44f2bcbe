"""Tools to see inside a training step, each at work on the step of `debugging`.

What a tool says goes to the caller, and to nobody else: into lists of its own, through context managers that hold for
one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lib.lessons.debugging.routine import (
    UNITS,
    batch_at,
    example_loss,
    init_params,
    loss_fn,
    noisy_sine,
    predict,
    sgd_step,
)
from lib.routines.mistakes import without_paths


def debug_print(tell: Callable[[str], None], text: str, **values: Any) -> None:
    """`jax.debug.print`, but for where the text goes: to `tell`, not to the standard output of the whole process."""
    jax.debug.callback(lambda **values: tell(text.format(**values)), **values)


def prints(params, batch, learning_rate) -> dict[str, list[str]]:
    python: list[str] = []
    traced: list[str] = []

    @jax.jit
    def step(params):
        params, loss = sgd_step(params, batch, learning_rate)
        python.append(f"loss {loss}")  # Python's print would say this
        debug_print(traced.append, "loss {loss:.4f}", loss=loss)
        return params

    for _ in range(3):
        params = step(params)
    jax.effects_barrier()  # what is to be told has been told
    return {"Python's print, in three steps": python, "jax.debug.print, in three steps": traced}


def callback(params, batch, learning_rate) -> dict[str, list[str]]:
    worst = []

    def keep_the_worst(losses, inputs):  # any Python may stand here: it gets arrays, not tracers
        row = np.argmax(losses)
        worst.append(f"example {row}, x = {inputs[row]:.3f}: loss {losses[row]:.4f}")

    @jax.jit
    def step(params):
        losses = jax.vmap(example_loss, in_axes=(None, 0, 0))(params, *batch)
        jax.debug.callback(keep_the_worst, losses, batch[0])
        return sgd_step(params, batch, learning_rate)[0]

    for _ in range(3):
        params = step(params)
    jax.effects_barrier()
    return {"The example of the largest loss, in three steps": worst}


def shardings(params, batch, learning_rate) -> dict[str, list[str]]:
    devices = [device for device in jax.devices(next(iter(batch[0].devices())).platform)]
    while len(batch[0]) % len(devices):
        devices.pop()  # a batch is cut into equal pieces
    mesh = Mesh(np.array(devices), ("batch",))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("batch")))
    params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    seen = {}

    def note(name, shape):
        return lambda sharding: seen.update({name: _pieces(sharding, shape)})

    @jax.jit
    def step(params, batch):
        losses = jax.vmap(example_loss, in_axes=(None, 0, 0))(params, *batch)
        # `visualize_array_sharding` is this with a callback that draws in the terminal.
        jax.debug.inspect_array_sharding(params["w2"], callback=note("params['w2']", (2, UNITS)))
        jax.debug.inspect_array_sharding(batch[0], callback=note("inputs", batch[0].shape))
        jax.debug.inspect_array_sharding(losses, callback=note("losses", losses.shape))
        return sgd_step(params, batch, learning_rate)[0]

    jax.block_until_ready(step(params, batch))
    return seen


def _pieces(sharding: Any, shape: tuple[int, ...]) -> list[str]:
    """Which rows of an array each device has, drawn to scale."""
    rows, drawn = shape[0], []
    for device, index in sharding.devices_indices_map(shape).items():
        low, high, _ = index[0].indices(rows)
        before, of_it = round(32 * low / rows), max(1, round(32 * (high - low) / rows))
        bar = f"{'·' * before}{'█' * of_it}".ljust(32, "·")
        drawn.append(f"{device.platform}:{device.id}  {bar}  {high - low} of {rows} rows, from {low}")
    return drawn


def checks(params, batch, learning_rate) -> dict[str, list[str]]:
    def step(params, batch, row):
        _, scale = predict(params, batch[0][row])
        checkify.check(scale > 0, "the deviation must be above 0, got {scale}", scale=scale)
        return sgd_step(params, batch, learning_rate)

    rows = len(batch[0])
    broken = params | {"b2": jnp.array([0.0, -1.0])}
    cases = {
        "all well": (checkify.all_checks, params, 0),
        "our own check": (checkify.user_checks, broken, 0),
        "NaN, wherever it comes up": (checkify.float_checks, broken, 0),
        "an index out of bounds": (checkify.index_checks, params, rows),
    }
    said = {}
    for case, (errors, at, row) in cases.items():
        error, _ = jax.jit(checkify.checkify(step, errors=errors))(at, batch, row)
        said[case] = [error.get() or "no error"]  # or `error.throw()`
    return said


def nans(params, batch, learning_rate) -> dict[str, list[str]]:
    broken = params | {"b2": jnp.array([0.0, -1.0])}
    step = jax.jit(sgd_step)
    _, loss = step(broken, batch, learning_rate)
    with jax.debug_nans(True):  # of this thread alone
        try:
            step(broken, batch, learning_rate)
            error = "no error"
        except FloatingPointError as found:
            error = f"FloatingPointError: {found}"
    return {"Without": [f"loss {loss}, and no word"], "With": [error]}


def without_jit(params, batch, learning_rate) -> dict[str, list[str]]:
    said = []

    @jax.jit
    def step(params):
        params, loss = sgd_step(params, batch, learning_rate)
        said.append(f"loss {loss}")  # or a breakpoint
        return params

    for _ in range(2):
        step(params)
    compiled, said = said, []
    with jax.disable_jit():  # of this thread alone
        for _ in range(2):
            step(params)
    return {"Two calls of jit(step)": compiled, "Two calls under disable_jit": said}


def leaks(params, batch, learning_rate) -> dict[str, list[str]]:
    _, grads = jax.value_and_grad(loss_fn)(params, batch)

    def leaky_step():
        kept = []

        def step(params, grads):
            kept.append(learning_rate * grads)  # a tracer: it means nothing once the trace is over
            return params - kept[-1]

        return jax.jit(step)

    leaky_step()(params["b2"], grads["b2"])
    with jax.checking_leaks():  # of this thread alone
        try:
            leaky_step()(params["b2"], grads["b2"])
            error = "no error"
        except Exception as found:  # of no type of its own
            error = f"{type(found).__name__}: {_first_part(str(found))}"
    return {"Without": ["no error, until the update that was kept is used"], "With": [error]}


def _first_part(text: str) -> str:
    """The first tracer and the nearest that hold it, file names without their folders."""

    lines = [line for line in text.splitlines() if line]
    return without_paths("\n".join(lines[:6]))


class Tool(NamedTuple):
    """A tool at work.

    Attributes:
        use: gives lines of text under headings.
        alone: whether it would hold up everybody else in the process, and needs one of its own.
    """

    use: Callable[..., dict[str, list[str]]]
    about: str
    alone: bool = False


TOOLS: dict[str, Tool] = {
    "jax.debug.print": Tool(
        prints,
        "Python's `print` runs while JAX traces, once, and sees tracers. `jax.debug.print` is part of the program and runs "
        "at each call, with numbers. It writes to the standard output of the process, here the server's terminal, which "
        "no visitor sees and all would share: so the step here uses `debug_print`, the same with another address. The "
        "real one is further down, in a process of its own.",
    ),
    "jax.debug.callback": Tool(
        callback,
        "Calls any Python function from inside the program, with arrays. It returns nothing to the program "
        "(`pure_callback` and `io_callback` do), and the program does not wait for it: `jax.effects_barrier` does. Calls may "
        "come in another order, unless `ordered=True`.",
    ),
    "visualize_array_sharding": Tool(
        shardings,
        "Which device has which piece of an array, as the compiler has decided. `jax.debug.visualize_array_sharding` draws "
        "it in the terminal; `inspect_array_sharding` below it gives the sharding itself, for the page.",
    ),
    "checkify": Tool(
        checks,
        "Makes checks part of the program: the transformed function gives an error value beside its result, which works "
        "under `jit`, `vmap`, `grad` and on every device. Which checks go in is said by `errors`.",
    ),
    "debug_nans": Tool(
        nans,
        "Looks at the result of each program; where there is a NaN, runs it again operation by operation and raises at the "
        "first that makes one. `jax.config.update` would switch it on for the whole server: the context manager holds "
        "for this thread.",
    ),
    "disable_jit": Tool(
        without_jit,
        "Every operation runs at once, with numbers, as in NumPy: `print`, `pdb` and breakpoints work inside. Loops of "
        "`lax` run as Python loops. Slow: each operation is dispatched by itself.",
    ),
    "checking_leaks": Tool(
        leaks,
        "Raises at the end of a trace if a tracer is still held by something outside. Without it the error comes later, "
        "wherever the tracer is used. To say who holds it, JAX searches all objects of the process, for many seconds on a "
        "server like this one, and nobody else gets on meanwhile: so this one runs in a process of its own.",
        alone=True,
    ),
}


def use_tool(name: str, batch_size: int, learning_rate: float, seed: int) -> dict[str, list[str]]:
    """A tool of `TOOLS` at the first step of training. What it says goes to the caller, and to nobody else."""
    batch = jax.tree.map(jnp.asarray, batch_at(noisy_sine(seed), 0, batch_size))
    return TOOLS[name].use(init_params(jax.random.key(seed)), batch, learning_rate)
