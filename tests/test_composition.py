"""`lib/lessons/composition/routine.py`: functions to stack on, typed ones too, and the descent along a stack's gradient."""

from itertools import pairwise

import jax
import numpy as np
import pytest

from lib.lessons.composition import routine as composition
from lib.lessons.composition import transforms
from lib.lessons.composition.levels import report_level, trace_levels
from lib.lessons.composition.routine import (
    CURVES,
    FUNCTIONS,
    Gradient,
    StackDescent,
    gradient_of,
    typed_function,
    with_default_axes,
)
from lib.lessons.composition.transforms import expression, parse
from lib.routines import typed
from lib.routines.typed import TextError

SQUARED = FUNCTIONS["squared loss"]
SCALAR = [name for name, function in FUNCTIONS.items() if function.signature().output.shape == ()]
MAPPED = "in_axes=(None, 0, 0)"
DEFAULT = f"grad(mean(vmap(f, {MAPPED})))"


def descent_of(function, text: str, batch_size: int = 4) -> StackDescent:
    return StackDescent(function, gradient_of(function, parse(text), batch_size), batch_size)


def descend(problem: StackDescent, steps: int, learning_rate: float):
    """The state and the metrics after so many steps, and the data."""
    data = problem.data(0)
    state, step, metrics = problem.init(jax.random.key(0), data), jax.jit(problem.step), []
    for _ in range(steps):
        state, found = step(state, data, np.float32(learning_rate))
        metrics.append(jax.device_get(found))
    return state, metrics, data


# Typed functions.


def test_two_functions_typed_alike_are_equal_keys() -> None:
    def make(text: str, shared: tuple[str, ...] = ("w",)):
        return typed_function(text, ((3,), (3,)), shared, False)

    one = make("sum(w * x)")
    typed_function.cache_clear()  # as when many others came between
    typed._parse.cache_clear()
    other = make("sum(w * x)")
    assert one is not other and one == other and hash(one) == hash(other)
    problems = {descent_of(function, "grad(f)") for function in (one, other)}
    assert len(problems) == 1 and problems.pop().lineage in {descent_of(other, "grad(f)")}
    assert make("sum(w * x)", ()) != one != make("sum(x * w)")


def test_a_typed_function_in_numpy_and_in_jax() -> None:
    function = typed_function("sin(x) * y + x**2", ((), (3,)), ("x",), False)
    x, y = 0.7, np.array([1.0, -2.0, 0.5])
    expected = np.sin(x) * y + x**2
    np.testing.assert_allclose(function.numpy(x, y), expected, rtol=1e-12)
    np.testing.assert_allclose(function.fun(np.float32(x), y.astype(np.float32)), expected, rtol=1e-6)
    assert function.arguments == (("x", ()), ("y", (3,))) and function.in_axes == (None, 0)
    assert function.signature().output.shape == (3,)


@pytest.mark.parametrize(
    ("text", "shapes"), [("sin(", ((),)), ("x @ y", ((3,), (2,))), ("x[1:1]", ((3,),)), ("sum(x[:0]) + x", ((3,),))]
)
def test_a_text_that_is_no_function_of_these_shapes_is_refused(text: str, shapes) -> None:
    with pytest.raises(TextError, match=r"\.$"):
        typed_function(text, shapes, (), False)


def test_a_function_for_positive_numbers_gets_positive_numbers() -> None:
    function = typed_function("sum(x**2 * log(x))", ((50,),), (), True)
    report = report_level(function, parse("grad(f)"), 1, 0)
    (x,) = StackDescent(function, gradient_of(function, (), 1), 1).data(0)
    assert x.min() > 0 and report.check.error < 1e-4


@pytest.mark.parametrize(
    ("text", "shapes", "shared"),
    [("(w @ x - y)**2", ((3,), (3,), ()), ("w",)), ("sum((a @ x)**2)", ((2, 3), (3,)), ("a",)), ("x**2", ((),), ()),
     ("sum(abs(x))", ((2, 3),), ("x",)), ("norm(x)", ((3,),), ())],
)  # fmt: skip
def test_typed_functions_go_through_all_of_it(text: str, shapes, shared) -> None:
    function = typed_function(text, shapes, shared, False)
    for names in (("grad", "vmap", "jit"), ("vmap", "mean", "grad")):
        stack = with_default_axes(function, names)
        levels = trace_levels(function, stack, 2)
        assert len(levels) == 4 and levels[-1].signature is not None
        assert report_level(function, stack, 2, 0).check.error < 1e-4
        problem = StackDescent(function, gradient_of(function, stack, 2), 2)
        _, metrics, _ = descend(problem, 20, 0.003)
        assert metrics[-1]["loss"] < metrics[0]["loss"]


# Axes.


