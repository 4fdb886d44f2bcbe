"""The code of the lesson, to take away."""

from __future__ import annotations

from lib.lessons.pytrees import random_keys
from lib.lessons.pytrees.random_keys import FIRST_TREE, NAMES, Tree
from lib.lessons.pytrees.routine import curve_loss, network, sgd_update, train_step
from lib.lessons.state_libraries.plain import init_params, predict
from lib.routines.snippets import source

STEPS = 1000


def line(learning_rate: float) -> str:
    """The update of the live run."""
    return (
        f"jax.tree.map(lambda p, g: p - {learning_rate:g} * g, params, jax.grad(curve_loss)(params, *batch))  # in jit"
    )


def snippet(depth: int, batch_size: int, learning_rate: float, seed: int) -> str:
    """A whole training, whose update is one `tree.map`."""
    return f"""import jax
import jax.numpy as jnp


{source(init_params, predict, curve_loss, sgd_update)}


@jax.jit
{source(train_step)}


params = init_params({network(depth).sizes}, jax.random.key({seed}))
inputs = jnp.linspace(-1, 1, {batch_size})[:, None]
batch = inputs, jnp.sin(4 * inputs[:, 0])
for step in range({STEPS}):
    params, loss = train_step(params, batch, {learning_rate!r})
print(jax.tree.map(jnp.shape, params))
print(f"loss {{loss:.4f}}")"""


def keys(tree: Tree, seed: int) -> str:
    """The program that makes the keys of a tree, and what the last of them gives."""
    program = random_keys.program_of(tree, seed)
    return f"import jax\n\n{program}\nprint(jax.random.normal({NAMES[len(tree)]}))"


SIDE_EFFECTS = """import jax


def square(x):
    print("traced with", x)
    jax.debug.callback(lambda x: print("called with", x), x)
    return x**2


compiled = jax.jit(square)
for x in (1.0, 2.0, 3.0):
    compiled(x)
    jax.effects_barrier()  # waits for the callback"""
"""What Python prints while JAX traces, and what the program has printed at each call."""


def examples() -> dict[str, str]:
    """The code for some settings."""
    trap = random_keys.grown(random_keys.grown((), 0, "split", 0), 0, "fold_in", 0)
    return {
        "one layer": snippet(1, 32, 0.03, 0), "four layers": snippet(4, 8, 0.1, 7),
        "keys": keys(FIRST_TREE, 0), "split and fold_in": keys(trap, 3),
        "side effects": SIDE_EFFECTS,
    }  # fmt: skip
