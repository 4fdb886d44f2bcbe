"""`lib/lessons/jit_grad/functions.py`: every gradient in three ways, and what its page promises of it."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lib.lessons.jit_grad.functions import (
    FUNCTIONS,
    TypedScalarFunction,
    central_difference,
    formulas,
    function_of,
    kinks,
    log_cosh,
    parse_number,
    rosenbrock,
)
from lib.routines.typed import TextError

# Each function once more, in NumPy's float64.
NUMPY = {
    "squared difference": lambda x, y: (x - y) ** 2,
    "double well": lambda x: x**4 / 4 - x**2 + x / 4,
    "wavy bowl": lambda x: x**2 / 4 + np.sin(3 * x),
    "log cosh": lambda x: np.log(np.cosh(x)),
    "Gaussian well": lambda x: 1 - np.exp(-(x**2)),
    "elliptic bowl": lambda x, y: (x**2 + 10 * y**2) / 2,
    "Rosenbrock": lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    "Himmelblau": lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
    "saddle": lambda x, y: (x**2 - y**2) / 2,
}


def points_of(function, count=20):
    """Points in the domain, exact in float32, and the starting point."""
    rng = np.random.default_rng(0)
    drawn = rng.uniform(*function.domain, (count, len(function.variables))).astype(np.float32)
    return [function.point, *[tuple(float(x) for x in point) for point in drawn]]


def constants_of(function):
    return tuple(function.constants.values())


def scale_of(name, point, constants):
    """How large the terms are that cancel in a value or a gradient, for an absolute tolerance."""
    return 1 + max(abs(NUMPY[name](*[2 * x for x in point], *constants)), abs(NUMPY[name](*point, *constants)))


def test_every_function_has_an_oracle():
    assert set(NUMPY) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_value_equals_numpy_in_double_precision(name):
    function = FUNCTIONS[name]
    for point in points_of(function):
        value = function.at(jnp.array(point, jnp.float32), constants_of(function))
        expected = NUMPY[name](*point, *constants_of(function))
        np.testing.assert_allclose(
            value, expected, rtol=1e-5, atol=1e-6 * scale_of(name, point, constants_of(function))
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_automatic_gradient_equals_the_closed_form(name):
    function = FUNCTIONS[name]
    gradient = jax.jit(jax.grad(function.at))
    for point in points_of(function):
        grads = gradient(jnp.array(point, jnp.float32), constants_of(function))
        expected = function.gradient(*point, *constants_of(function))
        assert grads.shape == (len(function.variables),) == np.shape(expected)
        np.testing.assert_allclose(
            grads, expected, rtol=1e-5, atol=1e-6 * scale_of(name, point, constants_of(function))
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_closed_form_equals_central_differences_in_double_precision(name):
    function, fun, step = FUNCTIONS[name], NUMPY[name], 1e-5
    for point in points_of(function):
        at, constants = np.array(point, float), constants_of(function)
        moves = step * np.eye(len(at))
        slopes = [(fun(*(at + m), *constants) - fun(*(at - m), *constants)) / (2 * step) for m in moves]
        np.testing.assert_allclose(function.gradient(*point, *constants), slopes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_central_differences_come_near_the_gradient_where_the_page_starts(name):
    function = FUNCTIONS[name]
    found = central_difference(function, function.point, constants_of(function))
    expected = np.array(function.gradient(*function.point, *constants_of(function)))
    # The formula's own error is of order step squared, 2.4e-5, times the third derivative.
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_first_arguments_are_the_variables_and_the_others_the_constants(name):
    function = FUNCTIONS[name]
    assert tuple(inspect.signature(function.fun).parameters) == (*function.variables, *function.constants)
    assert len(function.point) == len(function.variables) in (1, 2)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_starting_point_lies_in_the_domain(name):
    function = FUNCTIONS[name]
    low, high = function.domain
    assert low < high and all(low <= x <= high for x in function.point)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_descent_with_the_suggested_rate_gets_somewhere(name):
    function = FUNCTIONS[name]
    constants, point = constants_of(function), np.array(function.point)
    before = NUMPY[name](*point, *constants)
    for _ in range(200):
        point = point - function.learning_rate * np.array(function.gradient(*point, *constants))
    after = NUMPY[name](*point, *constants)
    assert np.isfinite(after) and after < before - 0.1 * abs(before) * (name != "saddle") - 1e-3


@pytest.mark.parametrize("x", [-300.0, -89.0, -1.0, 0.0, 1.0, 89.0, 300.0])
def test_log_cosh_does_not_overflow(x):
    # log cosh x = |x| + log(1 + exp(-2|x|)) - log 2, in double precision
    expected = abs(x) + np.log1p(np.exp(-2 * abs(x))) - np.log(2)
    np.testing.assert_allclose(log_cosh(jnp.float32(x)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.grad(log_cosh)(jnp.float32(x)), np.tanh(x), rtol=1e-5)


def test_the_squared_difference_at_the_page_start_is_four_with_slope_four():
    function = FUNCTIONS["squared difference"]
    assert float(function.at(jnp.array([5.0]), (3.0,))) == 4.0
    assert float(jax.grad(function.fun)(5.0, 3.0)) == 4.0


def test_the_minimum_of_rosenbrock_is_known():
    assert rosenbrock(1.0, 1.0) == 0 and FUNCTIONS["Rosenbrock"].gradient(1.0, 1.0) == (0, 0)


@pytest.mark.parametrize("minimum", [(3.0, 2.0), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126)])
def test_the_four_minima_of_himmelblau_are_known(minimum):
    function = FUNCTIONS["Himmelblau"]
    assert float(function.at(jnp.array(minimum), ())) < 1e-6
    np.testing.assert_allclose(function.gradient(*minimum), (0, 0), atol=1e-3)


def test_a_typed_function_is_like_the_built_in_ones():
    function = function_of(TypedScalarFunction("a * y**2 + x / b", ("x", "y"), (2.0, 5.0)))
    assert function.variables == ("x", "y") and function.constants == {"a": 1.0, "b": 1.0}
    assert function.point == (2.0, 2.0) and function.domain == (2.0, 5.0)
    assert float(function.at(jnp.array([6.0, 3.0]), (2.0, 4.0))) == 19.5
    assert function.gradient(6.0, 3.0, 2.0, 4.0) == (0.25, 12.0)
    assert function is function_of(TypedScalarFunction("a * y**2 + x / b", ("x", "y"), (2.0, 5.0)))
    assert function_of("saddle") is FUNCTIONS["saddle"]


def test_a_typed_function_without_a_formula_has_no_closed_form():
    function = function_of(TypedScalarFunction("x * floor(x)", ("x",), (-5.0, 5.0)))
    assert np.isnan(function.gradient(1.5)[0]) and float(jax.grad(function.at)(jnp.array([1.5]))[0]) == 1.0
    assert formulas("x * floor(x)", ("x",))[1] is None and formulas("x**3", ("x",)) == ("x^{3}", "3 x^{2}")


@pytest.mark.parametrize(
    ("text", "words"), [("x > 1", "where"), ("stack(x, y)", "shape (2,)"), ("x[0]", "shape ()"), ("x +", "whole")]
)
def test_what_does_not_return_one_number_is_refused(text, words):
    with pytest.raises(TextError) as caught:
        parse_number(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "point", "expected"),
    [
        ("abs(x)", 0.0, (-1, 1)),
        ("abs(x - 1) * 3 + x", 1.0, (-2, 4)),
        ("relu(x)", 0.0, (0, 1)),
        ("abs(x)", 0.001, None),
        ("x * abs(x)", 0.0, None),
        ("x**2 + 100000", 0.0, None),
        ("sin(100 * x)", 0.3, None),
        ("floor(x)", -0.5, None),
        ("1000000 * x**3", 2.0, None),
    ],
)
def test_a_kink_is_told_by_the_slopes_on_both_sides(text, point, expected):
    found = kinks(TypedScalarFunction(text, ("x",), (-5.0, 5.0)), (point,), ())
    if expected is None:
        assert found == {}
    else:
        np.testing.assert_allclose(found["x"], expected, atol=1e-3)


def test_a_jump_a_pole_and_an_edge_have_no_derivative_and_each_variable_is_told_by_itself():
    for text, point in (("floor(x)", 1.0), ("1 / x", 0.0), ("sqrt(x)", 0.0), ("log(x)", -1.0), ("cbrt(x)", 0.0)):
        assert set(kinks(TypedScalarFunction(text, ("x",), (-5.0, 5.0)), (point,), ())) == {"x"}, text
    name = TypedScalarFunction("a * abs(y) + x**2", ("x", "y"), (-5.0, 5.0))
    assert set(kinks(name, (1.0, 0.0), (2.0,))) == {"y"}
    np.testing.assert_allclose(kinks(name, (1.0, 0.0), (2.0,))["y"], (-2, 2), atol=1e-3)
