"""The code of the lesson, to take away."""

from __future__ import annotations

import re
from typing import Any

from lib.lessons.composition import transforms
from lib.lessons.composition.levels import level_signature
from lib.lessons.composition.routine import FUNCTIONS, ExampleFunction, typed_function, with_default_axes
from lib.lessons.composition.transforms import Leaf, Stack
from lib.routines.snippets import named, source, written
from lib.routines.typed import TypedFunction


def snippet(function: ExampleFunction, stack: Stack, batch_size: int, seed: int) -> str:
    """A stack that JAX takes, level by level, and a call of it."""
    signature = level_signature(function, stack, batch_size)
    if isinstance(function.fun, TypedFunction):
        defined, levels = [written(function.fun), "", ""], []
    else:
        defined, levels = [source(function.fun), "", ""], [f"f = {function.fun.__name__}"]
    levels += transforms.code(stack, tuple(name for name, _ in function.arguments)).splitlines()
    names = [_variable(name) for name in signature.names]
    arguments = [
        f"{name} = {_values(tree, f'{seed}{number}', function.positive)}"
        for number, (name, tree) in enumerate(zip(names, signature.inputs, strict=True))
    ]
    outermost = f"f{len(stack)}" if stack else "f"
    body = "\n".join([*defined, *levels, "", *arguments, f"print({outermost}({', '.join(names)}))"])
    imports = ["import jax", *(["import jax.numpy as jnp"] if "jnp." in body else []), "", ""]
    return "\n".join([*imports, body])


def _variable(name: str) -> str:
    """An argument's name, unless it is that of a level."""
    return f"{name}_" if re.fullmatch(r"f\d", name) else named(name)


def _values(tree: Any, seed: str, positive: bool) -> str:
    """An expression for random numbers in the shape of a tree."""
    if isinstance(tree, Leaf):
        drawn = f"jax.random.normal(jax.random.key({int(seed)}), {tree.shape})"
        return f"jnp.exp({drawn})" if positive else drawn
    parts = "".join(f"    {_values(part, f'{seed}{number}', positive)},\n" for number, part in enumerate(tree))
    return f"(\n{parts})"


def line(function: ExampleFunction, stack: Stack) -> str:
    """What the live run calls at each step: the whole step is compiled, whatever the stack."""
    called = "f" if isinstance(function.fun, TypedFunction) else function.name
    written = transforms.expression(stack, called)
    return written if stack and stack[-1].name == "jit" else f"jit({written})"


def examples() -> dict[str, str]:
    """The code for some settings."""
    squared, typed = FUNCTIONS["squared loss"], typed_function("sum(x**2 * log(x))", ((3,),), (), True)
    return {
        "as the page begins": snippet(squared, with_default_axes(squared, ("grad", "vmap", "jit")), 4, 0),
        "a tuple as cotangent": snippet(squared, with_default_axes(squared, ("value_and_grad", "vjp")), 4, 1),
        "a sum": snippet(squared, with_default_axes(squared, ("vmap", "mean", "grad", "jvp")), 4, 2),
        "typed": snippet(typed, with_default_axes(typed, ("hessian", "jit")), 4, 3),
    }
