"""The same training in JAX's compiled loop, in eager PyTorch and in NumPy by hand.

A 2-8-8-1 tanh network, binary cross-entropy, Adam, batches of 32, float32. All three start at the same parameters and
take the same batches; their losses have to agree before they are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from default_problem import LEARNING_RATE, default_problem
from report import Figure, at_least

from lib.live.devices import devices
from lib.routines.datasets import PASSES
from lib.routines.problem import train_steps

try:
    import torch
except ImportError:
    torch = None

ROUNDS = 7
TURN_S = 1.0
CHECKED = 200
"""Steps over which the losses are compared. Rounding sets the three apart a little more at each."""
LOSS_TOLERANCE = 0.02
B1, B2, EPSILON = 0.9, 0.999, 1e-8

Steps = Callable[[int], np.ndarray]
"""Takes so many steps and returns their losses."""


def jax_steps(chunk: int) -> Steps:
    """The app's own loop, in chunks of so many steps."""
    problem, dataset = default_problem()
    device = next(iter(devices().values()))
    data, rate = jax.device_put((dataset.arrays, jnp.float32(LEARNING_RATE)), device)
    state = jax.device_put(jax.jit(problem.init)(jax.random.key(0), data), device)
    steps = jax.jit(train_steps, static_argnames="problem")

    def take(count: int) -> np.ndarray:
        nonlocal state
        losses = []
        for begin in range(0, count, chunk):
            size = min(chunk, count - begin)
            state, buffers, _ = steps(problem, state, data, rate, jnp.int32(size))
            losses.append(np.asarray(buffers["loss"])[:size])
        return np.concatenate(losses)

    return take


def start() -> tuple[list[np.ndarray], Callable[[int], tuple[np.ndarray, np.ndarray]]]:
    """The parameters that the app starts from (w, b of each layer), and the batch of each step."""
    problem, dataset = default_problem()
    params = jax.jit(problem.init)(jax.random.key(0), dataset.arrays).params
    inputs, targets = dataset.train
    order, size = dataset.arrays["order"], problem.batch_size
    passes = PASSES * len(inputs)

    def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
        begin = step * size % passes
        rows = order[begin : begin + size]
        return inputs[rows], targets[rows]

    return [np.array(layer[name]) for layer in params for name in ("w", "b")], batch


def numpy_steps() -> Steps:
    """Forward, backward and Adam written out."""
    params, batch = start()
    means = [np.zeros_like(p) for p in params]
    squares = [np.zeros_like(p) for p in params]
    taken = 0

    def take_one() -> float:
        nonlocal taken
        inputs, targets = batch(taken)
        w1, b1, w2, b2, w3, b3 = params
        h1 = np.tanh(inputs @ w1 + b1)  # (batch, 8)
        h2 = np.tanh(h1 @ w2 + b2)  # (batch, 8)
        logits = (h2 @ w3 + b3)[:, 0]  # (batch,)
        loss = np.mean(np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits))))
        d_logits = ((1 / (1 + np.exp(-logits)) - targets) / np.float32(len(targets)))[:, None]
        d_h2 = (d_logits @ w3.T) * (1 - h2 * h2)
        d_h1 = (d_h2 @ w2.T) * (1 - h1 * h1)
        grads = (inputs.T @ d_h1, d_h1.sum(0), h1.T @ d_h2, d_h2.sum(0), h2.T @ d_logits, d_logits.sum(0))
        taken += 1
        to_mean, to_square = 1 / (1 - B1**taken), 1 / (1 - B2**taken)
        for p, grad, mean, square in zip(params, grads, means, squares, strict=True):
            mean += (1 - B1) * (grad - mean)
            square += (1 - B2) * (grad * grad - square)
            p -= LEARNING_RATE * (mean * to_mean) / (np.sqrt(square * to_square) + EPSILON)
        return float(loss)

    return lambda count: np.array([take_one() for _ in range(count)], np.float32)


def torch_steps() -> Steps:
    """Eager PyTorch as one writes it."""
    torch.set_num_threads(1)  # so small a network is slower on several
    params, batch = start()
    layers = [torch.nn.Linear(w.shape[0], w.shape[1]) for w in params[::2]]
    for layer, w, b in zip(layers, params[::2], params[1::2], strict=True):
        layer.weight.data = torch.from_numpy(w.T.copy())
        layer.bias.data = torch.from_numpy(b)
    network = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    loss_fn = torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, (B1, B2), EPSILON)
    taken = 0

    def take_one() -> float:
        nonlocal taken
        inputs, targets = map(torch.from_numpy, batch(taken))
        optimizer.zero_grad()
        loss = loss_fn(network(inputs)[:, 0], targets)
        loss.backward()
        optimizer.step()
        taken += 1
        return loss.item()

    return lambda count: np.array([take_one() for _ in range(count)], np.float32)


def rate(steps: Steps, at_once: int) -> float:
    """Steps a second over a turn of `TURN_S`."""
    begun, taken = time.perf_counter(), 0
    while time.perf_counter() - begun < TURN_S:
        steps(at_once)
        taken += at_once
    return taken / (time.perf_counter() - begun)


def run() -> list[Figure]:
    chunk = 10_000
    ours = "JAX, compiled loop"
    rivals = {ours: (jax_steps(chunk), chunk), "NumPy by hand": (numpy_steps(), 50)}
    if torch is not None:
        rivals["PyTorch, eager"] = torch_steps(), 50
    losses = {name: steps(CHECKED) for name, (steps, _) in rivals.items()}
    apart = {name: float(np.abs(loss - losses[ours]).max()) for name, loss in losses.items()}
    figures = [
        Figure(
            f"{name}: loss at step 1 and {CHECKED}; furthest from JAX's", f"{loss[0]:.4f}, {loss[-1]:.4f}; {apart[name]:.2g}",
            f"at most {LOSS_TOLERANCE:g} apart", apart[name] <= LOSS_TOLERANCE,
        )
        for name, loss in losses.items()
    ]  # fmt: skip
    for steps, at_once in rivals.values():
        steps(at_once)  # warm
    rates: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(ROUNDS):
        for name, (steps, at_once) in rivals.items():
            rates[name].append(rate(steps, at_once))
    figures += [Figure(f"{name}: steps/s, median", f"{median(found):,.0f}") for name, found in rates.items()]
    for name, found in rates.items():
        if name != ours:
            ratio = median(mine / theirs for mine, theirs in zip(rates[ours], found, strict=True))
            what = f"{ours} / {name}, median of the rounds"
            figures.append(at_least(what, ratio, 30) if name.startswith("PyTorch") else Figure(what, f"{ratio:.3g}"))
    if torch is None:
        figures.append(Figure("PyTorch, eager", "left out: PyTorch is not installed"))
    return figures
