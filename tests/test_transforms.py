"""Every stack of up to three transformations on every function, against NumPy; and how stacks are read and written."""

import itertools
import random
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from lib.lessons.composition import transforms
from lib.lessons.composition.levels import MAX_EVALUATIONS, level_arguments, plain_evaluations, relative_error
from lib.lessons.composition.routine import BROKEN, COMPARISONS, FUNCTIONS, ExampleFunction, with_default_axes
from lib.lessons.composition.transforms import (
    TRANSFORMS,
    Leaf,
    Level,
    Signature,
    StackError,
    apply,
    explain,
    parse,
    plain,
)

BATCH_SIZE = 2
REDUCTIONS = {"sum", "mean"}


class Made(NamedTuple):
    """A stack, traced.

    Attributes:
        shapes: the tree of its results.
    """

    jaxpr: ClosedJaxpr
    shapes: Any
    args: tuple[Any, ...]


def traced(fun: Callable, args: tuple[Any, ...]) -> Made:
    return Made(*jax.make_jaxpr(fun, return_shape=True)(*args), args)


def as_function(made: Made) -> Callable:
    """What has been traced, to be transformed further: its equations are gone through, not the levels that gave them."""
    structure = jax.tree.structure(made.shapes)
    return lambda *args: structure.unflatten(jaxpr_as_fun(made.jaxpr)(*jax.tree.leaves(args)))


def one_by_one(jaxpr: Jaxpr, consts, args) -> list[Any]:
    """The results of a jaxpr, each equation by itself, those inside `jit` and `checkpoint` too.

    Few different equations occur in thousands of stacks, and JAX keeps their programs: no stack is compiled as a whole.
    """
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        inner, given = equation.params.get("jaxpr"), [read(atom) for atom in equation.invars]
        if inner is None:
            made = equation.primitive.bind(*given, **equation.params)
            results = made if equation.primitive.multiple_results else [made]
        elif isinstance(inner, ClosedJaxpr):
            results = one_by_one(inner.jaxpr, inner.consts, given)
        else:
            results = one_by_one(inner, (), given)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def leaves(tree):
    return jax.tree.leaves(tree, is_leaf=transforms.is_leaf)


def is_compiled(stack) -> bool:
    """Whether a stack is in the sample that is applied to the function itself and compiled: one in thirty-one."""
    return zlib.crc32(transforms.expression(stack).encode()) % 31 == 0


