"""The tree of keys, and the training in which one key is used at every step."""

import jax
import numpy as np
import pytest
from support import train_steps

from lib.lessons.pytrees import random_keys
from lib.lessons.pytrees.random_keys import FIRST_TREE, MAX_KEYS, Node, grown, key_report, program_of


def keys_made_by(program):
    names = {"jax": jax}
    exec(program, names)
    return {name: key for name, key in names.items() if len(name) == 1}


TREES = {
    "nothing": (),
    "the first": FIRST_TREE,
    "a split of a split": grown(grown((), 0, "split", 0), 2, "split", 0),
    "one key split twice": grown(grown((), 0, "split", 0), 0, "split", 0),
    "one number folded in twice": grown(grown((), 0, "fold_in", 5), 0, "fold_in", 5),
}


@pytest.mark.parametrize("name", TREES)
def test_the_program_shown_makes_the_keys_shown(name):
    tree = TREES[name]
    keys = keys_made_by(program_of(tree, 3))
    report = key_report(tree, 3)
    assert len(keys) == 1 + len(tree) == len(report["data"])
    for place, (_, key) in enumerate(sorted(keys.items())):
        np.testing.assert_array_equal(report["data"][place], jax.random.key_data(key))
        np.testing.assert_allclose(report["normal"][place], jax.random.normal(key), rtol=1e-6)


@pytest.mark.parametrize("name", ["one key split twice", "one number folded in twice"])
def test_the_same_again_gives_the_same_keys_again(name):
    data = [tuple(key) for key in np.asarray(key_report(TREES[name], 0)["data"])]
    assert len(set(data)) == 1 + len(TREES[name]) // 2


@pytest.mark.parametrize(("impl", "partitionable", "same"), [
    ("threefry2x32", True, True), ("rbg", True, True), ("unsafe_rbg", True, False), ("threefry2x32", False, False),
])  # fmt: skip
def test_a_number_folded_in_is_the_key_that_split_gives_by_default(impl, partitionable, same):
    with jax.threefry_partitionable(partitionable):
        key = jax.random.key(5, impl=impl)
        for i, split in enumerate(jax.random.key_data(jax.random.split(key, 3))):
            folded = jax.random.key_data(jax.random.fold_in(key, i))
            assert np.array_equal(folded, split) == same


def test_the_checker_does_not_see_that_a_split_and_a_fold_in_are_one_key():
    assert jax.config.jax_threefry_partitionable  # the default, of which the page speaks
    with jax.debug_key_reuse(True):
        key = jax.random.key(0)
        assert jax.random.normal(jax.random.split(key)[0]) == jax.random.normal(jax.random.fold_in(key, 0))


def test_the_tree_is_bounded():
    tree = ()
    for number in range(3 * MAX_KEYS):
        tree = grown(tree, 0, "split" if number % 2 else "fold_in", number)
    assert len(tree) + 1 <= MAX_KEYS <= len(random_keys.NAMES)
    assert program_of(tree, 0).count("\n") > 10
    full = tuple(Node(0, "fold_in", i) for i in range(MAX_KEYS - 1))
    assert grown(full, 0, "fold_in", 1) == full == grown(full, 0, "split", 0)


@pytest.mark.parametrize(("batch_size", "seed"), [(1, 0), (32, 1), (1024, 3)])
def test_a_key_used_at_every_step_spoils_the_training_and_new_keys_do_not(batch_size, seed):
    problem, data = random_keys.Dropout(batch_size), random_keys.curve_data()
    _, metrics, finite = train_steps(problem, problem.init(jax.random.key(seed), data), data, 0.1, 4000)
    new, same = (float(np.median(metrics[name][3000:4000])) for name in ("loss", "the same key"))
    assert finite.all()
    assert new < 0.08 and same > 4 * new


def test_both_networks_start_alike_and_half_of_one_never_moves():
    problem, data = random_keys.Dropout(8), random_keys.curve_data()
    state = problem.init(jax.random.key(0), data)
    before = {way: np.asarray(params["w2"]) for way, params in state.params.items()}
    np.testing.assert_array_equal(*before.values())
    state, _, _ = train_steps(problem, state, data, 0.1, 200)
    moved = {way: (np.asarray(params["w2"]) != before[way]).sum() for way, params in state.params.items()}
    assert moved["a new key"] == random_keys.UNITS
    key = problem.init(jax.random.key(0), data).opt_state["the same key"]
    assert moved["the same key"] == jax.random.bernoulli(key, 0.5, (random_keys.UNITS,)).sum()


def test_new_keys_differ_from_step_to_step_and_the_same_one_does_not():
    problem, data = random_keys.Dropout(8), random_keys.curve_data()
    state = problem.init(jax.random.key(0), data)
    after, _, _ = train_steps(problem, state, data, 0.1, 2)
    told = {way: (jax.random.key_data(state.opt_state[way]) == jax.random.key_data(after.opt_state[way])).all() for way in random_keys.WAYS}  # fmt: skip
    assert told == {"a new key": False, "the same key": True}


def test_the_checker_refuses_the_step_with_the_same_key_and_takes_the_other():
    report = random_keys.checker_report()
    assert report["the same key"].startswith("KeyReuseError: ")
    assert report["a new key"].startswith("Two steps taken")
    key = jax.random.key(0)
    assert jax.random.normal(key) == jax.random.normal(key)  # the checker is off again


def test_the_inputs_are_all_there_in_an_order_that_mixes_them():
    inputs, targets = random_keys.curve_data()
    np.testing.assert_allclose(np.sort(inputs), np.linspace(-1, 1, random_keys.EXAMPLES), atol=1e-6)
    np.testing.assert_allclose(targets, np.sin(3 * inputs), rtol=1e-6)
    assert np.ptp(inputs[:8]) > 1
