"""Functions whose automatic derivative fails, each beside one that says what its derivative is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
from jaxtyping import Array

from lib.lessons.custom_gradients.fixed_points import kepler_implicit, kepler_step, kepler_unrolled, solver, unrolled

GRID = 241

# log(1 + exp(x))


def log1pexp_naive(x):
    """Right, until `exp` overflows at x = 88.7.

    Then it is infinite, and its derivative inf / inf.
    """
    return jnp.log(1 + jnp.exp(x))


@jax.custom_jvp
def log1pexp(x):
    """The same number without an overflow."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@log1pexp.defjvp
def log1pexp_jvp(primals, tangents):
    """The derivative by a formula: the sigmoid.

    `x_dot` is what x moves by.
    """
    (x,), (x_dot,) = primals, tangents
    return log1pexp(x), jax.nn.sigmoid(x) * x_dot


# where


def xlogx_naive(x):
    """Right as a number, and NaN as a derivative.

    Backwards a 0 goes into the branch not taken, and
    0 * NaN is NaN.
    """
    return jnp.where(x > 0, x * jnp.log(x), 0.0)


def xlogx(x):
    """Twice `where`: the branch not taken works on a 1.

    So it stays finite, and its derivative too.
    """
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, safe * jnp.log(safe), 0.0)


# Clipping


def power(x):
    """Steep: a step down from far out lands farther out."""
    return x**4


def gradient_clipper(limit):
    """The identity, but for what comes back through it."""

    @jax.custom_vjp
    def clip_gradient(x):
        return x

    def forward(x):
        return x, None  # the result, and what to keep

    def backward(_, cotangent):
        # A tuple: one for each argument.
        return (jnp.clip(cotangent, -limit, limit),)

    clip_gradient.defvjp(forward, backward)
    return clip_gradient


clip_gradient = gradient_clipper(limit=1.0)


def clipped_power(x):
    """The same number, but at most ±1 comes back."""
    return power(clip_gradient(x))


# Rounding


def rounded(x):
    """Flat between its steps: the derivative is 0."""
    return jnp.round(x)


@jax.custom_jvp
def straight_through(x):
    """Rounds on the way there."""
    return jnp.round(x)


@straight_through.defjvp
def straight_through_jvp(primals, tangents):
    """On the way back, as if it had done nothing."""
    (x,), (x_dot,) = primals, tangents
    return straight_through(x), x_dot


# The pairs, and what is learnt through them. A loss takes the function, parameters and a batch, and is the sum of the
# examples' losses, not the mean: so what comes back to each example's function does not depend on the batch size.

Batch = tuple[Array, ...]
Loss = Callable[[Callable, Array, Batch], Array]


def classifier_loss(fun, theta, batch):
    """Logistic loss of a linear classifier; the labels are -1 and 1."""
    inputs, labels = batch
    return jax.vmap(fun)(-labels * (inputs @ theta)).sum()


def activation_loss(fun, theta, batch):
    """Squared error of one unit with `fun` as its activation."""
    inputs, targets = batch
    return ((jax.vmap(fun)(theta[0] * inputs[:, 0] + theta[1]) - targets) ** 2).sum()


def residual_loss(fun, theta, batch):
    """A linear model whose residuals go through `fun`."""
    inputs, targets = batch
    return jax.vmap(fun)(inputs @ theta - targets).sum()


def quantised_loss(fun, theta, batch):
    """Squared error of a linear model with whole-numbered weights."""
    inputs, targets = batch
    return ((inputs @ fun(theta) - targets) ** 2).sum()


def orbit_loss(fun, theta, batch):
    """Squared error of places on an orbit of unknown eccentricity."""
    anomalies, targets = batch
    eccentricity = jnp.clip(theta[0], 0.0, 0.99)
    return ((jax.vmap(fun, in_axes=(None, 0))(eccentricity, anomalies[:, 0]) - targets) ** 2).sum()


@dataclass(frozen=True)
class Pair:
    """A naive function and a mended one, and a training for both.

    Attributes:
        sources: what to show of the naive, and of the mended.
        domain: of x in the charts.
        points: where the derivatives are checked.
        spread: of the inputs, normal; 0 for inputs evenly in (0, pi).
        start, truth: parameters to begin with, and those that the data come from.
        fails: what becomes of the naive one, in a sentence.
        exact: whether the mended one has the derivative of its function, or another on purpose.
    """

    formula: str
    naive: Callable[..., Any]
    mended: Callable[..., Any]
    sources: tuple[tuple[Callable[..., Any], ...], tuple[Callable[..., Any], ...]]
    domain: tuple[float, float]
    points: tuple[float, ...]
    loss: Loss
    spread: float
    start: tuple[float, ...]
    truth: tuple[float, ...]
    fails: str
    exact: bool = True