def agrees_with_plain(function: ExampleFunction, stack, signature: Signature, made: Made) -> None:
    """The types are as predicted, and so is the value where the plain form is short enough."""
    told, predicted = transforms.expression(stack), leaves(signature.output)
    assert jax.tree.structure(made.shapes) == jax.tree.structure(signature.output, is_leaf=transforms.is_leaf), told
    assert [leaf.shape for leaf in jax.tree.leaves(made.shapes)] == [leaf.shape for leaf in predicted], told
    assert all(len(leaf.shape) == len(leaf.roles) for leaf in predicted), told
    if plain_evaluations(function, stack, BATCH_SIZE) > MAX_EVALUATIONS:
        return
    oracle = plain(function.numpy, stack)(*float64(made.args))
    assert jax.tree.structure(oracle) == jax.tree.structure(made.shapes), told
    value = one_by_one(made.jaxpr.jaxpr, made.jaxpr.consts, jax.tree.leaves(made.args))
    assert relative_error(value, jax.tree.leaves(oracle)) < 1e-4, told
    if is_compiled(stack):
        value = jax.jit(apply(function.fun, stack))(*made.args)
        assert relative_error(value, oracle) < 1e-4, told


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_stack_of_three_agrees_with_numpy_or_is_refused_and_explained(name: str) -> None:
    """Three transformations, and two where `sum` or `mean` is among them."""
    function = FUNCTIONS[name]
    counted = refused = compiled = 0

    def visit(stack, signature, below) -> None:
        nonlocal counted, refused, compiled
        for transform in TRANSFORMS:
            level = transforms.default_level(transform, signature.names, function.in_axes)
            above = (*stack, level)
            reduced = bool(REDUCTIONS & {level.name for level in above})
            if len(above) == 3 and reduced:
                continue
            counted += 1
            explanation = explain(level, signature)
            names, inputs = transforms.inputs_after(level, signature, BATCH_SIZE)
            try:
                made = traced(apply(below, (level,)), transforms.draw(names, inputs, 0))
            except (TypeError, ValueError):
                refused += 1
                assert explanation, f"{transforms.expression(above)} is refused without a word"
                continue
            assert not explanation, f"{transforms.expression(above)} works, and yet: {explanation}"
            type_ = transforms.after(level, signature, BATCH_SIZE)
            agrees_with_plain(function, above, type_, made)
            compiled += is_compiled(above)
            if len(above) + reduced < 3:
                visit(above, type_, as_function(made))

    visit((), function.signature(), function.fun)
    assert counted > 700 and refused > 50 and compiled > 10


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("squared loss", "grad(f, argnums=1)"),
        ("squared loss", "grad(f, argnums=(0, 2))"),
        ("squared loss", "value_and_grad(f, argnums=(-1, 1))"),
        ("squared loss", "vmap(grad(f, argnums=1), in_axes=(None, 0, 0))"),
        ("squared loss", "vmap(grad(f), in_axes=(0, None, None))"),
        ("squared loss", "vmap(f, in_axes=(None, 1, 0))"),
        ("squared loss", "vmap(f, in_axes=(-1, -1, -1))"),
        ("squared loss", "vmap(vmap(f, in_axes=(None, 0, 0)), in_axes=(0, None, None))"),
        ("affine", "vmap(f, in_axes=(None, None, 0), out_axes=1)"),
        ("affine", "vmap(f, in_axes=(2, None, 1), out_axes=-1)"),
        ("affine", "jacrev(f, argnums=(0, 1))"),
        ("affine", "jacfwd(vmap(f, in_axes=(None, None, 0)), argnums=2)"),
        ("affine", "jit(vmap(jacfwd(f, argnums=(1, 2)), in_axes=(None, None, 0), out_axes=1))"),
        ("network loss", "hessian(f, argnums=(0, 1))"),
        ("network loss", "vmap(hessian(f, argnums=1), in_axes=(None, None, 0, 0))"),
        ("Rosenbrock", "vmap(vmap(grad(f)), in_axes=1, out_axes=1)"),
        ("Rosenbrock", "jvp(vjp(f))"),
        ("Rosenbrock", "vjp(jvp(f))"),
        ("growing wave", "grad(grad(grad(grad(f))))"),
    ],
)  # fmt: skip
def test_stacks_with_arguments_agree_with_numpy(function: str, text: str) -> None:
    chosen, stack = FUNCTIONS[function], parse(text)
    signature = chosen.signature()
    for level in stack:
        assert not explain(level, signature)
        signature = transforms.after(level, signature, BATCH_SIZE)
    args = level_arguments(chosen, stack, BATCH_SIZE, 0)
    agrees_with_plain(chosen, stack, signature, traced(apply(chosen.fun, stack), args))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stack_is_refused_at_one_level_and_explained(name: str) -> None:
    function, stack = FUNCTIONS[BROKEN[name][0]], parse(BROKEN[name][1])
    signature = function.signature()
    for level in stack:
        if explanation := explain(level, signature):
            break
        signature = transforms.after(level, signature, BATCH_SIZE)
    assert explanation and explanation.endswith(".")
    names, inputs = transforms.inputs_after(level, signature, BATCH_SIZE)
    with pytest.raises((TypeError, ValueError)):
        apply(function.fun, stack[: stack.index(level) + 1])(*transforms.draw(names, inputs, 0))


def test_a_result_without_derivative_is_explained() -> None:
    below = Signature(("x",), (Leaf((), ()),), Leaf((), (), "bool"))
    for name in ("grad", "jvp", "vjp", "jacfwd", "hessian"):
        assert "no derivative" in explain(Level(name), below)