def test_the_tangent_of_any_level_is_mapped_as_its_primal_is() -> None:
    expected = {
        ("jvp",): (None, 0, 0, None, 0, 0),
        ("vjp",): (None, 0, 0, 0),
        ("vjp", "jvp"): (None, 0, 0, 0, None, 0, 0, 0),
        ("jvp", "vjp"): (None, 0, 0, None, 0, 0, 0),
        ("jvp", "jvp"): (None, 0, 0, None, 0, 0) * 2,
        ("vjp", "vjp"): (None, 0, 0, 0, 0),
        ("grad", "jit"): (None, 0, 0),
    }
    for names, axes in expected.items():
        assert with_default_axes(SQUARED, (*names, "vmap"))[-1].get("in_axes") == axes, names
    # What a visitor calls dx and ct is neither a tangent nor a cotangent.
    function = typed_function("x * dx * ct", ((), (), ()), ("dx", "ct"), False)
    assert with_default_axes(function, ("jvp", "vmap"))[-1].get("in_axes") == (0, None, None) * 2


def test_no_two_arguments_have_one_name() -> None:
    for text in ("jvp(jvp(jvp(f)))", "vjp(vjp(vjp(f)))", "jvp(vjp(jvp(vjp(f))))"):
        for function in (FUNCTIONS["growing wave"], typed_function("x * dx * ct", ((), (), ()), (), False)):
            for level in trace_levels(function, parse(text), 1):
                assert level.signature is not None and len(set(level.names)) == len(level.names)
    assert trace_levels(FUNCTIONS["growing wave"], parse("jvp(jvp(f))"), 1)[-1].names == ("x", "dx", "dx_2", "ddx")


# Which gradient.


@pytest.mark.parametrize(
    ("text", "argnum", "per_example", "own"),
    [
        ("grad(f)", 0, False, False),
        ("jit(grad(f, argnums=1))", 1, False, False),
        ("value_and_grad(f, argnums=-1)", 2, False, False),
        (f"jit(vmap(grad(f), {MAPPED}))", 0, True, False),
        (f"vmap(value_and_grad(checkpoint(f)), {MAPPED})", 0, True, False),
        (f"vmap(grad(f, argnums=1), {MAPPED})", 1, False, True),
        (f"jit({DEFAULT})", 0, False, False),
        (f"value_and_grad(sum(vmap(f, {MAPPED})), argnums=1)", 1, False, True),
        (f"grad(mean(vmap(vmap(f, {MAPPED}))))", 0, False, True),
    ],
)
def test_a_stack_that_gives_a_gradient_is_taken(text: str, argnum: int, per_example: bool, own: bool) -> None:
    assert gradient_of(SQUARED, parse(text), 4) == Gradient(parse(text), argnum, per_example, own)


@pytest.mark.parametrize(
    "text",
    ["f", "jit(f)", f"vmap(f, {MAPPED})", "jvp(f)", "vjp(f)", "jacrev(f)", "hessian(f)", "grad(f, argnums=(0, 1))",
     "jacfwd(grad(f))", "jvp(grad(f))", "sum(grad(f))", "grad(sum(grad(f)))", "grad(sum(jacfwd(f)))",
     f"vmap(grad(f), {MAPPED}, out_axes=1)", f"vmap(vmap(grad(f), {MAPPED}), {MAPPED})"],
)  # fmt: skip
def test_in_place_of_any_other_the_mean_descends_and_a_sentence_says_so(text: str) -> None:
    found = gradient_of(SQUARED, parse(text), 4)
    assert expression(found.stack) == DEFAULT and found[1:4] == (0, False, False)
    assert found.note.endswith(f"{DEFAULT}.")


@pytest.mark.parametrize("text", ["grad(hessian(f))", "grad(jacfwd(f))", "grad(grad(f))", "jit(grad(jacrev(f)))"])
def test_a_higher_derivative_of_one_number_is_no_gradient(text: str) -> None:
    found = gradient_of(FUNCTIONS["growing wave"], parse(text), 4)
    assert expression(found.stack) == "grad(mean(vmap(f)))" and found.own and found.note


def test_a_gradient_that_lies_across_its_argument_is_not_taken() -> None:
    """At a batch of 2, the gradients of p[2] are square, whichever axis is the batch."""
    function = FUNCTIONS["Rosenbrock"]
    assert gradient_of(function, parse("vmap(grad(f), in_axes=1)"), 2).note
    assert not gradient_of(function, parse("vmap(grad(f), in_axes=1, out_axes=1)"), 2).note
    assert not gradient_of(function, parse("vmap(grad(f))"), 2).note


@pytest.mark.parametrize("text", ["f", "sum(f)", "jacfwd(f)"])
def test_a_batch_that_is_too_large_for_the_fallback_is_left_out_before_numbers_are_drawn(
    text: str, monkeypatch
) -> None:
    """None of these stacks has a batch axis, and the mean over the batch would take 4096 of the arrays."""
    function = typed_function("sin(x)", ((64, 64, 64),), (), False)
    monkeypatch.setattr(transforms, "draw", lambda *_: pytest.fail("numbers were drawn"))
    large, small = (gradient_of(function, parse(text), size) for size in (4096, 4))
    assert expression(large.stack) == "grad(mean(f))" and "a batch of 4,096 is too large here" in large.note
    assert expression(small.stack) == "grad(mean(vmap(f)))"
    assert StackDescent(function, large, 4096).arguments == (("x", (64, 64, 64)),)


