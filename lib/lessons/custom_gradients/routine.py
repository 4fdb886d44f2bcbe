"""Functions whose automatic derivative fails, each beside one that says what its derivative is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from jaxtyping import Array

from lib.lessons.custom_gradients.fixed_points import kepler_implicit, kepler_step, kepler_unrolled, solver, unrolled
from lib.routines.problem import Made

GRID = 241
TOLERANCE = 0.01
"""Of `check_grads`, relative and absolute: central differences in float32 are no better."""

# The sigmoid


def sigmoid_naive(x):
    """Its value is right everywhere.

    Where exp(-x) is infinite, its derivative is 0 * inf.
    """
    return 1 / (1 + jnp.exp(-x))


@jax.custom_jvp
def sigmoid(x):
    """The same body: its value needs no change."""
    return 1 / (1 + jnp.exp(-x))


@sigmoid.defjvp
def sigmoid_jvp(primals, tangents):
    """The derivative by a formula.

    `x_dot` is the tangent of x, the second result that of y.
    """
    (x,), (x_dot,) = primals, tangents
    y = sigmoid(x)
    return y, y * (1 - y) * x_dot


# log(1 + exp(x))


def log1pexp_naive(x):
    """Right, until `exp` overflows at x = 88.7.

    Then it is infinite, and its derivative inf * 0.
    """
    return jnp.log(1 + jnp.exp(x))


@jax.custom_jvp
def log1pexp(x):
    """The same number without an overflow."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@log1pexp.defjvp
def log1pexp_jvp(primals, tangents):
    """The derivative by a formula: the sigmoid.

    Without it, the kinks of max and abs at x = 0 would
    make the derivative there 0 instead of 1/2.
    """
    (x,), (x_dot,) = primals, tangents
    return log1pexp(x), jax.nn.sigmoid(x) * x_dot


# where


