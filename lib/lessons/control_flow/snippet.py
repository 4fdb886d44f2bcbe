"""Code to take away: the recurrent network with one of its loops, and each pair of Python and `lax`."""

from __future__ import annotations

from lib.lessons.control_flow import recurrent, routine
from lib.routines.snippets import source


def snippet(loop: str, batch_size: int) -> str:
    """The loss and the gradient of the recurrent network, through one of `recurrent.PREDICTS`."""
    predict = recurrent.PREDICTS[loop]
    scans = predict is not recurrent.by_python_for
    before = "from functools import partial\n\n" if scans else ""
    after = "from jax import lax\n" if scans else ""
    return f"""{before}import jax
import jax.numpy as jnp
{after}

{source(recurrent.init_params, recurrent.cell, predict, recurrent.loss_fn)}


params = init_params(jax.random.key(0), units=16)
starts = 37 * jnp.arange({batch_size})
windows = jnp.sin(0.3 * (starts[:, None] + jnp.arange({recurrent.WINDOW + 1})))

# argnums: with respect to params. static_argnums: predict is a function.
step = jax.jit(jax.value_and_grad(loss_fn, argnums=1), static_argnums=0)
loss, grads = step({predict.__name__}, params, windows)
print(loss)
print(jax.tree.map(jnp.shape, grads))
"""


def pair(name: str) -> str:
    """What replaces Python in one of `routine.REPLACEMENTS`, compiled and called."""
    fun = routine.REPLACEMENTS[name].lax
    call = {
        "cond": "2.0",
        "switch": "2, 0.5",
        "while_loop": "2.0",
        "fori_loop": "10, 0.05",
        "scan": "jnp.arange(50.0)",
    }[name]
    return f"""import jax
import jax.numpy as jnp
from jax import lax


{source(fun)}


print(jax.jit({fun.__name__})({call}))
"""


def examples() -> dict[str, str]:
    loops = {f"{loop}, batch size {size}": snippet(loop, size) for loop, size in (("scan", 32), ("Python for", 2))}
    return loops | {name: pair(name) for name in routine.REPLACEMENTS}