def test_values_by_hand() -> None:
    def cube(x):
        return x**3

    point = (np.float64(2.0),)
    expected = {
        "grad": 12.0,
        "hessian": 12.0,
        "jacfwd": 12.0,
        "jacrev": 12.0,
        "jit": 8.0,
        "checkpoint": 8.0,
        "sum": 8.0,
    }
    for name, value in expected.items():
        assert plain(cube, parse(f"{name}(f)"))(*point) == pytest.approx(value)
        assert apply(cube, parse(f"{name}(f)"))(2.0) == pytest.approx(value)
    assert plain(cube, parse("value_and_grad(f)"))(*point) == pytest.approx((8.0, 12.0))
    assert plain(cube, parse("jvp(f)"))(*point, np.float64(10.0)) == pytest.approx((8.0, 120.0))
    assert plain(cube, parse("vjp(f)"))(*point, np.float64(10.0)) == pytest.approx((120.0,))
    np.testing.assert_allclose(plain(cube, parse("vmap(grad(f))"))(np.array([1.0, 2.0])), [3.0, 12.0])
    assert plain(cube, parse("mean(vmap(f))"))(np.array([1.0, 2.0])) == pytest.approx(4.5)


def test_evaluations_are_counted() -> None:
    for text in (
        "grad(f)",
        "vmap(grad(f))",
        "hessian(f)",
        "jvp(f)",
        "vjp(f)",
        "grad(mean(vmap(f)))",
        "value_and_grad(f)",
    ):
        calls = 0

        def counted(p):
            nonlocal calls
            calls += 1
            return p[0] * p[1]

        stack, function = parse(text), FUNCTIONS["Rosenbrock"]
        plain(counted, stack)(*float64(level_arguments(function, stack, 3, 0)))
        predicted = plain_evaluations(function, stack, 3)
        assert calls <= predicted <= 1.6 * calls, text


def random_stacks(count: int):
    rng = random.Random(0)
    numbers = {"argnums": [0, 1, -1, (0, 1)], "in_axes": [0, 1, None, (None, 0), (0,)], "out_axes": [0, 1, -1, None]}
    for _ in range(count):
        yield tuple(
            Level(name, tuple((k, rng.choice(numbers[k])) for k in TRANSFORMS[name].keywords if rng.random() < 0.5))
            for name in rng.choices(list(TRANSFORMS), k=rng.randint(0, transforms.MAX_LEVELS))
        )


def test_what_is_written_is_read_again() -> None:
    for stack in random_stacks(300):
        assert parse(transforms.expression(stack)) == stack


def test_a_stack_may_be_written_as_in_a_program() -> None:
    assert parse(" jax.jit( jax.vmap(f, in_axes = (None, -1,)) ) ") == (
        Level("vmap", (("in_axes", (None, -1)),)),
        Level("jit"),
    )
    assert parse("f") == ()


@pytest.mark.parametrize(
    "text",
    ["", "g", "f(f)", "jit", "jit(f, f)", "jit(f", "jit()", "pmap(f)", "grad(f, in_axes=0)", "jit(f, static_argnums=0)",
     "grad(f, argnums=x)", "grad(f, argnums='0')", "grad(f, argnums=())", "grad(f, argnums=10**9)", "grad(f, argnums=True)",
     "grad(f, argnums=None)", "vmap(f, in_axes=(0, (1,)))", "vmap(f, in_axes=[0])", "vmap(f, out_axes=(0,))", "vmap(f, **{})",
     "vmap(f, in_axes=99)", "lambda: f", "jit(f).lower", "jit(f)(f)", "x" * 10_000, "(" * 300, "jit(" * 99 + "f" + ")" * 99,
     "\0", "jit(f)\n(f)", "jit(ｆ)" * 2, "__import__('os')", "jit(__import__('os'))", "grad(f, argnums=__import__('os'))"],
)  # fmt: skip
def test_what_is_no_stack_is_turned_away_with_a_sentence(text: str) -> None:
    with pytest.raises(StackError, match=r"\.$"):
        parse(text)


