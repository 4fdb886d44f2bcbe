"""The first equation of a step that makes a number infinite or not a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from lib.lessons.debugging.routine import batch_at, noisy_sine, sgd_step
from lib.measure.jaxprs import EquationLine, equations_of, inner_jaxprs, lines, trace

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
"""Equations that call a jaxpr once, and the parameter that has it."""


class Found(NamedTuple):
    """What became of one step, run again under each tool.

    Attributes:
        loss: of the step.
        debug_nans, checkify: what each says; "no error" if all is finite.
        program: the jaxpr of the step, line by line.
        place: of the first line whose result is not finite though what goes in is; None if there is none.
        took, gave: the numbers that went into it and came out.
    """

    loss: str
    debug_nans: str
    checkify: str
    program: list[EquationLine]
    place: int | None
    took: list[str]
    gave: list[str]


class Step:
    """The step to look at; another object is another question.

    Args:
        params: NumPy arrays.
    """

    def __init__(self, params: dict[str, np.ndarray], step: int, batch_size: int, learning_rate: float, seed: int):
        self.params = params
        self.number = step
        self.args = (batch_at(noisy_sine(seed), step, batch_size), np.float32(learning_rate))


def hunt(step: Step) -> Found:
    """Runs one step of `debugging.sgd_step` under `debug_nans`, under `checkify`, and equation by equation."""
    args = jax.tree.map(jnp.asarray, (step.params, *step.args))
    _, loss = jax.jit(sgd_step)(*args)
    closed = trace(sgd_step, args)
    bad = first_bad(closed, args)
    place, took, gave = bad if bad else (None, [], [])
    return Found(
        f"{loss:.4g}", _under_debug_nans(sgd_step, args), _checked(sgd_step, args), lines(closed), place, took, gave
    )


def _under_debug_nans(fun: Callable[..., Any], args: tuple[Any, ...]) -> str:
    with jax.debug_nans(True), jax.debug_infs(True):  # of this thread alone
        try:
            jax.jit(fun)(*args)
        except FloatingPointError as error:
            return f"FloatingPointError: {error}"
    return "no error"


def _checked(fun: Callable[..., Any], args: tuple[Any, ...]) -> str:
    error, _ = jax.jit(checkify.checkify(fun, errors=checkify.float_checks))(*args)
    return error.get() or "no error"


def _text(value: Any) -> str:
    return (
        f"{value.dtype}{list(value.shape)} {np.array2string(np.asarray(value), precision=4, threshold=8, edgeitems=4)}"
    )


def _finite(value: Any) -> bool:
    return not jnp.issubdtype(value.dtype, jnp.inexact) or bool(jnp.isfinite(value).all())


def first_bad(closed: Any, args: tuple[Any, ...]) -> tuple[int, list[str], list[str]] | None:
    """Evaluates a jaxpr equation by equation, until one makes something that is not finite of what is.

    Returns:
        Its place among all equations as `jaxprs.lines` lists them, what went in and what came out; None if all is well.
    """
    place = -1

    class Bad(Exception):
        pass

    def walk(jaxpr: Any, consts: Any, values: Any) -> list[Any]:
        nonlocal place
        known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *values), strict=True))

        def read(var: Any) -> Any:
            return jnp.asarray(var.val, var.aval.dtype) if hasattr(var, "val") else known[var]

        for equation in jaxpr.eqns:
            place += 1
            ins = [read(var) for var in equation.invars]
            if equation.primitive.name in CALLS:
                inner = equation.params[CALLS[equation.primitive.name]]
                outs = walk(inner.jaxpr, inner.consts, ins)
            else:
                outs = equation.primitive.bind(*ins, **equation.params)
                outs = outs if equation.primitive.multiple_results else [outs]
                if all(map(_finite, ins)) and not all(map(_finite, outs)):
                    raise Bad(place, [_text(value) for value in ins], [_text(value) for value in outs])
                place += sum(1 for inner in inner_jaxprs(equation) for _ in equations_of(inner))
            known.update(zip(equation.outvars, outs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    try:
        walk(closed.jaxpr, closed.consts, jax.tree.leaves(args))
    except Bad as bad:
        return bad.args  # type: ignore[return-value]
    return None