def xlogx_naive(x):
    """Right as a number, and NaN as a derivative.

    In reverse mode a 0 goes into the branch not taken,
    and 0 * NaN is NaN.
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
    """The identity, whose cotangent is clipped."""

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


def clipped_power(x):
    """The same value; the cotangent of x**4 is clipped.

    It is the derivative 4 * x**3, and becomes at most 1.
    """
    return power(gradient_clipper(limit=1.0)(x))


# Rounding


def rounded(x):
    """Flat between its steps: the derivative is 0."""
    return jnp.round(x)


@jax.custom_jvp
def straight_through(x):
    """The value is rounded."""
    return jnp.round(x)


@straight_through.defjvp
def straight_through_jvp(primals, tangents):
    """The derivative is that of the identity."""
    (x,), (x_dot,) = primals, tangents
    return straight_through(x), x_dot


# The pairs, and what is learnt through them. A training applies the function of a pair to arguments made of parameters
# and a batch, and takes the sum of the examples' losses, not the mean: so what comes back to each example's function
# does not depend on the batch size.

Batch = tuple[Array, ...]


def unit_arguments(theta, inputs, targets):
    """One unit with the function as its activation."""
    return (theta[0] * inputs[:, 0] + theta[1],)


def classifier_arguments(theta, inputs, labels):
    """How wrong a linear classifier is; the labels are -1 and 1."""
    return (-labels * (inputs @ theta),)


def residual_arguments(theta, inputs, targets):
    """What a linear model misses the targets by."""
    return (inputs @ theta - targets,)


def weight_arguments(theta, inputs, targets):
    """The weights themselves."""
    return (theta,)


def orbit_arguments(theta, times, places):
    """The eccentricity, for each of the times."""
    eccentricity = jnp.clip(theta[0], 0.0, 0.99)
    return jnp.broadcast_to(eccentricity, len(times)), times[:, 0]


def squared_errors(values, inputs, targets):
    return ((values - targets) ** 2).sum()


def sum_of_values(values, inputs, targets):
    return values.sum()


def squared_errors_of_weights(weights, inputs, targets):
    return ((inputs @ weights - targets) ** 2).sum()


@dataclass(frozen=True)
class Pair:
    """A naive function and a mended one, and a training for both.

    Attributes:
        sources: what to show of the naive, and of the mended.
        domain: of x in the charts.
        points: where the derivatives are checked; the first is where the naive one fails.
        arguments: `(theta, inputs, targets)` to what the function is applied to, one after the other.
        loss: `(values, inputs, targets)` to the sum of the losses, from what the function gives.
        spread: of the inputs, normal; 0 for inputs evenly in (0, pi).
        start, truth: parameters to begin with, and those that the data come from.
        why: what is wrong with the naive derivative, and where.
        fails: what becomes of the naive one in the training.
        exact: whether the mended one has the derivative of its function, or another on purpose.
    """

    formula: str
    naive: Callable[..., Any]
    mended: Callable[..., Any]
    sources: tuple[tuple[Callable[..., Any], ...], tuple[Callable[..., Any], ...]]
    domain: tuple[float, float]
    points: tuple[float, ...]
    arguments: Callable[..., tuple[Array, ...]]
    loss: Callable[..., Array]
    spread: float
    start: tuple[float, ...]
    truth: tuple[float, ...]
    why: str
    fails: str
    exact: bool = True


PAIRS: dict[str, Pair] = {
    "sigmoid: a right value, a derivative of NaN": Pair(
        r"f(x) = \frac{1}{1 + e^{-x}}", sigmoid_naive, sigmoid,
        ((sigmoid_naive,), (sigmoid, sigmoid_jvp)), (-100.0, 20.0), (-90.0, -60.0, 0.5),
        unit_arguments, squared_errors, 10.0, (0.3, 0.0), (-0.3, 0.0),
        "Below -88.7 `exp(-x)` is infinite. 1 / inf is 0, which is right; the derivative multiplies 0 by inf, which is NaN. "
        "From -88.7 to -44.4 it is 0 instead of a tiny number: `(1 + exp(-x))**2` has overflowed.",
        "One input is missing and was written as -999. Its NaN gets into the sum over the batch, and then into the parameters.",
    ),
    "log(1 + exp(x)): an overflow": Pair(
        r"f(x) = \log(1 + e^x)", log1pexp_naive, log1pexp,
        ((log1pexp_naive,), (log1pexp, log1pexp_jvp)), (-120.0, 120.0), (100.0, 88.0, 0.0, -3.0),
        classifier_arguments, sum_of_values, 10.0, (10.0, 10.0), (-1.0, 0.5),
        "The derivative is `exp(x) * (1 / (1 + exp(x)))`. From 88.7 on `exp(x)` is infinite, and inf * 0 is NaN. From 87.3 to "
        "88.7 it is 0 instead of 1 on a CPU, which makes 0 of a reciprocal below 1.2e-38, the smallest normal float32.",
        "Inputs that nobody has scaled give arguments of 100 and more: the value is infinite, the gradient NaN.",
    ),
    "where: NaN in the branch not taken": Pair(
        r"f(x) = x \log x \text{ for } x > 0,\ 0 \text{ otherwise}", xlogx_naive, xlogx,
        ((xlogx_naive,), (xlogx,)), (-1.0, 2.1), (-0.5, 0.5, 1.5),
        unit_arguments, squared_errors, 1.0, (1.0, 0.0), (1.5, 0.3),
        "In reverse mode a 0 goes into the branch not taken and is multiplied by `log(x)`: NaN below 0, -inf at 0. 0 * NaN and "
        "0 * inf are NaN. No rule is needed, only a safe argument.",
        "One example with x ≤ 0 in the batch makes the sum of the gradients NaN.",
    ),
    "clipping what comes back": Pair(
        "f(x) = x^4", power, clipped_power,
        ((power,), (gradient_clipper, clipped_power)), (-2.0, 2.0), (1.5, 0.5, 0.3),
        residual_arguments, sum_of_values, 1.0, (0.0, 0.0, 0.0), (3.0, -4.0, 2.0),
        "Far from 0 the derivative 4x³ is large. The rule clips it to the range from -1 to 1.",
        "Residuals of 5 have a derivative of 500: each step overshoots farther than the one before.", False,
    ),
    "rounding, straight through": Pair(
        r"f(x) = \mathrm{round}(x)", rounded, straight_through,
        ((rounded,), (straight_through, straight_through_jvp)), (-3.4, 3.4), (1.7, 0.3, -1.2),
        weight_arguments, squared_errors_of_weights, 1.0, (0.2, 0.2, 0.2), (2.0, -3.0, 1.0),
        "The function is flat between its steps, so the derivative is 0. The rule takes the derivative of the identity.",
        "No error and no NaN: every gradient is 0, and the loss stays where it is.", False,
    ),
    "a fixed point: unrolled, implicit": Pair(
        r"E = M + x \sin E \text{ at } M = 0.1", kepler_unrolled, kepler_implicit,
        ((kepler_step, unrolled, kepler_unrolled), (kepler_step, solver, kepler_implicit)), (0.0, 0.95), (0.9, 0.5, 0.2),
        orbit_arguments, squared_errors, 0.0, (0.3,), (0.9,),
        "Both give the same value and the same derivative. Unrolled, reverse mode stores all 100 iterations; implicit, it "
        "stores the fixed point alone.",
        "Nothing fails: both learn the same orbit. They differ in memory: see the panel Fixed point.",
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
        check_grads(fun, (jnp.float32(x),), order=1, modes=["rev"], eps=1e-2, rtol=TOLERANCE, atol=TOLERANCE)
    except AssertionError:
        return False
    return True


def gradient(name: str, version: str) -> Made:
    """The gradient of one function of a pair, and the first of its points."""
    pair = PAIRS[name]
    return jax.grad(pair.naive if version == "naive" else pair.mended), (np.float32(pair.points[0]),)