def test_random_texts_raise_nothing_but_the_one_error() -> None:
    rng = random.Random(1)
    tokens = [
        "jit",
        "grad",
        "vmap",
        "(",
        ")",
        "f",
        ",",
        "in_axes",
        "=",
        "None",
        "0",
        "-",
        "1",
        "[",
        "]",
        "lambda",
        ":",
        ".",
        "'",
        "\\",
    ]
    for _ in range(3000):
        text = "".join(rng.choices(tokens, k=rng.randint(1, 14)))
        try:
            parse(text)
        except StackError:
            continue


def test_the_code_builds_the_stack() -> None:
    function = FUNCTIONS["squared loss"]
    for text in (
        "jit(vmap(grad(f), in_axes=(None, 0, 0)))",
        "jvp(f)",
        "vjp(f)",
        "jit(vjp(jvp(f)))",
        "grad(mean(vmap(f, in_axes=(None, 0, 0))))",
    ):
        stack = parse(text)
        names = {"f": function.fun, "jax": jax, "jnp": jnp}
        exec(transforms.code(stack, ("w", "x", "y")), names)  # the page shows it as what one would write
        args = level_arguments(function, stack, BATCH_SIZE, 0)
        built, applied = names[f"f{len(stack)}"](*args), apply(function.fun, stack)(*args)
        jax.tree.map(np.testing.assert_array_equal, built, applied)


def test_vmap_maps_what_each_example_has_and_shares_the_rest() -> None:
    function = FUNCTIONS["squared loss"]
    assert transforms.expression(with_default_axes(function, ("vmap",))) == "vmap(f, in_axes=(None, 0, 0))"
    assert (
        transforms.expression(with_default_axes(function, ("vjp", "vmap"))) == "vmap(vjp(f), in_axes=(None, 0, 0, 0))"
    )
    assert with_default_axes(FUNCTIONS["Rosenbrock"], ("vmap",)) == (Level("vmap"),)


def test_the_first_example_of_a_batch_is_the_one_without_a_batch() -> None:
    function = FUNCTIONS["squared loss"]
    one = level_arguments(function, parse("f"), 4, 7)
    batch = level_arguments(function, parse("vmap(f, in_axes=(None, 0, 0))"), 4, 7)
    np.testing.assert_array_equal(batch[0], one[0])
    np.testing.assert_array_equal(batch[1][0], one[1])
    np.testing.assert_array_equal(batch[2][0], one[2])
    assert all(np.abs(value).min() >= 0.2 for value in batch)
    other = level_arguments(function, parse("f"), 4, 8)
    assert not np.array_equal(one[0], other[0])


def test_axes_are_told_apart() -> None:
    signature = FUNCTIONS["squared loss"].signature()
    roles = {
        "vmap(grad(f), in_axes=(None, 0, 0))": ("batch", "derivative"),
        "grad(mean(vmap(f, in_axes=(None, 0, 0))))": ("derivative",),
        "grad(mean(vmap(f, in_axes=(None, 0, 0))), argnums=1)": ("batch", "derivative"),
        "vmap(hessian(f), in_axes=(None, 0, 0), out_axes=2)": ("derivative", "derivative", "batch"),
        "jacfwd(vmap(f, in_axes=(None, 0, 0)))": ("batch", "derivative"),
    }
    for text, expected in roles.items():
        found = signature
        for level in parse(text):
            found = transforms.after(level, found, BATCH_SIZE)
        assert found.output.roles == expected, text


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_pair_of_orders_is_taken_by_jax(name: str) -> None:
    comparison = COMPARISONS[name]
    for text in (comparison.one, comparison.other):
        stack, function = parse(text), FUNCTIONS[comparison.function]
        apply(function.fun, stack)(*level_arguments(function, stack, BATCH_SIZE, 0))


def test_no_two_pairs_are_the_same() -> None:
    assert len({(c.function, c.one, c.other) for c in COMPARISONS.values()}) == len(COMPARISONS)
    assert not any(a == b for a, b in itertools.combinations(BROKEN.values(), 2))
