"""Typical mistakes with each library. The libraries are imported where they are used: one of them may be missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import FrozenInstanceError

import jax
import jax.numpy as jnp

from lib.routines.mistakes import Mistake


def nnx_changed_under_plain_jit():
    from flax import nnx

    class Counter(nnx.Module):
        def __init__(self):
            self.count = nnx.Variable(jnp.array(0))

    @jax.jit
    def call(counter):
        counter.count[...] += 1

    counter = Counter()
    call(counter)
    call(counter)
    return counter.count[...]


def nnx_changed_under_its_own_jit():
    from flax import nnx

    class Counter(nnx.Module):
        def __init__(self):
            self.count = nnx.Variable(jnp.array(0))

    @nnx.jit
    def call(counter):
        counter.count[...] += 1

    counter = Counter()
    call(counter)
    call(counter)
    return counter.count[...]


def nnx_captured_by_jit():
    from flax import nnx

    count = nnx.Variable(jnp.array(0))

    @jax.jit
    def call():
        count[...] += 1

    call()
    return count[...]


def nnx_given_to_jit():
    from flax import nnx

    count = nnx.Variable(jnp.array(0))

    @nnx.jit
    def call(count):
        count[...] += 1

    call(count)
    return count[...]


def nnx_left_in_training():
    from flax import nnx

    layer = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    return layer(jnp.ones(8))


def nnx_told_to_predict():
    from flax import nnx

    layer = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    layer.eval()
    return layer(jnp.ones(8))


def linen_without_mutable():
    from flax import linen as nn

    layer = nn.BatchNorm(use_running_average=False, momentum=0.5)
    x = jnp.array([[1.0], [3.0]])
    variables = layer.init(jax.random.key(0), x)
    return layer.apply(variables, x)


def linen_with_mutable():
    from flax import linen as nn

    layer = nn.BatchNorm(use_running_average=False, momentum=0.5)
    x = jnp.array([[1.0], [3.0]])
    variables = layer.init(jax.random.key(0), x)
    _, changed = layer.apply(variables, x, mutable=["batch_stats"])
    return changed["batch_stats"]["mean"]


def linen_without_a_key():
    from flax import linen as nn

    layer = nn.Dropout(0.5, deterministic=False)
    return layer.apply({}, jnp.ones(8))


def linen_with_a_key():
    from flax import linen as nn

    layer = nn.Dropout(0.5, deterministic=False)
    return layer.apply({}, jnp.ones(8), rngs={"dropout": jax.random.key(0)})


def equinox_jit_of_a_function_leaf():
    import equinox as eqx

    model = eqx.nn.MLP(2, 1, width_size=8, depth=1, activation=jnp.tanh, key=jax.random.key(0))
    predict = jax.jit(lambda model, x: model(x))
    return predict(model, jnp.ones(2)).shape


def equinox_filter_jit_of_a_function_leaf():
    import equinox as eqx

    model = eqx.nn.MLP(2, 1, width_size=8, depth=1, activation=jnp.tanh, key=jax.random.key(0))
    predict = eqx.filter_jit(lambda model, x: model(x))
    return predict(model, jnp.ones(2)).shape


def equinox_assigned():
    import equinox as eqx

    layer = eqx.nn.Linear(2, 1, key=jax.random.key(0))
    layer.bias = jnp.array([5.0])
    return layer.bias


def equinox_made_anew():
    import equinox as eqx

    layer = eqx.nn.Linear(2, 1, key=jax.random.key(0))
    layer = eqx.tree_at(lambda layer: layer.bias, layer, jnp.array([5.0]))
    return layer.bias


def haiku_outside_of_transform():
    import haiku as hk

    def forward(x):
        return hk.Linear(3)(x)

    return forward(jnp.ones(2)).shape


def haiku_transformed():
    import haiku as hk

    def forward(x):
        return hk.Linear(3)(x)

    init, apply = hk.without_apply_rng(hk.transform(forward))
    params = init(jax.random.key(0), jnp.ones(2))
    return apply(params, jnp.ones(2)).shape


def haiku_state_dropped():
    import haiku as hk

    def count():
        hk.set_state("calls", hk.get_state("calls", (), int, init=jnp.zeros) + 1)
        return hk.get_state("calls")

    init, apply = hk.without_apply_rng(hk.transform_with_state(count))
    params, state = init(jax.random.key(0))
    calls = [apply(params, state)[0] for _ in range(3)]
    return jnp.stack(calls)


def haiku_state_handed_on():
    import haiku as hk

    def count():
        hk.set_state("calls", hk.get_state("calls", (), int, init=jnp.zeros) + 1)
        return hk.get_state("calls")

    init, apply = hk.without_apply_rng(hk.transform_with_state(count))
    params, state = init(jax.random.key(0))
    calls = []
    for _ in range(3):
        value, state = apply(params, state)
        calls.append(value)
    return jnp.stack(calls)


def mistakes_of(names: Iterable[str]) -> dict[str, Mistake]:
    """The mistakes with the libraries of these names, all of which can be imported."""
    made: dict[str, Mistake] = {}
    if "Flax NNX" in names:
        from flax.errors import TraceContextError

        made |= {
            "Flax NNX: a module changed under plain jax.jit": Mistake(
                nnx_changed_under_plain_jit, nnx_changed_under_its_own_jit, None,
                "No error, but the count stays 0: `jax.jit` takes the module apart into arrays and gives the function a "
                "copy, and what changes in the copy is lost. `nnx.jit` writes the changes back into your object.",
            ),
            "Flax NNX: a variable that the jitted function finds outside": Mistake(
                nnx_captured_by_jit, nnx_given_to_jit, TraceContextError,
                "The variable was made outside of the function that is traced, so a tracer would leak into it. Give it "
                "as an argument, to `nnx.jit`.",
            ),
            "Flax NNX: model.eval() forgotten": Mistake(
                nnx_left_in_training, nnx_told_to_predict, None,
                "No error, but predictions are thrown away and doubled at random: the mode is kept in the object, and "
                "the object starts in training. Call `eval()` before you predict, `train()` before you go on.",
            ),
        }  # fmt: skip
    if "Flax Linen" in names:
        from flax.errors import InvalidRngError, ModifyScopeVariableError

        made |= {
            "Flax Linen: apply without mutable": Mistake(
                linen_without_mutable, linen_with_mutable, ModifyScopeVariableError,
                "`apply` is pure: what it may change must be named, and comes back as a second result, which you put "
                "among your variables for the next call.",
            ),
            "Flax Linen: dropout without a key": Mistake(
                linen_without_a_key, linen_with_a_key, InvalidRngError,
                "A layer draws from a collection of keys that `apply` is given by name; dropout asks for `dropout`. A new "
                "key for each step, or each step drops the same units.",
            ),
        }  # fmt: skip
    if "Equinox" in names:
        made |= {
            "Equinox: jax.jit of a module that holds a function": Mistake(
                equinox_jit_of_a_function_leaf, equinox_filter_jit_of_a_function_leaf, TypeError,
                "Every leaf of an argument of `jax.jit` must be an array, and the activation is a leaf that is a function. "
                "`eqx.filter_jit` traces the arrays and holds all else static.",
            ),
            "Equinox: a weight assigned": Mistake(
                equinox_assigned, equinox_made_anew, FrozenInstanceError,
                "A module is a frozen dataclass. `eqx.tree_at` gives a new one in which that leaf is another.",
            ),
        }  # fmt: skip
    if "Haiku" in names:
        made |= {
            "Haiku: a module outside of transform": Mistake(
                haiku_outside_of_transform, haiku_transformed, ValueError,
                "A Haiku module asks `transform` for its parameters. Transform the function, get the parameters from "
                "`init`, and give them to `apply`.",
            ),
            "Haiku: the new state not kept": Mistake(
                haiku_state_dropped, haiku_state_handed_on, None,
                "No error, but every call counts from the start: `apply` is pure and gives the new state back as its "
                "second result. A running mean that is dropped so never moves.",
            ),
        }  # fmt: skip
    return made
