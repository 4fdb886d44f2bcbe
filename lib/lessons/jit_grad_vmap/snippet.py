"""The code of the lesson, to take away."""

from __future__ import annotations

from lib.lessons.jit_grad_vmap.routine import EXAMPLES, LOSSES, NOISE, TRUE_WEIGHTS, Reduction, loss
from lib.routines.snippets import source


def snippet(batch_size: int, reduction: Reduction, learning_rate: float, seed: int) -> str:
    """The gradient of a batch, and steps of SGD with it."""
    reduced = LOSSES[reduction]
    count = " / len(y)" if reduction == "mean" else ""
    return "\n".join(
        [
            "import jax",
            "import jax.numpy as jnp",
            "import numpy as np",
            "\n",
            source(loss, reduced),
            "\n",
            f"gradient = jax.jit(jax.grad({reduced.__name__}))",
            "",
            f"rng = np.random.default_rng({seed})",
            f"X = rng.normal(size=({EXAMPLES}, {len(TRUE_WEIGHTS)})).astype(np.float32)",
            f"true_w = np.array({[float(w) for w in TRUE_WEIGHTS]}, np.float32)",
            f"y = (X @ true_w + {NOISE} * rng.normal(size=len(X))).astype(np.float32)",
            "",
            "w = jnp.zeros(len(true_w))",
            f"print(gradient(w, X[:{batch_size}], y[:{batch_size}]))",
            f"for start in range(0, len(X), {batch_size}):",
            f"    batch = X[start : start + {batch_size}], y[start : start + {batch_size}]",
            f"    w = w - {learning_rate:g} * gradient(w, *batch)",
            "print(w)",
            f"print(2 * X.T @ (X @ w - y){count})  # the closed form, on all examples",
            "print(gradient(w, X, y))",
        ]
    )


def line(reduction: Reduction) -> str:
    """What the live run calls at each step."""
    return f"jax.jit(jax.grad(lambda w, X, y: jnp.{reduction}(jax.vmap(loss, in_axes=(None, 0, 0))(w, X, y))))"


def examples() -> dict[str, str]:
    """The code for some settings."""
    return {"mean": snippet(32, "mean", 0.03, 0), "sum": snippet(256, "sum", 0.0003, 1)}
