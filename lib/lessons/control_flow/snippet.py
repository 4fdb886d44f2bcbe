"""Code to take away: the recurrent network with one of its loops, and each pair of Python and `lax`."""

from __future__ import annotations

from lib.lessons.control_flow import recurrent, routine
from lib.routines.snippets import source


def snippet(loop: str, batch_size: int) -> str:
    """The loss and the gradient of the recurrent network, through one of `recurrent.PREDICTS`."""
    predict = recurrent.PREDICTS[loop]
    lax = "" if predict is recurrent.predict_by_for else "from jax import lax\n"
    return f"""from functools import partial

import jax
import jax.numpy as jnp
{lax}

{source(recurrent.init_params, recurrent.cell, predict, recurrent.loss_fn)}


params = init_params(jax.random.key(0), units={recurrent.UNITS})
starts = 37 * jnp.arange({batch_size})
windows = jnp.sin(0.3 * (starts[:, None] + jnp.arange({recurrent.WINDOW + 1})))

loss_and_grads = {line(loop)}
loss, grads = loss_and_grads(params, windows)
print(loss)
print(jax.tree.map(jnp.shape, grads))"""


def line(loop: str) -> str:
    """What the live run calls at each step, with its loop over time put in."""
    return f"jax.jit(jax.value_and_grad(partial(loss_fn, {recurrent.PREDICTS[loop].__name__})))"


CALLS = {"cond": "2.0", "switch": "2, 0.5", "while_loop": "2.0", "fori_loop": "10, 0.05", "scan": "jnp.arange(50.0)"}
"""The arguments of each of `routine.REPLACEMENTS`, as code."""


def pair(name: str) -> str:
    """What replaces Python in one of `routine.REPLACEMENTS`, compiled and called."""
    fun = routine.REPLACEMENTS[name].lax
    code = f"{source(fun)}\n\n\nprint(jax.jit({fun.__name__})({CALLS[name]}))"
    numpy = "import jax.numpy as jnp\n" if "jnp." in code else ""
    return f"import jax\n{numpy}from jax import lax\n\n\n{code}"


def examples() -> dict[str, str]:
    """The code for some settings."""
    loops = {f"{loop}, batch size {size}": snippet(loop, size) for loop, size in (("scan", 32), ("Python for", 2))}
    return loops | {name: pair(name) for name in routine.REPLACEMENTS}
