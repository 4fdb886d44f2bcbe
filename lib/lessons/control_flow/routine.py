"""Branches and loops inside a program, each beside the Python that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array


def safe_sqrt_python(x):
    if x > 0:
        return jnp.sqrt(x)
    return 0.0 * x


def safe_sqrt_cond(x):
    return lax.cond(x > 0, jnp.sqrt, lambda x: 0.0 * x, x)


def activation_python(place, x):
    return (jnp.tanh, jax.nn.relu, jnp.sin)[place](x)


def activation_switch(place, x):
    return lax.switch(place, (jnp.tanh, jax.nn.relu, jnp.sin), x)


def running_mean_python(xs):
    mean, means = 0.0, []
    for x in xs:
        mean = 0.9 * mean + 0.1 * x
        means.append(mean)
    return jnp.stack(means)


def running_mean_scan(xs):
    def body(mean, x):
        mean = 0.9 * mean + 0.1 * x
        return mean, mean  # carried on, and kept

    return lax.scan(body, 0.0, xs)[1]


def newton_python(a):
    x = a
    while abs(x * x - a) > 1e-5 * a:
        x = 0.5 * (x + a / x)
    return x


def newton_while(a):
    def cond_fun(x):
        return abs(x * x - a) > 1e-5 * a

    def body_fun(x):
        return 0.5 * (x + a / x)

    return lax.while_loop(cond_fun, body_fun, a)


def compound_python(num_years, rate):
    money = 1.0
    for _ in range(num_years):
        money = money * (1 + rate)
    return money


def compound_fori(num_years, rate):
    return lax.fori_loop(0, num_years, lambda i, money: money * (1 + rate), 1.0)


class Replacement(NamedTuple):
    """The same in Python and in the program.

    Attributes:
        args: to call both with.
        raises: what `jit` of the Python raises; nothing if it compiles.
        about: what `jit` makes of the Python, and what to write instead.
    """

    python: Callable[..., Any]
    lax: Callable[..., Any]
    args: tuple[Any, ...]
    raises: tuple[type[Exception], ...]
    about: str


BOOL, INTEGER = jax.errors.TracerBoolConversionError, jax.errors.TracerIntegerConversionError
REPLACEMENTS: dict[str, Replacement] = {
    "cond": Replacement(
        safe_sqrt_python, safe_sqrt_cond, (np.float32(2.0),), (BOOL,),
        "`if` needs True or False while JAX traces, and a tracer has no value. `cond` puts both branches into the program, "
        "which takes one of them when it runs. Both must give the same shapes and dtypes.",
    ),
    "switch": Replacement(
        activation_python, activation_switch, (np.int32(2), np.float32(0.5)), (INTEGER,),
        "An index into a tuple must be a number while JAX traces, and a tracer has no value. `switch` takes functions and "
        "a traced index; an index out of range is clamped.",
    ),
    "while_loop": Replacement(
        newton_python, newton_while, (np.float32(2.0),), (BOOL,),
        "The number of turns depends on values, which a tracer does not have. `while_loop` tests its condition inside the "
        "program. The carry must keep its shape and dtype.",
    ),
    "fori_loop": Replacement(
        compound_python, compound_fori, (np.int32(10), np.float32(0.05)), (INTEGER,),
        "`range` needs a number while JAX traces. A static bound would unroll the loop, and another bound would compile "
        "another program. `fori_loop` takes a traced bound.",
    ),
    "scan": Replacement(
        running_mean_python, running_mean_scan, (np.arange(50, dtype=np.float32),), (),
        "The length of an array is known while JAX traces, so this loop compiles: unrolled, with a copy of the body for "
        "each element. `scan` keeps one copy, carries a value from turn to turn and stacks the results.",
    ),
}  # fmt: skip


class PairReport(NamedTuple):
    """What became of a pair: `jit` of the Python gives either an `error` and its `text`, or a value."""

    python: Any
    jit_python: Any
    error: str
    text: str
    lax: Any
    equations: tuple[int | None, int]
    """Of the Python, if it can be traced, and of the other, inner ones included."""


def pair_report(name: str) -> PairReport:
    """Runs a pair of `REPLACEMENTS`: the Python as it is, `jit` of it, and `jit` of what replaces it."""
    pair = REPLACEMENTS[name]
    error = text = ""
    value = None
    try:
        value = jax.jit(pair.python)(*pair.args)
    except pair.raises as refused:
        error, text = type(refused).__name__, str(refused).partition("The error occurred while")[0].strip()
    args = tuple(jnp.asarray(arg) for arg in pair.args)
    counted = None if error else _equations(jax.make_jaxpr(pair.python)(*args))
    rolled = _equations(jax.make_jaxpr(pair.lax)(*args))
    return PairReport(pair.python(*pair.args), value, error, text, jax.jit(pair.lax)(*pair.args), (counted, rolled))


def _equations(closed: Any) -> int:
    return sum(1 + sum(map(_equations, _inner(equation))) for equation in getattr(closed, "jaxpr", closed).eqns)


def _inner(equation: Any) -> list[Any]:
    values = [part for value in equation.params.values() for part in (value if isinstance(value, tuple) else (value,))]
    return [part for part in values if hasattr(getattr(part, "jaxpr", part), "eqns")]


# What can be differentiated.


def power_scan(x):
    return lax.scan(lambda c, _: (c * x, None), 1.0, None, length=3)[0]


def power_fori(x):
    return lax.fori_loop(0, 3, lambda i, c: c * x, 1.0)


def power_fori_traced(x):
    @jax.jit
    def power(x, n):
        return lax.fori_loop(0, n, lambda i, c: c * x, 1.0)

    return power(x, 3)


def power_while(x):
    def body(carry):
        i, c = carry
        return i + 1, c * x

    return lax.while_loop(lambda carry: carry[0] < 3, body, (0, 1.0))[1]


def power_cond(x):
    return lax.cond(x > 0, lambda x: x**3, lambda x: -(x**3), x)


def power_switch(x):
    return lax.switch(1, [lambda x: x, lambda x: x**3], x)


DIFFERENTIABLE: dict[str, Callable[..., Any]] = {
    "cond": power_cond,
    "switch": power_switch,
    "scan": power_scan,
    "fori_loop, bounds known": power_fori,
    "fori_loop, bound traced": power_fori_traced,
    "while_loop": power_while,
}
"""x cubed at 2 in six ways: the derivative is 12."""
MODES: dict[str, Callable[..., Any]] = {"jacfwd": jax.jacfwd, "jacrev": jax.jacrev}


def differentiation_report() -> dict[str, dict[str, str]]:
    """The derivative of each of `DIFFERENTIABLE` at 2 in each of `MODES`, or the exception."""
    report: dict[str, dict[str, str]] = {}
    for name, fun in DIFFERENTIABLE.items():
        report[name] = {}
        for mode, transform in MODES.items():
            try:
                report[name][mode] = f"{transform(fun)(2.0):.6g}"
            except ValueError as error:
                report[name][mode] = f"ValueError: {error}"
    return report


# cond under vmap.


def sqrt_or_zero(predicate, x):
    return lax.cond(predicate, jnp.sqrt, lambda x: 0.0 * x, x)


def sqrt_or_zero_where(predicate, x):
    return jnp.where(predicate, jnp.sqrt(x), 0.0 * x)


def gradients_of_branches() -> dict[str, dict[str, str]]:
    """The derivative with respect to x through `cond` and through `where`, of a batch with a predicate `x > 0` for each
    example."""
    x = jnp.array([-1.0, 0.0, 4.0])
    report = {}
    for name, fun in {"cond": sqrt_or_zero, "where": sqrt_or_zero_where}.items():

        def total(x: Array, fun: Callable = fun) -> Array:
            return jax.vmap(fun)(x > 0, x).sum()

        slopes = jax.grad(total)(x)
        report[name] = {f"x = {at:g}": f"{slope:g}" for at, slope in zip(x.tolist(), slopes.tolist(), strict=True)}
    return report
