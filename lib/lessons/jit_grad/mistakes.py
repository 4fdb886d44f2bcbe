"""Typical mistakes with jit(grad(f)), each beside what it should have been."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lib.routines.mistakes import Mistake


def grad_of_a_vector():
    return jax.grad(lambda x: x**2)(jnp.array([1.0, 2.0, 3.0]))


def vmap_of_grad():
    return jax.vmap(jax.grad(lambda x: x**2))(jnp.array([1.0, 2.0, 3.0]))


def grad_at_an_integer():
    return jax.grad(lambda x: x**2)(3)


def grad_at_a_float():
    return jax.grad(lambda x: x**2)(3.0)


def python_if_under_jit():
    def relu(x):
        return x if x > 0 else 0.0

    return jax.jit(jax.grad(relu))(2.0)


def where_under_jit():
    def relu(x):
        return jnp.where(x > 0, x, 0.0)

    return jax.jit(jax.grad(relu))(2.0)


def numpy_under_grad():
    return jax.grad(lambda x: np.sin(x))(1.0)


def jnp_under_grad():
    return jax.grad(lambda x: jnp.sin(x))(1.0)


def nan_through_where():
    def safe_sqrt(x):
        return jnp.where(x > 0, jnp.sqrt(x), 0.0)

    return jax.grad(safe_sqrt)(0.0)


def where_twice():
    def safe_sqrt(x):
        inside = jnp.where(x > 0, x, 1.0)
        return jnp.where(x > 0, jnp.sqrt(inside), 0.0)

    return jax.grad(safe_sqrt)(0.0)


MISTAKES: dict[str, Mistake] = {
    "grad of a function that returns a vector": Mistake(
        grad_of_a_vector, vmap_of_grad, TypeError,
        "`grad` is for functions that return one number. For the derivative at each of several points, "
        "`vmap` the gradient of one point; for all derivatives of all outputs, take `jacrev` or `jacfwd`.",
    ),
    "grad at an integer": Mistake(
        grad_at_an_integer, grad_at_a_float, TypeError,
        "An integer cannot move by a little, so it has no derivative. Write `3.0`, not `3`.",
    ),
    "Python if on a traced value": Mistake(
        python_if_under_jit, where_under_jit, jax.errors.TracerBoolConversionError,
        "`jit` runs the function once with a tracer, which stands for every possible number, and Python's "
        "`if` needs to know which one. `jnp.where` (or `lax.cond`) puts both branches into the program.",
    ),
    "NumPy inside a function to differentiate": Mistake(
        numpy_under_grad, jnp_under_grad, jax.errors.TracerArrayConversionError,
        "`np.sin` needs numbers, and a tracer has none. `jnp.sin` records what is to be done with it.",
    ),
    "NaN through where": Mistake(
        nan_through_where, where_twice, None,
        "No error, but a wrong number: the derivative of the square root at 0 is infinite, and backwards "
        "`where` multiplies it by 0, which is NaN. Make the branch that is not taken harmless first.",
    ),
}  # fmt: skip