def test_where_all_is_shared_the_fallback_maps_all() -> None:
    function = typed_function("sum(w * w)", ((3,),), ("w",), False)
    found = gradient_of(function, (), 4)
    assert expression(found.stack) == "grad(mean(vmap(f)))" and found.own


# Descent.

RATE = 0.05
STEPS = {
    f"jit(vmap(grad(f), {MAPPED}))": "mean",
    f"vmap(value_and_grad(f), {MAPPED})": "mean",
    f"jit({DEFAULT})": "mean",
    f"value_and_grad(mean(vmap(f, {MAPPED})))": "mean",
    f"grad(sum(vmap(f, {MAPPED})))": "sum",
}


@pytest.mark.parametrize("text", STEPS)
def test_a_step_is_that_of_numpy_by_hand(text: str) -> None:
    state, (metrics,), data = descend(descent_of(SQUARED, text), 1, RATE)
    w, x, y = (np.asarray(a, np.float64) for a in data)
    residuals = x @ w - y
    slope = getattr(2 * residuals[:, None] * x, STEPS[text])(0)
    np.testing.assert_allclose(state.params["argument"], w - RATE * slope, rtol=1e-5, atol=1e-6)
    losses = residuals**2
    np.testing.assert_allclose(metrics["each"], losses, rtol=1e-5, atol=1e-6)
    for name, value in (("loss", losses.mean()), ("lowest", losses.min()), ("highest", losses.max())):
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6)
    assert state.step == 1


@pytest.mark.parametrize(("text", "parts"), [("grad(f)", 1), ("value_and_grad(f)", 1)])
def test_one_example_descends_by_itself(text: str, parts: int) -> None:
    state, (metrics,), data = descend(descent_of(SQUARED, text), parts, RATE)
    w, x, y = (np.asarray(a, np.float64) for a in data)
    np.testing.assert_allclose(state.params["argument"], w - RATE * 2 * (x @ w - y) * x, rtol=1e-5)
    assert metrics["each"].shape == (1,) and metrics["loss"] == pytest.approx((x @ w - y) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    "text", [f"vmap(grad(f, argnums=1), {MAPPED})", "vmap(grad(f, argnums=1), in_axes=(None, 1, 0), out_axes=1)"]
)
def test_an_argument_of_each_example_descends_for_each(text: str) -> None:
    state, (metrics,), data = descend(descent_of(SQUARED, text), 1, RATE)
    w, x, y = (np.asarray(a, np.float64) for a in data)
    across = x.shape == (3, 4)
    x = x.T if across else x
    expected = x - RATE * 2 * (x @ w - y)[:, None] * w
    np.testing.assert_allclose(state.params["argument"], expected.T if across else expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["each"], (x @ w - y) ** 2, rtol=1e-5, atol=1e-6)


def test_a_gradient_that_all_examples_share_needs_no_axis_but_their_losses_do() -> None:
    function = typed_function("sum(v * v) + w", ((3,), ()), ("v",), False)
    state, (metrics,), (v, w) = descend(
        descent_of(function, "vmap(grad(f), in_axes=(None, 0), out_axes=None)"), 1, RATE
    )
    np.testing.assert_allclose(state.params["argument"], v - RATE * 2 * v, rtol=1e-5)
    np.testing.assert_allclose(metrics["each"], (v * v).sum() + w, rtol=1e-5)


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("names", [("vmap", "mean", "grad", "jit"), ("grad", "vmap"), ("grad",)])
def test_every_function_of_one_number_descends(name: str, names: tuple[str, ...]) -> None:
    function = FUNCTIONS[name]
    problem = StackDescent(function, gradient_of(function, with_default_axes(function, names), 8), 8)
    _, metrics, _ = descend(problem, 40, 0.003)
    losses = [float(found["loss"]) for found in metrics]
    assert not problem.gradient.note and losses[-1] < losses[0]
    if name != "leaky ReLU":  # which has a kink
        assert all(after <= before + 1e-6 for before, after in pairwise(losses))


def test_what_is_reported_is_bounded() -> None:
    problem = descent_of(FUNCTIONS["network loss"], "vmap(grad(f, argnums=2), in_axes=(None, None, 0, 0))", 100)
    state, (metrics,), data = descend(problem, 1, 0.003)
    assert metrics["each"].shape == (CURVES,)
    (seen,) = problem.observe(state, data).picture.values()
    np.testing.assert_array_equal(seen, np.ravel(state.params["argument"])[:64])


def test_the_data_are_those_of_the_stack() -> None:
    problem = descent_of(SQUARED, DEFAULT, 5)
    one, same, other = problem.data(1), problem.data(1), problem.data(2)
    assert [a.shape for a in one] == [(3,), (5, 3), (5,)]
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    np.testing.assert_array_equal(problem.init(jax.random.key(0), one).params["argument"], one[0])


def test_the_defaults_of_every_function_are_taken_by_jax() -> None:
    for function in FUNCTIONS.values():
        stack = with_default_axes(function, ("vmap", "jit"))
        assert trace_levels(function, stack, 2)[-1].signature is not None
    assert set(composition.BROKEN) and set(transforms.TRANSFORMS) >= set(composition.DERIVATIVES)
