"""Typical mistakes with trees, keys and impure functions, each with what it should have been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lib.routines.mistakes import Mistake


def two_draws_from_one_key():
    key = jax.random.key(0)
    a = jax.random.normal(key)
    b = jax.random.normal(key)
    return a - b


def two_draws_from_two_keys():
    a_key, b_key = jax.random.split(jax.random.key(0))
    a = jax.random.normal(a_key)
    b = jax.random.normal(b_key)
    return a - b


def one_key_under_the_checker():
    with jax.debug_key_reuse(True):  # of this thread alone
        key = jax.random.key(0)
        return jax.random.normal(key) - jax.random.normal(key)


def two_keys_under_the_checker():
    with jax.debug_key_reuse(True):
        a_key, b_key = jax.random.split(jax.random.key(0))
        return jax.random.normal(a_key) - jax.random.normal(b_key)


def split_and_fold_in_of_one_key():
    key = jax.random.key(0)
    params_key, _ = jax.random.split(key)
    step_key = jax.random.fold_in(key, 0)
    return jax.random.normal(params_key) - jax.random.normal(step_key)


def fold_in_of_a_key_of_its_own():
    params_key, steps_key = jax.random.split(jax.random.key(0))
    step_key = jax.random.fold_in(steps_key, 0)
    return jax.random.normal(params_key) - jax.random.normal(step_key)


def trees_of_different_structure():
    params = {"w": jnp.ones(2), "b": jnp.zeros(2)}
    grads = {"w": jnp.ones(2)}
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)["w"]


def trees_of_one_structure():
    params = {"w": jnp.ones(2), "b": jnp.zeros(2)}
    grads = {"w": jnp.ones(2), "b": jnp.zeros(2)}
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)["w"]


def leaves_in_the_order_of_writing():
    params = {"w": jnp.array([3.0, 4.0]), "b": jnp.array([0.5])}
    w, _ = jax.tree.leaves(params)
    return w


def leaves_by_name():
    params = {"w": jnp.array([3.0, 4.0]), "b": jnp.array([0.5])}
    return params["w"]


def none_is_no_leaf():
    tree = {"a": 1.0, "b": None, "c": 2.0}
    return len(jax.tree.leaves(tree))


def none_as_a_leaf():
    tree = {"a": 1.0, "b": None, "c": 2.0}
    return len(jax.tree.leaves(tree, is_leaf=lambda x: x is None))


def a_class_that_jax_does_not_know():
    @dataclass
    class Line:
        slope: Any
        offset: Any

    def loss(line):
        return (line.slope * 2.0 + line.offset) ** 2

    return jax.grad(loss)(Line(1.0, 0.5)).slope


def a_class_that_is_registered():
    @jax.tree_util.register_dataclass
    @dataclass
    class Line:
        slope: Any
        offset: Any

    def loss(line):
        return (line.slope * 2.0 + line.offset) ** 2

    return jax.grad(loss)(Line(1.0, 0.5)).slope


def global_that_changes():
    settings = {"scale": 1.0}

    @jax.jit
    def scaled(x):
        return settings["scale"] * x

    scaled(3.0)
    settings["scale"] = 10.0
    return scaled(3.0)


def argument_that_changes():
    @jax.jit
    def scaled(x, scale):
        return scale * x

    scaled(3.0, 1.0)
    return scaled(3.0, 10.0)


MISTAKES: dict[str, Mistake] = {
    "a key used twice": Mistake(
        two_draws_from_one_key, two_draws_from_two_keys, None,
        "No error, but two draws that are one: a key is all that a draw depends on. Split it, and use each part once.",
    ),
    "a key used twice, under debug_key_reuse": Mistake(
        one_key_under_the_checker, two_keys_under_the_checker, jax.errors.KeyReuseError,
        "The checker follows keys made by `jax.random.key`, and refuses the second use. It does not see those of the "
        "older `PRNGKey`, which are plain arrays. As a context manager it holds for one thread.",
    ),
    "split and fold_in of one key": Mistake(
        split_and_fold_in_of_one_key, fold_in_of_a_key_of_its_own, None,
        "No error, not even under `debug_key_reuse`, but two draws that are one: by default `fold_in(key, i)` is the same key "
        "as `split(key)[i]`. Split first, and fold numbers into a part of its own.",
    ),
    "trees of different structure": Mistake(
        trees_of_different_structure, trees_of_one_structure, ValueError,
        "`jax.tree.map` over several trees pairs their leaves, so that all need one structure. Here the gradients lack "
        "the `b` of the parameters.",
    ),
    "leaves in the order of writing": Mistake(
        leaves_in_the_order_of_writing, leaves_by_name, None,
        "No error, but the wrong leaf: a dict is flattened by its sorted keys, so `b` comes before `w`. Take leaves by "
        "their names, or by their paths.",
    ),
    "None in a tree": Mistake(
        none_is_no_leaf, none_as_a_leaf, None,
        "No error, but one fewer: `None` is a node without children. `is_leaf` says what else is to be taken for a leaf.",
    ),
    "a class that is not registered": Mistake(
        a_class_that_jax_does_not_know, a_class_that_is_registered, TypeError,
        "To JAX an object of an unknown class is one leaf, and no array. Registered, it is a node whose fields are its "
        "children.",
    ),
    "a global that changes": Mistake(
        global_that_changes, argument_that_changes, None,
        "No error, but the old value: Python reads the global while JAX traces, and the program keeps what it was then. "
        "What may change must be an argument.",
    ),
}  # fmt: skip
