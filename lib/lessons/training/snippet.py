"""The code of the lesson, to take away."""

from __future__ import annotations

from lib.lessons.training.routine import loss_fn, train_step
from lib.routines import datasets
from lib.routines.networks import Network, forward
from lib.routines.snippets import source

STEPS = 300

_ACTIVATIONS = {"tanh": "jnp.tanh", "relu": "jax.nn.relu", "sigmoid": "jax.nn.sigmoid", "gelu": "jax.nn.gelu"}
_OPTIMIZERS = {"SGD": "optax.identity()", "momentum": "optax.trace(decay=0.9)", "Adam": "optax.scale_by_adam()"}
_LOSSES = {
    0: "(preds[0] - target) ** 2",
    2: "optax.sigmoid_binary_cross_entropy(preds[0], target)",
}
_OF_SEVERAL = "optax.softmax_cross_entropy_with_integer_labels(preds, target)"


def _init(network: Network) -> str:
    gain = 2 if network.activation in ("relu", "gelu") else 1
    scale = f"jnp.sqrt({gain} / fan_in)"
    normal = "jax.random.normal(subkey, (fan_in, fan_out))"
    weights = {"zeros": "jnp.zeros((fan_in, fan_out))", "large": f"10 * {scale} * {normal}"}
    biases = "jnp.full(fan_out, -5.0)" if network.initialisation == "negative biases" else "jnp.zeros(fan_out)"
    last = ['    params[-1]["b"] = jnp.zeros(sizes[-1])'] if network.initialisation == "negative biases" else []
    return "\n".join(
        [
            "def init_params(key, sizes):",
            "    params = []",
            "    keys = jax.random.split(key, len(sizes) - 1)",
            "    for subkey, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:]):",
            f"        w = {weights.get(network.initialisation, f'{scale} * {normal}')}",
            f'        params.append({{"w": w, "b": {biases}}})',
            *last,
            "    return params",
        ]
    )


def _forward(network: Network) -> str:
    code = source(forward).replace("ACTIVATIONS[activation]", _ACTIVATIONS[network.activation])
    return code.replace(", activation)", ")")


def _loss(classes: int) -> str:
    of_batch = (
        source(loss_fn)
        .replace("(params, batch, activation, classes)", "(params, batch)")
        .replace("batched_forward(params, inputs, activation)", "jax.vmap(forward, in_axes=(None, 0))(params, inputs)")
        .replace("jax.vmap(example_loss, in_axes=(0, 0, None))(preds, targets, classes)", "jax.vmap(loss)(preds, targets)")
    )  # fmt: skip
    return f"def loss(preds, target):\n    return {_LOSSES.get(classes, _OF_SEVERAL)}\n\n\n{of_batch}"


def _step() -> str:
    code = source(train_step).replace(", optimizer, activation, classes)", ")")
    return code.replace("(params, batch, activation, classes)", "(params, batch)")


def functions(network: Network, classes: int, optimizer: str) -> str:
    """The functions of the training, without what they are called with."""
    parts = [_init(network), _forward(network), _loss(classes)]
    return "\n\n\n".join([*parts, f"optimizer = {_OPTIMIZERS[optimizer]}", f"@jax.jit\n{_step()}"])


def _data(name: str, features: int, classes: int) -> tuple[list[str], str]:
    """Lines that make inputs and targets, and a function that they need."""
    if name in datasets.PLANE:
        pattern, noise = datasets.PLANE[name]
        called = pattern.__name__.lstrip("_")
        blur = [f"inputs = inputs + {noise:g} * rng.normal(size=inputs.shape)"] if noise else []
        return [f"inputs, targets = {called}(rng, 1000)", *blur], source(pattern).replace("def _", "def ", 1)
    if name == "regression":
        return [
            "inputs = rng.uniform(-1, 1, (130, 1))",
            "targets = np.sin(4 * inputs[:, 0]) + 0.1 * rng.normal(size=len(inputs))",
        ], ""
    if name == "digits":
        return ["inputs, targets = load_digits(return_X_y=True)", "inputs = inputs / 16"], ""
    targets = f"rng.integers({classes}, size=1000)" if classes else "inputs.sum(axis=1)"
    return ["# Put your own data here.", f"inputs = rng.normal(size=(1000, {features}))", f"targets = {targets}"], ""


def snippet(
    data: str, network: Network, classes: int, optimizer: str, batch_size: int, learning_rate: float, seed: int = 0
) -> str:
    """A whole training.

    Args:
        data: one of `datasets.NAMES`; else the shapes are filled with random numbers.
    """
    lines, pattern = _data(data, network.features, classes)
    whole = "np.int32" if classes > 2 else "np.float32"
    imports = ["import jax", "import jax.numpy as jnp", "import numpy as np", "import optax"]
    if data == "digits":
        imports.append("from sklearn.datasets import load_digits")
    return "\n".join(
        [
            *imports,
            "\n",
            *([pattern, "\n"] if pattern else []),
            functions(network, classes, optimizer),
            "\n",
            f"rng = np.random.default_rng({seed})",
            *lines,
            f"inputs, targets = inputs.astype(np.float32), targets.astype({whole})",
            f"params = init_params(jax.random.key({seed}), {network.sizes})",
            "opt_state = optimizer.init(params)",
            'print("loss before:", loss_fn(params, (inputs, targets)))',
            f"for step in range({STEPS}):",
            f"    rows = rng.integers(len(inputs), size={batch_size})",
            "    batch = inputs[rows], targets[rows]",
            f"    params, opt_state, _ = train_step(params, opt_state, batch, {learning_rate:g})",
            'print("loss after:", loss_fn(params, (inputs, targets)))',
        ]
    )


def line(optimizer: str) -> str:
    """What the live run calls: a loop over steps, all of it compiled."""
    loop = "jax.jit(lambda n, s: lax.fori_loop(0, n, lambda _, s: step(s), s))"
    return f"{loop}  # step: {optimizer} on grad(mean(vmap(loss)))"


def examples() -> dict[str, str]:
    """The code for some settings."""
    return {
        "circles": snippet("circles", Network(2, 1), 2, "Adam", 32, 0.03),
        "curve": snippet("regression", Network(1, 1, 1, 10, "relu"), 0, "momentum", 32, 0.01),
        "digits": snippet("digits", Network(64, 10, 1, 64, "relu", "large"), 10, "SGD", 64, 0.03),
        "own": snippet("", Network(3, 4, 0), 4, "SGD", 8, 0.1),
    }
