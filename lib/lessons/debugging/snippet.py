"""The code of the lesson, to take away."""

from __future__ import annotations


def snippet(learning_rate: float) -> str:
    """A step that speaks, and a NaN that is found."""
    return "\n".join(
        [
            "import jax",
            "import jax.numpy as jnp",
            "from jax.experimental import checkify",
            "",
            "",
            "def loss_fn(scale):",
            "    return jnp.log(scale) + 0.5 * (0.1 / scale) ** 2",
            "",
            "",
            "def report(scale, loss):",
            '    print(f"deviation {scale:.3f}: loss {loss:.3f}")',
            "",
            "",
            "@jax.jit",
            "def step(scale):",
            '    print("Python runs while JAX traces:", scale)',
            "    loss, grad = jax.value_and_grad(loss_fn)(scale)",
            "    jax.debug.callback(report, scale, loss, ordered=True)",
            f"    return scale - {learning_rate!r} * grad",
            "",
            "",
            "scale = step(step(step(0.5)))",
            "jax.effects_barrier()  # waits for the callbacks",
            "",
            "# No logarithm below 0, and nothing raises. checkify returns an error:",
            "checks = checkify.float_checks",
            "error, loss = jax.jit(checkify.checkify(loss_fn, errors=checks))(-1.0)",
            "print(loss, error.get())",
        ]
    )


def examples() -> dict[str, str]:
    """The code for some settings."""
    return {"a learning rate of 0.03": snippet(0.03), "a learning rate of 1": snippet(1.0)}