PAIRS: dict[str, Pair] = {
    "log(1 + exp(x)), which overflows": Pair(
        r"f(x) = \log(1 + e^x)", log1pexp_naive, log1pexp,
        ((log1pexp_naive,), (log1pexp, log1pexp_jvp)), (-120.0, 120.0), (-3.0, 0.5, 100.0),
        classifier_loss, 10.0, (10.0, 10.0), (-1.0, 0.5),
        "Inputs that nobody has scaled make logits of 100 and more: the first step or one of the next is NaN.",
    ),
    "where, with NaN in the branch not taken": Pair(
        r"f(x) = x \log x \text{ for } x > 0,\ 0 \text{ otherwise}", xlogx_naive, xlogx,
        ((xlogx_naive,), (xlogx,)), (-1.0, 2.1), (-0.5, 0.5, 1.5),
        activation_loss, 1.0, (1.0, 0.0), (1.5, 0.3),
        "One example with x ≤ 0 in the batch, and its NaN is in the sum: the parameters are NaN after that step.",
    ),
    "clipping the gradient on the way back": Pair(
        "f(x) = x^4", power, clipped_power,
        ((power,), (gradient_clipper, clipped_power)), (-2.0, 2.0), (0.3, 0.5, 1.5),
        residual_loss, 1.0, (0.0, 0.0, 0.0), (3.0, -4.0, 2.0),
        "Residuals of 5 have a derivative of 500: at learning rate 0.03 each step overshoots farther than the one "
        "before. A rate that is low enough for the start is too low for the rest.", False,
    ),
    "straight through a rounding": Pair(
        r"f(x) = \mathrm{round}(x)", rounded, straight_through,
        ((rounded,), (straight_through, straight_through_jvp)), (-2.4, 2.4), (-1.2, 0.3, 1.7),
        quantised_loss, 1.0, (0.2, 0.2, 0.2), (2.0, -3.0, 1.0),
        "No error and no NaN: every gradient is 0, and the loss stays where it is.", False,
    ),
    "a fixed point, differentiated implicitly": Pair(
        r"E = M + x \sin E \text{ at } M = 0.1", kepler_unrolled, kepler_implicit,
        ((kepler_step, unrolled, kepler_unrolled), (solver, kepler_implicit)), (0.0, 0.95), (0.2, 0.5, 0.9),
        orbit_loss, 0.0, (0.3,), (0.9,),
        "Eight iterations, unrolled, are not at the fixed point yet: the derivative is that of the eight, and so is the "
        "eccentricity that is found.",
    ),
}  # fmt: skip
VERSIONS = ("naive", "mended")


def curves(name: str) -> dict[str, Any]:
    """Both functions of a pair and their derivatives at `GRID` points of its domain, as float32[GRID] each."""
    pair = PAIRS[name]
    x = jnp.linspace(*pair.domain, GRID)
    found = {"x": x}
    for version, fun in zip(VERSIONS, (pair.naive, pair.mended), strict=True):
        found[f"f {version}"] = jax.vmap(fun)(x)
        found[f"df {version}"] = jax.vmap(jax.grad(fun))(x)
    return found


def check_report(name: str) -> list[dict[str, str]]:
    """What `jax.test_util.check_grads`, which takes central differences, says at each of the points of a pair."""
    pair = PAIRS[name]
    rows = []
    for x in pair.points:
        row = {"x": f"{x:g}"}
        for version, fun in zip(VERSIONS, (pair.naive, pair.mended), strict=True):
            row[f"grad {version}"] = f"{float(jax.grad(fun)(x)):.5g}"
            row[version] = "agrees" if agrees(fun, x) else "refused"
        rows.append(row)
    return rows


def agrees(fun, x: float) -> bool:
    """Whether the gradient of a function passes `check_grads` at a point."""
    try:
        check_grads(fun, (jnp.float32(x),), order=1, modes=["rev"], eps=1e-2, rtol=1e-2, atol=1e-2)
    except AssertionError:
        return False
    return True
