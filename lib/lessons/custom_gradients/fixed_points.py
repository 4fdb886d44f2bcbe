"""A fixed point and its derivative, unrolled and implicit; and layers that are computed again on the way back.

References:
    Johannes Kepler's equation, E = M + e sin E, gives the place E on an orbit of eccentricity e at the time M.
    Implicit differentiation: https://docs.jax.dev/en/latest/notebooks/Custom_derivative_rules_for_Python_code.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def kepler_step(params, x):
    """One iteration towards the place on the orbit."""
    eccentricity, m = params
    return m + eccentricity * jnp.sin(x)


def unrolled(step, iterations):
    """So many iterations, one after the other.

    Reverse mode needs each of them, so all are stored.
    """

    def solve(params, x):
        def once(x, _):
            return step(params, x), None

        return jax.lax.scan(once, x, length=iterations)[0]

    return solve


def solver(step, iterations, tolerance):
    """Iterates until nothing changes.

    Reverse mode needs the fixed point alone. From x = step(params, x) follows
    dx = (1 - ∂step/∂x)⁻¹ ∂step/∂params dparams.
    The inverse of a cotangent is a fixed point again:
    w = cotangent + w ∂step/∂x.
    """

    def iterate(fun, x):
        def goes_on(carry):
            count, before, now = carry
            moves = jnp.abs(now - before).max() > tolerance
            return (count < iterations) & moves

        def once(carry):
            count, _, now = carry
            return count + 1, now, fun(now)

        return jax.lax.while_loop(goes_on, once, (1, x, fun(x)))[2]

    @jax.custom_vjp
    def solve(params, x):
        return iterate(lambda x: step(params, x), x)

    def forward(params, x):
        x = solve(params, x)
        return x, (params, x)

    def backward(kept, cotangent):
        params, x = kept
        _, through_x = jax.vjp(lambda x: step(params, x), x)
        w = iterate(lambda w: cotangent + through_x(w)[0], cotangent)
        _, through_params = jax.vjp(lambda params: step(params, x), params)
        # Where it started does not matter.
        return through_params(w)[0], jnp.zeros_like(x)

    solve.defvjp(forward, backward)
    return solve


def kepler_unrolled(eccentricity, m=0.1):
    """The place on the orbit, after enough iterations."""
    solve = unrolled(kepler_step, iterations=100)
    return solve((eccentricity, m), m)


def kepler_implicit(eccentricity, m=0.1):
    """The place on the orbit."""
    solve = solver(kepler_step, iterations=500, tolerance=1e-6)
    return solve((eccentricity, m), m)


# For measuring.

SLOW = 0.99
"""An eccentricity for which the iteration takes some hundred steps."""


def orbit_gradients(iterations: int) -> dict[str, Callable[..., Any]]:
    """The derivative of the summed places with respect to the eccentricity, both ways, for times float32[batch]."""

    def gradient(solve):
        def total(eccentricity, times):
            return jax.vmap(lambda m: solve((eccentricity, m), m))(times).sum()

        return jax.grad(total)

    return {
        "unrolled": gradient(unrolled(kepler_step, iterations)),
        "implicit": gradient(solver(kepler_step, iterations, tolerance=-1.0)),  # as many iterations as the other
    }


WIDTH = 32
HIDDEN = 128


def block(x, weights):
    """A layer that adds to its input what two matrices make of it."""
    w_in, w_out = weights
    return x + jnp.tanh(x @ w_in) @ w_out


def layers_loss(block, weights, x):
    """A loop over the layers of a deep network. The way back needs what each layer has computed."""
    x, _ = jax.lax.scan(lambda x, w: (block(x, w), None), x, weights)
    return (x**2).mean()


BLOCKS: dict[str, Callable[..., Any]] = {
    "all kept": block,
    "jax.checkpoint": jax.checkpoint(block),
    "checkpoint, products kept": jax.checkpoint(block, policy=jax.checkpoint_policies.dots_saveable),
}
"""A block by what is kept of it for the way back; the rest is computed again."""


def deep_weights(depth: int) -> tuple[np.ndarray, np.ndarray]:
    """float32[depth, WIDTH, HIDDEN] and float32[depth, HIDDEN, WIDTH], normal and small."""
    rng = np.random.default_rng(0)
    shapes = ((depth, WIDTH, HIDDEN), (depth, HIDDEN, WIDTH))
    return tuple((0.05 * rng.normal(size=shape)).astype(np.float32) for shape in shapes)  # type: ignore[return-value]


def deep_gradients() -> dict[str, Callable[..., Any]]:
    """The gradient of `layers_loss` with respect to the weights, with each of `BLOCKS`."""

    def gradient(block):
        return jax.grad(lambda weights, x: layers_loss(block, weights, x))

    return {name: gradient(made) for name, made in BLOCKS.items()}
