"""Typical mistakes with custom derivatives, each with what it should have been."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from lib.routines.mistakes import Mistake


def forward_mode_through_custom_vjp():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))
    return jax.jacfwd(square)(3.0)


def forward_mode_through_custom_jvp():
    @jax.custom_jvp
    def square(x):
        return x**2

    square.defjvp(lambda primals, tangents: (square(*primals), 2 * primals[0] * tangents[0]))
    return jax.jacfwd(square)(3.0), jax.grad(square)(3.0)


def cotangent_without_a_tuple():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: 2 * x * g)
    return jax.grad(square)(3.0)


def cotangent_in_a_tuple():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))
    return jax.grad(square)(3.0)


def cotangent_of_another_shape():
    @jax.custom_vjp
    def product(w, x):
        return w @ x

    product.defvjp(lambda w, x: (w @ x, (w, x)), lambda kept, g: (g, g * kept[0]))
    return jax.grad(product)(jnp.ones(2), jnp.array([3.0, 4.0]))


def cotangent_of_the_argument_s_shape():
    @jax.custom_vjp
    def product(w, x):
        return w @ x

    product.defvjp(lambda w, x: (w @ x, (w, x)), lambda kept, g: (g * kept[1], g * kept[0]))
    return jax.grad(product)(jnp.ones(2), jnp.array([3.0, 4.0]))


def function_as_an_argument():
    @jax.custom_vjp
    def apply(fun, x):
        return fun(x)

    apply.defvjp(lambda fun, x: (fun(x), x), lambda x, g: (None, 2 * x * g))
    return jax.grad(lambda x: apply(lambda y: y**2, x))(3.0)


def function_in_nondiff_argnums():
    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def apply(fun, x):
        return fun(x)

    apply.defvjp(lambda fun, x: (fun(x), x), lambda fun, x, g: (2 * x * g,))
    return jax.grad(lambda x: apply(lambda y: y**2, x))(3.0)


def while_loop_in_reverse():
    def halved(x):
        return jax.lax.while_loop(lambda y: y > 1.0, lambda y: y / 2, x)

    return jax.grad(halved)(6.0)


def scan_in_reverse():
    def halved(x):
        def once(y, _):
            return jnp.where(y > 1.0, y / 2, y), None

        return jax.lax.scan(once, x, length=10)[0]

    return jax.grad(halved)(6.0)


def rule_that_forgets_the_cotangent():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x,))
    return jax.grad(lambda x: 10 * square(x))(3.0)


def rule_that_multiplies_by_it():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))
    return jax.grad(lambda x: 10 * square(x))(3.0)


MISTAKES: dict[str, Mistake] = {
    "forward mode through custom_vjp": Mistake(
        forward_mode_through_custom_vjp, forward_mode_through_custom_jvp, TypeError,
        "`custom_vjp` has a rule for reverse mode alone: `jvp`, `jacfwd` and `jax.linearize` refuse. `custom_jvp` serves both "
        "modes, because JAX transposes its rule.",
    ),
    "the cotangent without a tuple": Mistake(
        cotangent_without_a_tuple, cotangent_in_a_tuple, TypeError,
        "The backward rule returns one cotangent for each argument, in a tuple, also for one argument: note the comma.",
    ),
    "a cotangent of another shape": Mistake(
        cotangent_of_another_shape, cotangent_of_the_argument_s_shape, ValueError,
        "A cotangent has the shape and dtype of its argument: for `w` that is `g * x`, two numbers, not the scalar `g`.",
    ),
    "a function as an argument": Mistake(
        function_as_an_argument, function_in_nondiff_argnums, TypeError,
        "A Python function is no array and has no derivative. Name its position in `nondiff_argnums`. Both rules then get it "
        "first, and the backward rule returns no cotangent for it.",
    ),
    "while_loop in reverse": Mistake(
        while_loop_in_reverse, scan_in_reverse, ValueError,
        "Reverse mode would have to store every iteration, and their number is unknown. Give a bound with `scan`, or a rule "
        "of your own: see the panel Fixed point.",
    ),
    "a rule that forgets the cotangent": Mistake(
        rule_that_forgets_the_cotangent, rule_that_multiplies_by_it, None,
        "No error, but a wrong number: `g` is the derivative of everything after the function, here 10. With nothing after it, "
        "`g` is 1 and the result looks right. `check_grads` uses a random cotangent and finds the mistake.",
    ),
}  # fmt: skip
