"""Code to take away: both functions of a pair, and their gradients."""

from __future__ import annotations

import jax

from lib.lessons.custom_gradients.routine import PAIRS
from lib.routines.snippets import source

HEAD = """\
import jax
import jax.numpy as jnp


"""


def snippet(name: str) -> str:
    """A pair of `routine.PAIRS`: the naive function, the mended one, and the compiled gradient of each."""
    pair = PAIRS[name]
    functions = list(dict.fromkeys(function for sources in pair.sources for function in sources))
    functions += [fun for fun in (pair.naive, pair.mended) if fun not in functions]
    points = ", ".join(f"{x:g}" if x % 1 else f"{x:.1f}" for x in pair.points)
    return f"""{HEAD}{source(*functions)}


for f in ({pair.naive.__name__}, {pair.mended.__name__}):
    gradient = jax.jit(jax.grad(f))
    for x in ({points}):
        print(f.__name__, x, f(x), gradient(x))"""


def line(name: str) -> str:
    """What the live run calls at each step, for both functions of a pair."""
    pair = PAIRS[name]
    by = "custom_jvp" if isinstance(pair.mended, jax.custom_jvp) else "custom_vjp"
    return f"jax.jit(jax.grad(partial(loss_fn, pair, f)))  # f: {pair.naive.__name__}; {pair.mended.__name__}, a {by}"


def examples() -> dict[str, str]:
    """The code of every pair."""
    return {name: snippet(name) for name in PAIRS}
