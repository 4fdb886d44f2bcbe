"""Typical mistakes with jit(vmap(f)), each beside what it should have been."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lib.routines.mistakes import Mistake


def different_lengths():
    return jax.vmap(jnp.multiply)(jnp.arange(3.0), jnp.arange(4.0))


def same_lengths():
    return jax.vmap(jnp.multiply)(jnp.arange(4.0), jnp.arange(4.0))


def axis_that_is_not_there():
    return jax.vmap(jnp.sin, in_axes=1)(jnp.arange(3.0))


def axis_that_is_there():
    return jax.vmap(jnp.sin, in_axes=0)(jnp.arange(3.0))


def nothing_mapped():
    return jax.vmap(jnp.add, in_axes=(None, None))(1.0, 2.0)


def one_argument_mapped():
    return jax.vmap(jnp.add, in_axes=(None, 0))(1.0, jnp.array([2.0, 3.0]))


def in_axes_of_wrong_length():
    return jax.vmap(jnp.add, in_axes=(0,))(jnp.arange(3.0), 1.0)


def in_axes_for_each_argument():
    return jax.vmap(jnp.add, in_axes=(0, None))(jnp.arange(3.0), 1.0)


MISTAKES: dict[str, Mistake] = {
    "batch axes of different lengths": Mistake(
        different_lengths, same_lengths, ValueError,
        "All mapped arguments are walked over together, so their batch axes must be equally long. "
        "An argument that is the same for the whole batch gets `None` in `in_axes`.",
    ),
    "an axis that the array does not have": Mistake(
        axis_that_is_not_there, axis_that_is_there, ValueError,
        "Axes count from 0: a vector has axis 0 and no axis 1.",
    ),
    "nothing to map over": Mistake(
        nothing_mapped, one_argument_mapped, ValueError,
        "With `None` for every argument there is no batch. At least one argument needs an axis.",
    ),
    "in_axes for some arguments only": Mistake(
        in_axes_of_wrong_length, in_axes_for_each_argument, ValueError,
        "A tuple `in_axes` has one entry for each positional argument, `None` where it is shared.",
    ),
}  # fmt: skip
