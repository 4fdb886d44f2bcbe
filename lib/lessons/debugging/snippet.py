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
            "def loss_fn(scale):  # of a normal distribution's deviation, at a target of 0.1",
            "    return jnp.log(scale) + 0.5 * (0.1 / scale) ** 2",
            "",
            "",
            "def report(number, scale, loss):",
            '    print(f"step {number}: deviation {scale:.3f}, loss {loss:.3f}")',
            "",
            "",
            "@jax.jit",
            "def step(scale, number):",
            '    print("Python runs while JAX traces: loss", loss_fn(scale))',
            "    loss, grad = jax.value_and_grad(loss_fn)(scale)",
            "    jax.debug.callback(report, number, scale, loss, ordered=True)",
            f"    return scale - {learning_rate!r} * grad",
            "",
            "",
            "scale = 0.5",
            "for number in range(3):",
            "    scale = step(scale, number)",
            "jax.effects_barrier()  # waits for the callbacks",
            "",
            "# A deviation below 0 has no logarithm. Nothing raises; checkify returns an error.",
            "checked = jax.jit(checkify.checkify(loss_fn, errors=checkify.float_checks))",
            "error, loss = checked(-1.0)",
            "print(loss, error.get())",
        ]
    )


def examples() -> dict[str, str]:
    """The code for some settings."""
    return {"a learning rate of 0.03": snippet(0.03), "a learning rate of 1": snippet(1.0)}
