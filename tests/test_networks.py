"""`lib/routines/networks.py`: forward pass, losses and gradients against NumPy in double precision."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from lib.routines.networks import (
    ACTIVATIONS,
    INITIALISATIONS,
    Network,
    batched_forward,
    example_loss,
    forward,
    init_params,
    predicted_class,
)

NUMPY = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": expit,
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),  # the tanh form
}


init = jax.jit(init_params, static_argnums=0)  # operation by operation it takes ten times as long to compile
batched = jax.jit(batched_forward, static_argnums=2)
one = jax.jit(forward, static_argnums=2)


def random_params(network, seed=0):
    """Weights and biases of a network, none of them 0, from NumPy: nothing to compile."""
    rng = np.random.default_rng(seed)
    return [
        {
            "w": rng.normal(0, fan_in**-0.5, (fan_in, out)).astype(np.float32),
            "b": rng.normal(0, 0.5, out).astype(np.float32),
        }
        for fan_in, out in pairwise(network.sizes)
    ]


def in_double(params):
    return [{name: np.asarray(leaf, float) for name, leaf in layer.items()} for layer in params]


def numpy_forward(params, inputs, activation):
    """A batch through the network, float64[batch, outputs]."""
    x = np.asarray(inputs, float)
    for layer in params[:-1]:
        x = NUMPY[activation](x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def numpy_loss(preds, targets, classes):
    """The mean loss of a batch."""
    if classes == 0:
        return ((preds[:, 0] - targets) ** 2).mean()
    if classes == 2:
        p = expit(preds[:, 0])
        return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    shifted = preds - preds.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -logs[np.arange(len(preds)), targets.astype(int)].mean()


def test_every_activation_has_an_oracle():
    assert set(NUMPY) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_numpy(name):
    xs = np.linspace(-6, 6, 101)
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.array(xs, jnp.float32)), NUMPY[name](xs), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 2])
def test_forward_equals_numpy_and_a_batch_equals_example_after_example(name, depth):
    params = random_params(Network(3, 2, depth, 5, name))
    inputs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    preds = batched(params, inputs, name)
    np.testing.assert_allclose(preds, numpy_forward(in_double(params), inputs, name), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(preds, np.stack([one(params, x, name) for x in inputs]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_the_layers_have_the_sizes_of_the_network(depth):
    network = Network(7, 3, depth, 5)
    assert network.sizes == (7, *[5] * depth, 3)
    params = init(network, jax.random.key(0))
    shapes = [(layer["w"].shape, layer["b"].shape) for layer in params]
    assert shapes == [((a, b), (b,)) for a, b in pairwise(network.sizes)]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "initialisation"),
    [
        *[(name, "scaled") for name in ACTIVATIONS],
        *[("tanh", initialisation) for initialisation in INITIALISATIONS][1:],
    ],
)
def test_an_initialisation_is_what_it_says(name, initialisation):
    width = 400
    params = init(Network(width, 2, 1, width, name, initialisation), jax.random.key(0))
    gain = 2 if name in ("relu", "gelu") else 1
    scale = {"zeros": 0, "large": 10}.get(initialisation, 1)
    hidden, last = params
    assert float(hidden["w"].std()) == pytest.approx(scale * np.sqrt(gain / width), rel=0.02)
    assert abs(float(hidden["w"].mean())) <= 0.01 * scale
    assert set(np.unique(hidden["b"])) == {-5.0 if initialisation == "negative biases" else 0.0}
    assert not last["b"].any()


def test_layers_and_keys_differ():
    params = init(Network(4, 4, 2, 4), jax.random.key(0))
    weights = [np.asarray(layer["w"]) for layer in params]
    assert not np.allclose(weights[0], weights[1]) and not np.allclose(weights[1], weights[2])
    again, other = (init(Network(4, 4, 2, 4), jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(again[0]["w"], weights[0])
    assert not np.allclose(other[0]["w"], weights[0])


@pytest.mark.parametrize("classes", [0, 2, 3, 10])
def test_losses_equal_numpy_scalar_batched_and_jitted(classes):
    rng = np.random.default_rng(0)
    outputs = classes if classes > 2 else 1
    preds = rng.normal(0, 3, (20, outputs)).astype(np.float32)
    targets = (rng.integers(0, classes, 20) if classes else rng.normal(size=20)).astype(np.float32)
    one_by_one = jax.vmap(example_loss, in_axes=(0, 0, None))
    losses = one_by_one(preds, targets, classes)
    for i in range(20):
        exact = numpy_loss(preds[i : i + 1].astype(float), targets[i : i + 1].astype(float), classes)
        np.testing.assert_allclose(losses[i], exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(example_loss(preds[0], targets[0], classes), losses[0], rtol=1e-6)
    np.testing.assert_allclose(
        jax.jit(one_by_one, static_argnums=2)(preds, targets, classes), losses, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("classes", "expected"), [(2, np.log(2)), (3, np.log(3)), (10, np.log(10))])
def test_no_opinion_costs_the_logarithm_of_the_number_of_classes(classes, expected):
    preds = jnp.zeros(classes if classes > 2 else 1)
    assert float(example_loss(preds, jnp.float32(1), classes)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_of_certain_answers_stays_finite(classes):
    preds = jnp.full(classes if classes > 2 else 1, 0.0).at[0].set(500.0)
    right, wrong = (1, 0) if classes == 2 else (0, 1)
    assert float(example_loss(preds, jnp.float32(right), classes)) == pytest.approx(0, abs=1e-6)
    assert float(example_loss(preds, jnp.float32(wrong), classes)) == pytest.approx(500)


@pytest.mark.parametrize(
    ("preds", "classes", "expected"),
    [([0.1], 2, 1), ([-0.1], 2, 0), ([1.0, 3.0, 2.0], 3, 1), ([5.0, 3.0, 2.0], 3, 0), ([0.0, 0.0, 9.0], 3, 2)],
)
def test_the_predicted_class_is_the_likeliest(preds, classes, expected):
    assert int(predicted_class(jnp.array(preds), classes)) == expected


def test_networks_of_equal_settings_are_equal_and_hashable():
    assert Network(2, 1) == Network(2, 1) and hash(Network(2, 1)) == hash(Network(2, 1))
    assert Network(2, 1) != Network(2, 1, width=9)
