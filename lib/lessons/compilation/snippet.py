"""The code of the lesson, to take away."""

from __future__ import annotations


def snippet(batch_size: int) -> str:
    """Calls that compile and calls that find a program, and the same program ahead of time."""
    return f"""\
import jax
import jax.numpy as jnp


def sine_power(x, power):
    # Python runs this line while JAX traces, and at no other time.
    print("traced:", x.shape, power)
    return jnp.sin(x) ** power


jitted = jax.jit(sine_power, static_argnames="power")
x = jnp.ones({batch_size})
jitted(x, power=2)  # the first call: traced and compiled
jitted(x, power=2)  # the same again: found in the cache
jitted(x + 1, power=2)  # other numbers: found
jitted(x, power=3)  # another static value: compiled
jitted(jnp.ones({2 * batch_size}), power=2)  # another shape: compiled

# The same ahead of time, stage by stage.
traced = jitted.trace(x, power=2)
lowered = traced.lower()
compiled = lowered.compile()
print(traced.jaxpr)
print(lowered.as_text())
print(compiled.cost_analysis()["flops"], "flops")
print(compiled(x)[0])"""


def line(depth: int, batch_size: int) -> str:
    """What the live run compiles."""
    sizes = "-".join(map(str, (1, *[32] * depth, 1))) if depth <= 4 else f"1-{depth}×32-1"
    return f"jax.jit(train_step).trace(params, batch, rate).lower().compile()  # {sizes}, batch of {batch_size}"


def examples() -> dict[str, str]:
    """The code for a setting."""
    return {"batch size 4": snippet(4)}
