"""`lib/lessons/training/routine.py`: backpropagation, optimizers and pictures written once more in NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from support import train_steps
from test_networks import in_double, init, numpy_forward, numpy_loss, random_params

from lib.lessons.training.routine import DIGITS_SHOWN, OPTIMIZERS, SCATTERED, Training, loss_fn, train_step
from lib.lessons.training.seen import TILE, UNITS
from lib.lessons.training.view import SUITS
from lib.routines.datasets import Dataset, load
from lib.routines.networks import ACTIVATIONS, Network


def batch_of(classes, features=3, size=12, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(size, features)).astype(np.float32)
    targets = (rng.integers(0, classes, size) if classes else rng.normal(size=size)).astype(np.float32)
    return inputs, targets


def network_of(classes, activation="tanh", depth=2, features=3):
    return Network(features, classes if classes > 2 else 1, depth, 4, activation)


def backpropagation(params, batch, classes):
    """The gradient of the mean loss of a tanh network, by hand in double precision."""
    inputs, targets = (np.asarray(a, float) for a in batch)
    layers_in, x = [], inputs
    for layer in params[:-1]:
        layers_in.append(x)
        x = np.tanh(x @ layer["w"] + layer["b"])
    layers_in.append(x)
    preds = x @ params[-1]["w"] + params[-1]["b"]
    if classes == 0:
        back = 2 * (preds - targets[:, None])
    elif classes == 2:
        back = expit(preds) - targets[:, None]
    else:
        back = softmax(preds, axis=1) - np.eye(classes)[targets.astype(int)]
    back /= len(inputs)
    grads = []
    for layer, x in zip(params[::-1], layers_in[::-1], strict=True):
        grads.append({"w": x.T @ back, "b": back.sum(0)})
        back = back @ layer["w"].T * (1 - x**2)  # x is this layer's input, a tanh of the layer before
    return grads[::-1]


class NumpyOptimizer:
    """SGD, momentum and Adam from their definitions, on lists of dicts of arrays."""

    def __init__(self, name):
        self.name, self.count, self.first, self.second = name, 0, None, None

    def direction(self, grads):
        grads = [dict(layer) for layer in grads]
        if self.name == "SGD":
            return grads
        zeros = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in grads]
        self.first, self.second = self.first or zeros, self.second or [dict(layer) for layer in zeros]
        self.count += 1
        out = []
        for layer, m, v in zip(grads, self.first, self.second, strict=True):
            out.append({})
            for k, g in layer.items():
                if self.name == "momentum":
                    m[k] = 0.9 * m[k] + g
                    out[-1][k] = m[k]
                else:
                    m[k], v[k] = 0.9 * m[k] + 0.1 * g, 0.999 * v[k] + 0.001 * g**2
                    first, second = m[k] / (1 - 0.9**self.count), v[k] / (1 - 0.999**self.count)
                    out[-1][k] = first / (np.sqrt(second) + 1e-8)
        return out


def assert_close(params, expected, **tolerance):
    for layer, exact in zip(params, expected, strict=True):
        for name in ("w", "b"):
            np.testing.assert_allclose(layer[name], exact[name], **tolerance)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_the_loss_of_a_batch_equals_numpy(classes, activation):
    params, batch = random_params(network_of(classes, activation)), batch_of(classes)
    preds = numpy_forward(in_double(params), batch[0], activation)
    expected = numpy_loss(preds, batch[1].astype(float), classes)
    loss = jax.jit(loss_fn, static_argnums=(2, 3))(params, batch, activation, classes)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_gradient_equals_backpropagation_by_hand(classes, depth):
    params, batch = random_params(network_of(classes, depth=depth)), batch_of(classes)
    grads = jax.jit(jax.grad(loss_fn), static_argnums=(2, 3))(params, batch, "tanh", classes)
    assert_close(grads, backpropagation(in_double(params), batch, classes), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_equals_central_differences(activation):
    params, batch = random_params(network_of(2, activation, 1)), batch_of(2)
    grads = jax.jit(jax.grad(loss_fn), static_argnums=(2, 3))(params, batch, activation, 2)
    exact, step = in_double(params), 1e-5

    def loss():
        return numpy_loss(numpy_forward(exact, batch[0], activation), batch[1].astype(float), 2)

    for layer, grad in zip(exact, grads, strict=True):
        for name, leaf in layer.items():
            for index in np.ndindex(leaf.shape):
                at = leaf[index]
                leaf[index] = at + step
                ahead = loss()
                leaf[index] = at - step
                slope = (ahead - loss()) / (2 * step)
                leaf[index] = at
                np.testing.assert_allclose(grad[name][index], slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("classes", [0, 3])
def test_an_optimizer_equals_its_definition_in_numpy(optimizer, classes):
    params = random_params(network_of(classes, depth=1))
    exact, mine = in_double(params), NumpyOptimizer(optimizer)
    opt_state = jax.jit(OPTIMIZERS[optimizer].init)(params)
    step = jax.jit(train_step, static_argnums=(4, 5, 6))
    for i in range(12):
        batch, rate = batch_of(classes, seed=i), 0.05 / (1 + i % 3)
        expected = numpy_loss(numpy_forward(exact, batch[0], "tanh"), batch[1].astype(float), classes)
        params, opt_state, loss = step(params, opt_state, batch, rate, OPTIMIZERS[optimizer], "tanh", classes)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        directions = mine.direction(backpropagation(exact, batch, classes))
        exact = [
            {name: layer[name] - rate * direction[name] for name in layer}
            for layer, direction in zip(exact, directions, strict=True)
        ]
    assert_close(params, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_is_traced_once_whatever_the_data_and_the_learning_rate(optimizer):
    """Also the second one: what comes out of a step has the types of what went in."""
    traces = []

    def counted(params, opt_state, batch, learning_rate):
        traces.append(1)
        return train_step(params, opt_state, batch, learning_rate, OPTIMIZERS[optimizer], "tanh", 2)

    params = init(network_of(2), jax.random.key(0))
    opt_state, step = jax.jit(OPTIMIZERS[optimizer].init)(params), jax.jit(counted)
    for i in range(4):
        params, opt_state, _ = step(params, opt_state, batch_of(2, seed=i), jnp.float32(0.1 * i))
    assert len(traces) == 1


def toy(n=20, features=2, classes=2, test=6, image=False):
    """A small dataset of which everything is known."""
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(n + test, features)).astype(np.float32)
    targets = (rng.integers(0, classes, n + test) if classes else inputs.sum(1)).astype(np.float32)
    return Dataset(
        (inputs[:n], targets[:n]), (inputs[n:], targets[n:]), classes, tuple("abcdefgh"[: features + 1]),
        tuple("0123456789"[:classes]), image, f"toy/{n}/{features}/{classes}/{test}/{image}",
    )  # fmt: skip


def training_of(dataset, optimizer="SGD", batch_size=8, **network):
    shape = Network(dataset.features, dataset.outputs, **{"depth": 1, "width": 4, **network})
    return Training(shape, dataset.classes, dataset.picture, optimizer, batch_size)


@pytest.mark.parametrize("batch_size", [1, 8, 50])
def test_batches_walk_over_the_shuffled_examples(batch_size):
    """Also a batch that is larger than the data, and past the end of the shuffled passes."""
    dataset = toy()
    problem, data = training_of(dataset, batch_size=batch_size), dataset.arrays
    start, count = jax.jit(problem.init)(jax.random.key(0), data), 200
    _, metrics, _ = train_steps(problem, start, data, jnp.float32(0.05), jnp.int32(count))
    params, (inputs, targets), order = in_double(start.params), dataset.train, data["order"]
    passes = 8 * len(inputs)
    for step in range(count):
        rows = order[(step * batch_size) % passes :][:batch_size]
        batch = inputs[rows], targets[rows]
        expected = numpy_loss(numpy_forward(params, batch[0], "tanh"), batch[1].astype(float), 2)
        np.testing.assert_allclose(metrics["loss"][step], expected, rtol=2e-3, atol=1e-5)
        params = [
            {name: layer[name] - 0.05 * grad[name] for name in layer}
            for layer, grad in zip(params, backpropagation(params, batch, 2), strict=True)
        ]


def test_every_example_is_seen_once_a_pass():
    dataset = toy(n=20)
    order = dataset.arrays["order"]
    for begin in range(0, 8 * 20, 20):
        assert sorted(order[begin : begin + 20]) == list(range(20))


def test_a_learning_rate_of_zero_changes_no_parameter():
    dataset = toy()
    problem = training_of(dataset, "Adam")
    start = jax.jit(problem.init)(jax.random.key(0), dataset.arrays)
    state, _, _ = train_steps(problem, start, dataset.arrays, jnp.float32(0), jnp.int32(10))
    for one, other in zip(jax.tree.leaves(start.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(one, other)


def units_by_hand(dataset, params):
    """What each unit gives in the middle of each cell of its tile, row by row from the bottom, a byte each."""
    _, *ranges = dataset.grid
    tiles = []
    for layer in range(len(params)):
        for unit in range(min(UNITS, len(params[layer]["w"]))):
            for row in range(TILE):
                for column in range(TILE):
                    x = [
                        low + (k + 0.5) / TILE * (high - low)
                        for k, (low, high) in zip((column, row), ranges, strict=True)
                    ]
                    for before in params[:layer]:
                        x = np.tanh(x @ before["w"] + before["b"])
                    tiles.append(round(127.5 + 127.5 * min(1, max(-1, x[unit]))))
    return tiles


def weights_by_hand(params):
    """Each weight between units that are drawn, from unit to unit, squeezed into -127 to 127."""
    return [
        127 * layer["w"][start, end] / (1 + abs(layer["w"][start, end]))
        for layer in params
        for start in range(min(UNITS, layer["w"].shape[0]))
        for end in range(min(UNITS, layer["w"].shape[1]))
    ]


PICTURES = {
    "surface": toy(),
    "surface of several classes": toy(classes=3),
    "curve": toy(features=1, classes=0),
    "scatter": toy(features=3, classes=0),
    "classes": toy(features=3, classes=4),
    "digits": toy(features=4, classes=10, n=60, test=40, image=True),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_observed_equals_numpy(name):
    dataset = PICTURES[name]
    problem, data = training_of(dataset), dataset.arrays
    state = jax.jit(problem.init)(jax.random.key(0), data)
    metrics, picture = jax.jit(problem.observe)(state, data)
    params, classes = in_double(state.params), dataset.classes

    def preds(inputs):
        return numpy_forward(params, inputs, "tanh")

    def labels(inputs):
        return (preds(inputs)[:, 0] > 0).astype(int) if classes == 2 else preds(inputs).argmax(1)

    inputs, targets = dataset.test
    np.testing.assert_allclose(
        metrics["test_loss"], numpy_loss(preds(inputs), targets.astype(float), classes), rtol=1e-5
    )
    assert ("test_accuracy" in metrics) == ("train_accuracy" in metrics) == bool(classes)
    if classes:
        np.testing.assert_allclose(metrics["test_accuracy"], (labels(inputs) == targets).mean(), rtol=1e-6)
        np.testing.assert_allclose(
            metrics["train_accuracy"], (labels(dataset.train[0]) == dataset.train[1]).mean(), rtol=1e-6
        )
    grid = dataset.grid[0]
    if name.startswith("surface"):
        np.testing.assert_allclose(picture["units"], units_by_hand(dataset, params), atol=1)  # may round up or down
        np.testing.assert_allclose(picture["weights"], weights_by_hand(params), atol=0.51)
    if name == "surface":
        np.testing.assert_allclose(picture["grid"], expit(preds(grid)[:, 0]), rtol=1e-4, atol=1e-6)
    elif name == "surface of several classes":
        assert (np.asarray(picture["grid"]) == preds(grid).argmax(1)).mean() > 0.999
    elif name == "curve":
        np.testing.assert_allclose(picture["curve"], preds(grid)[:, 0], rtol=1e-4, atol=1e-5)
    elif name == "scatter":
        np.testing.assert_allclose(picture["preds"], preds(inputs)[:SCATTERED, 0], rtol=1e-4, atol=1e-5)
    elif name == "digits":
        np.testing.assert_array_equal(picture["labels"], labels(inputs)[:DIGITS_SHOWN])
    else:
        counts = np.zeros((classes, classes), int)
        for target, label in zip(targets.astype(int), labels(inputs), strict=True):
            counts[target, label] += 1
        np.testing.assert_array_equal(picture["counts"], counts)


def test_the_start_follows_the_key():
    dataset = load("circles", 0)
    problem = training_of(dataset)
    starts = [jax.jit(problem.init)(jax.random.key(seed), dataset.arrays).params[0]["w"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.allclose(starts[0], starts[2])


def test_only_the_batch_size_may_change_on_the_way():
    problem = training_of(toy())
    assert replace(problem, batch_size=64).lineage == problem.lineage
    for change in ({"optimizer": "Adam"}, {"network": Network(2, 1, 3, 4)}):
        assert replace(problem, **change).lineage != problem.lineage


@pytest.mark.parametrize("optimizer", SUITS)
def test_the_rates_that_suit_an_optimizer_learn_and_lower_ones_do_not_yet(optimizer):
    dataset = load("circles", 0)
    problem, data = training_of(dataset, optimizer, 32, depth=2, width=8), dataset.arrays
    start = jax.jit(problem.init)(jax.random.key(0), data)
    low, high = SUITS[optimizer]
    reached = []
    for rate in (low, high, low / 30):
        state, _, _ = train_steps(problem, start, data, jnp.float32(rate), jnp.int32(2000))
        reached.append(float(jax.jit(problem.observe)(state, data).metrics["test_accuracy"]))
    assert min(reached[:2]) > 0.9 > reached[2]
