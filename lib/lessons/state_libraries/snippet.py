"""The start with each library, to take away: make, choose an optimizer, step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lib.lessons.state_libraries.routine import LIBRARIES, PLAIN, load
from lib.routines.snippets import source

STEPS = 200


class Start(NamedTuple):
    """What is written around the functions of a library's module.

    Attributes:
        imports: its first lines.
        functions: of the module, in their order; `between` stands before the last, the step.
        setup: what makes the state, and `call` the step; `RATE` stands for the learning rate.
    """

    imports: str
    functions: tuple[str, ...]
    between: str
    setup: str
    call: str


OPTAX = "optimizer = optax.adam(RATE)\n\n\n"
STARTS: dict[str, Start] = {
    PLAIN: Start(
        "import jax\nimport jax.numpy as jnp\nimport optax", ("init_params", "predict", "loss_fn", "train_step"), OPTAX,
        "params = init_params((2, 16, 16, 1), params_key)\nopt_state = optimizer.init(params)",
        "params, opt_state, loss = train_step(params, opt_state, x, y)",
    ),
    "Flax NNX": Start(
        "import jax\nimport jax.numpy as jnp\nimport optax\nfrom flax import nnx", ("MLP", "loss_fn", "train_step"), "",
        "model = MLP(nnx.Rngs(params_key))\noptimizer = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param)",
        "loss = train_step(model, optimizer, x, y)",
    ),
    "Flax Linen": Start(
        "import jax\nimport jax.numpy as jnp\nimport optax\nfrom flax import linen as nn\n"
        "from flax.training.train_state import TrainState",
        ("MLP", "loss_fn", "train_step"), "",
        'params = model.init(params_key, x)["params"]\n'
        "state = TrainState.create(\n    apply_fn=model.apply, params=params, tx=optax.adam(RATE)\n)",
        "state, loss = train_step(state, x, y)",
    ),
    "Equinox": Start(
        "import equinox as eqx\nimport jax\nimport jax.numpy as jnp\nimport optax", ("MLP", "loss_fn", "train_step"), OPTAX,
        "model = MLP(params_key)\nopt_state = optimizer.init(eqx.filter(model, eqx.is_array))",
        "model, opt_state, loss = train_step(model, opt_state, x, y)",
    ),
    "Haiku": Start(
        "import haiku as hk\nimport jax\nimport jax.numpy as jnp\nimport optax", ("forward", "loss_fn", "train_step"), OPTAX,
        "params = network.init(params_key, x)\nopt_state = optimizer.init(params)",
        "params, opt_state, loss = train_step(params, opt_state, x, y)",
    ),
}  # fmt: skip
AFTER: dict[tuple[str, str], str] = {
    ("Flax Linen", "MLP"): "model = MLP()",
    ("Haiku", "forward"): "network = hk.without_apply_rng(hk.transform(forward))",
}
"""What follows a function: it makes of it what the next ones use."""


def setup(name: str, batch_size: int, learning_rate: float, seed: int) -> str:
    """Everything up to the first step."""
    start, library = STARTS[name], load(name)
    parts = [start.imports]
    for function in start.functions:
        before = start.between if function == "train_step" else ""
        parts.append(before + source(getattr(library, function)))
        if (name, function) in AFTER:
            parts.append(AFTER[name, function])
    made = f"""data_key, params_key = jax.random.split(jax.random.key({seed}))
x = jax.random.normal(data_key, ({batch_size}, 2))
y = (x[:, 0] * x[:, 1] > 0).astype(jnp.float32)  # two classes
{start.setup}"""
    return "\n\n\n".join([*parts, made]).replace("RATE", repr(learning_rate))


def snippet(name: str, batch_size: int, learning_rate: float, seed: int) -> str:
    """A whole training with a library."""
    return f"""{setup(name, batch_size, learning_rate, seed)}
for step in range({STEPS + 1}):
    {STARTS[name].call}
    if step % {STEPS // 4} == 0:
        print(f"step {{step:3}}  loss {{loss:.4f}}")"""


def step_shown(name: str, batch_size: int, learning_rate: float, seed: int) -> tuple[Callable[..., Any], tuple]:
    """The step of the snippet, not jitted, and what it is called with, for its stages."""
    made: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(setup(name, batch_size, learning_rate, seed), "snippet.py", "exec"), made)
    step = made["train_step"].__wrapped__
    if name == "Flax NNX":
        nnx = made["nnx"]
        structure, arrays = nnx.split((made["model"], made["optimizer"]))

        def train_step(arrays: Any, x: Any, y: Any) -> Any:
            objects = nnx.merge(structure, arrays)
            loss = step(*objects, x, y)
            return nnx.state(objects), loss

        return train_step, (arrays, made["x"], made["y"])
    arguments = STARTS[name].call.partition("(")[2].rstrip(")").split(", ")
    return step, tuple(made[argument] for argument in arguments)


def examples() -> dict[str, str]:
    """The code of each library, and of one with other settings."""
    return {name: snippet(name, 32, 0.03, 0) for name in LIBRARIES} | {"other settings": snippet(PLAIN, 8, 0.003, 7)}
