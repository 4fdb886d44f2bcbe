"""`lib/lessons/training/presets.py`: the good ones learn and the bad ones fail, each in the way that it says."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps
from test_networks import in_double, numpy_forward, numpy_loss

from lib.lessons.training.presets import PRESETS
from lib.lessons.training.routine import OPTIMIZERS, Training
from lib.lessons.training.view import DEFAULTS
from lib.routines.datasets import NAMES, load
from lib.routines.networks import ACTIVATIONS, INITIALISATIONS, Network


@cache
def trained(name, steps, **changes):
    """The losses of a preset's steps, what NumPy makes of its state before and after, and both states."""
    settings = DEFAULTS | PRESETS[name].settings | changes
    dataset = load(settings["data"], 0, None if settings["examples"] == "all" else int(settings["examples"]))
    network = Network(
        dataset.features, dataset.outputs, settings["depth"], settings["width"],
        settings["activation"], settings["initialisation"],
    )  # fmt: skip
    problem = Training(network, dataset.classes, dataset.picture, settings["optimizer"], settings["batch_size"])
    data, rate = jax.device_put(dataset.arrays), jnp.float32(settings["learning_rate"])

    def look(state):
        with np.errstate(all="ignore"):
            seen = {}
            for part in ("train", "test"):
                inputs, targets = getattr(dataset, part)
                preds = numpy_forward(in_double(state.params), inputs, settings["activation"])
                seen[f"{part}_loss"] = numpy_loss(preds, targets.astype(float), dataset.classes)
                labels = preds[:, 0] > 0 if dataset.classes == 2 else preds.argmax(1)
                seen[f"{part}_accuracy"] = (labels == targets).mean()
            return seen

    start = state = jax.jit(problem.init)(jax.random.key(0), data)
    losses, seen = [], [look(state)]
    for _ in range(0, steps, 500):
        state, metrics, _ = train_steps(problem, state, data, rate, jnp.int32(500))
        losses.append(np.asarray(metrics["loss"][:500]))
        seen.append(look(state))
    return np.concatenate(losses), seen, start, state


@pytest.mark.parametrize("name", PRESETS)
def test_settings_are_names_and_values_that_the_page_knows(name):
    preset = PRESETS[name]
    assert set(preset.settings) <= set(DEFAULTS)
    settings = DEFAULTS | preset.settings
    assert settings["data"] in NAMES
    assert settings["activation"] in ACTIVATIONS and settings["initialisation"] in INITIALISATIONS
    assert settings["optimizer"] in OPTIMIZERS
    assert settings["examples"] == "all" or int(settings["examples"]) >= 8
    assert settings["depth"] >= 1 and settings["width"] >= 1 and settings["learning_rate"] > 0
    assert settings["batch_size"] & (settings["batch_size"] - 1) == 0, "powers of two are offered"
    assert len(preset.expect) > 40 and preset.expect.endswith(".")


def test_there_are_good_and_bad_ones():
    assert {preset.good for preset in PRESETS.values()} == {True, False}


GOOD = {  # what the test part has to reach, after how many steps
    "seed network on a curve": (1500, "test_loss", 0.02),  # noise of 0.1 leaves 0.01
    "two spirals": (3000, "test_accuracy", 0.97),
    "handwritten digits": (1000, "test_accuracy", 0.95),
}


def test_every_good_preset_has_a_goal():
    assert set(GOOD) == {name for name, preset in PRESETS.items() if preset.good}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_preset_is_good(name):
    steps, measure, goal = GOOD[name]
    _, seen, _, _ = trained(name, steps)
    assert seen[-1][measure] <= goal if measure == "test_loss" else seen[-1][measure] >= goal
    assert not (seen[0][measure] <= goal if measure == "test_loss" else seen[0][measure] >= goal)


def test_a_rate_that_is_too_high_diverges_and_the_one_it_names_learns():
    losses, _, _, _ = trained("learning rate too high", 500)
    assert not np.isfinite(losses).all()
    broken = int(np.argmin(np.isfinite(losses)))
    assert broken > 1 and losses[broken - 1] > losses[0], "it grows before it is no number any more"
    assert "0.03" in PRESETS["learning rate too high"].expect
    _, seen, _, _ = trained("learning rate too high", 1000, learning_rate=0.03)
    assert seen[-1]["test_loss"] < 0.05


def test_zero_weights_move_nothing_but_the_last_bias():
    losses, seen, _, state = trained("zero initialisation", 1000)
    assert seen[0]["test_loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert seen[-1]["test_loss"] == pytest.approx(np.log(2), abs=0.02)
    assert losses[-500:].mean() == pytest.approx(np.log(2), abs=0.02)
    for i, layer in enumerate(state.params):
        assert not np.asarray(layer["w"]).any()
        assert bool(np.asarray(layer["b"]).any()) == (i == len(state.params) - 1)


def test_a_dead_relu_stays_dead_and_tanh_recovers():
    _, seen, start, state = trained("dead ReLU", 1000)
    for before, after in zip(start.params[:-1], state.params[:-1], strict=True):
        np.testing.assert_array_equal(before["w"], after["w"])
        np.testing.assert_array_equal(before["b"], after["b"])
    assert seen[-1]["test_loss"] == pytest.approx(np.log(2), abs=0.02)
    _, recovered, _, _ = trained("dead ReLU", 3000, activation="tanh")
    assert recovered[-1]["test_loss"] < 0.55 and recovered[-1]["test_accuracy"] > 0.7


def test_saturated_units_learn_more_slowly_than_scaled_ones():
    _, large, _, _ = trained("saturated units", 3000)
    _, scaled, _, _ = trained("saturated units", 3000, initialisation="scaled")
    assert large[-1]["test_loss"] > 1.5 * scaled[-1]["test_loss"]


def test_tiny_data_are_learnt_by_heart_and_the_test_loss_rises():
    losses, seen, _, _ = trained("tiny data overfitted", 2000)
    assert seen[-1]["train_accuracy"] == 1.0 and losses[-100:].mean() < 1e-3
    tests = [picture["test_loss"] for picture in seen]
    assert tests[-1] > tests[1] and tests[-1] > 100 * losses[-100:].mean()
    assert seen[-1]["test_accuracy"] < 0.8
