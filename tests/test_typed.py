"""`lib/routines/typed.py`: what is typed agrees with NumPy, and whatever is hostile is refused with a sentence."""

import gc
import time

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lib.routines.typed import (
    FUNCTIONS,
    MAX_LENGTH,
    TextError,
    TypedFunction,
    check,
    parse,
    parse_shape,
    piece_of,
)

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))
ONE_TO_ONE = "sin cos tan arctan sinh cosh tanh arcsinh exp expm1 exp2 square abs cbrt erf sigmoid relu softplus silu"
ESCAPES = [
    "__import__('os')", "().__class__.__bases__", "(lambda: 0)()", "[y for y in x]", "{y: 1 for y in x}", "9**9**9",
    '"a"*10**9', "(" * 200 + "x" + ")" * 200, "-" * 299 + "x", "~" * 299 + "x", "[" * 299, "x[10**9]", "1e400",
    "10**1000000", "9" * 300, "x" * 1_000_000, "(" * 1_000_000, "x\0", "\0", "\ud800x", "x\udfff", "\u202ex + 1\u202c",
    "\u05d0 + 1", "\u0645", "ｓin(x)", "ѕin(x)", "x\u0301", "𝐱 + 1", "\U0010ffff", "(y := x)", 'f"{x!r:{y}}"', "f'{x}'",
    "b'x'", "r'x'", "@x", "...", "x[...]", "x if x else y", "print(1)", "open('/etc/passwd')", "x \\\n+ 1", "x\n+1",
    "x +\t1", "x # y", "٣ + x", "x²", "x and y", "not x", "x or y", "lambda: x", "lambda", "yield", "await x", "*x",
    "sin(*x)", "sin(**x)", "x.real", "x.__class__", "np.sin(x)", "jnp.linalg.norm(x)", "x_1", "_", "1_000 * x", "0x10 * x",
    "1j * x", "y" * 21, "007", "1.2.3", "1..real", "x = 1", "f(x) = x", "x == y == 1", "0 < x < 1", "x is y", "x in y", "True * x",
    "None", "x[None", "x[None].T", "x[x]", "x[1.0]", "x[-y]", "x[::0]", "x[[0]]", "x[True]", "(x, y)", "[x]", "{x}", "{}",
    "pi[0]", "2[0]*x", "sin", "sin(sin)", "sin()", "sin(x, y)", "where(x, 1, 2)", "sum(x, axis=x)", "sum(x, axis=1e3)", "sum(x, axis=999)",
    "sum(x, keepdims=1)", "sum(x, axis=0, axis=1)", "sin(x, axis=0)", "x(1)", "x()()", "sin(x)(1)", "(x + 1)(2)", "snh(x)",
    "eval(x)", "exec(x)", "getattr(x, y)", "breakpoint()", "exit()", "import os", "del x", "x; y", "x, y", "x //  y",
    "x << 9", "x ^ y", "~x", "x & y", "-(x > 0) & x", "1/0 * x", "0**-1 * x", "(-8)**0.5 * x", "1e12 * 10 * x",
    "x**65", "x**-65", "x**1e300", "2**64*x", "1 + 1", "pi", "", "   ", "\t", "a+b+c+d+f+g+h", "+".join("x" * 140), "$x", "?x",
    "!x", "x!", "`x`", "x'", "''", '"""', "x if", "x[", "x]", ")x(", ",", "=", "==", "axis=1", ":=", "->x", "x->y",
]  # fmt: skip


def refused(text: str) -> TextError:
    begun = time.thread_time()  # of the processor's: a busy machine is no failure
    with pytest.raises(TextError) as caught:
        parse(text)
    assert time.thread_time() - begun < 0.1
    assert_well_made(caught.value)
    return caught.value


def assert_well_made(error: TextError) -> None:
    sentence = str(error)
    assert sentence.endswith((".", "?")) and "\n" not in sentence and len(sentence) < 160
    sentence.encode()
    assert 0 <= error.start <= error.end <= len(error.text) and (error.start < error.end or not error.text)
    lines = error.pointer().split("\n")
    assert len(lines) == 2 and max(map(len, lines)) < 70 and all(line.isprintable() for line in lines)
    assert "^" in lines[1] or not error.text


def read(text: str) -> TypedFunction | None:
    """What a text parses to, None if it is refused well."""
    gc.disable()  # what other tests have left takes longer to go through than any text
    begun = time.thread_time()
    try:
        return parse(text)
    except TextError as error:
        assert_well_made(error)
        return None
    finally:
        gc.enable()
        assert time.thread_time() - begun < 0.1


def expressions(leaves: list[str]) -> st.SearchStrategy[str]:
    def wider(inner):
        pair = st.tuples(inner, inner)
        return st.one_of(
            st.tuples(st.sampled_from(ONE_TO_ONE.split()), inner).map(lambda t: f"{t[0]}({t[1]})"),
            st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            pair.map(lambda t: f"where({t[0]} > 0.3, {t[0]}, {t[1]})"),
            pair.map(lambda t: f"where(({t[0]} < 1) & ~({t[1]} >= 2), {t[1]}, 1)"),
            pair.map(lambda t: f"maximum({t[0]}, -{t[1]})"),
            pair.map(lambda t: f"hypot({t[0]}, {t[1]})"),
            inner.map(lambda t: f"clip({t}, -1, 2)"),
            inner.map(lambda t: f"(1 + ({t})**2)**0.5"),
            inner.map(lambda t: f"({t})**3"),
            inner.map(lambda t: f"-{t} / 3"),
        )

    return st.recursive(st.sampled_from(leaves), wider, max_leaves=6)


def assert_agrees_with_numpy(text: str, *args: np.ndarray) -> None:
    function = parse(text)
    expected = function.numpy(*args)
    with jax.enable_x64(True):
        found = np.asarray(function(*args))
    assert found.shape == np.shape(expected)
    sane = np.isfinite(expected) & (np.abs(expected) < 1e6)
    np.testing.assert_allclose(found[sane], np.asarray(expected)[sane], rtol=1e-5, atol=1e-5)


@settings(QUICK, max_examples=40, derandomize=True)
@given(expressions(["x", "y", "x", "0.7", "2", "pi", "e"]), st.floats(-2, 2), st.floats(-2, 2))
def test_random_expressions_of_numbers_agree_with_numpy(text, x, y):
    function = read(text)
    assume(function is not None)
    values = {"x": np.float64(x), "y": np.float64(y)}
    assert_agrees_with_numpy(text, *(values[name] for name in function.arguments))


@settings(QUICK, max_examples=30, derandomize=True)
@given(
    expressions(["x", "y", "x[0]", "x[-1]", "sum(y)", "y[::-1]", "mean(x)", "(x @ y)", "0.5", "softmax(x)", "norm(y)"])
)
def test_random_expressions_of_vectors_agree_with_numpy(text):
    function = read(text)
    assume(function is not None)
    values = {"x": np.array([0.3, -1.2, 0.7]), "y": np.array([-0.4, 0.9, 1.6])}
    args = [values[name] for name in function.arguments]
    assert_agrees_with_numpy(text, *args)
    assert check(function, {name: (3,) for name in function.arguments}) == np.shape(function.numpy(*args))


SQUARE = np.array([[0.2, 0.9, 0.4], [0.8, 0.3, 0.6], [0.5, 0.1, 0.7]])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_agrees_with_numpy_on_a_matrix_and_along_an_axis(name):
    function = FUNCTIONS[name]
    names = ["x", "y", "z"][: function.least]
    first = ["x > 0.5"] if name == "where" else ["x"]
    text = f"{name}({', '.join([*first, *names[1:]])})"
    args = [SQUARE, 0.8 * SQUARE.T + 0.1, SQUARE + 0.2][: function.least]
    assert_agrees_with_numpy(text, *args)
    assert_agrees_with_numpy(text, *(arg.astype(np.float32) for arg in args))
    if function.takes_axis:
        assert_agrees_with_numpy(f"{name}(x, axis=-2)", SQUARE)


@pytest.mark.parametrize(
    ("text", "by_hand"),
    [
        ("sin(x) * x**2 - 1/x", lambda x: np.sin(x) * x**2 - 1 / x),
        ("-x**2", lambda x: -(x**2)),
        ("2**x", lambda x: 2**x),
        ("x % 0.35", lambda x: x % 0.35),
        ("(x > 0.4) * x", lambda x: (x > 0.4) * x),
        ("where((x > 0.2) & ~(x > 0.5) | (x == 0.9), 1, x)", lambda x: np.where((x > 0.2) & ~(x > 0.5) | (x == 0.9), 1, x)),
        ("x[:, None, 0] * x[1, 1:3]", lambda x: x[:, None, 0] * x[1, 1:3]),
        ("x @ x[::-1]", lambda x: x @ x[::-1]),
        ("stack(x[0], x[1]) * pi", lambda x: np.stack([x[0], x[1]]) * np.pi),
        ("x > 0.4", lambda x: x > 0.4),
    ],
)  # fmt: skip
def test_a_text_means_what_it_means_in_python(text, by_hand):
    for found in (parse(text)(SQUARE), parse(text).numpy(SQUARE)):
        np.testing.assert_allclose(found, by_hand(SQUARE), rtol=1e-5, atol=1e-6)


def test_names_are_arguments_in_order_of_appearance_and_functions_are_equal_by_text():
    function = parse("  b * sin(a)  +  b ")
    assert function.arguments == ("b", "a") and function.text == "b * sin(a) + b"
    assert function == parse("b * sin(a) + b") and hash(function) == hash(parse("b * sin(a) + b"))
    assert function != parse("b * sin(a)") and function.__name__ == "f"
    assert parse("x > 1").boolean and not parse("x + 1").boolean


@pytest.mark.parametrize("text", ESCAPES, ids=range(len(ESCAPES)))
def test_an_escape_is_refused_with_a_sentence_at_its_place(text):
    refused(text)


@pytest.mark.parametrize(
    ("text", "words", "piece"),
    [
        ("1 + np.sin(x)", "sin(x)", "np.sin"),
        ("1 + snh(x)", "sinh", "snh"),
        ("2x", "*", "2x"),
        ("x ^ 2", "**", "^"),
        ("f = x + 1", "alone", "f ="),
        ("0 < x < 1", "&", "0 < x < 1"),
        ("x if y else z", "where", "if"),
        ("x and y", "&", "and"),
        ("x + 1e13", "1e+12", "1e13"),
        ("y + x**100", "64", "x**100"),
        ("x + λ", "λ", "λ"),
    ],
)
def test_a_refusal_says_what_to_write_and_points_at_the_place(text, words, piece):
    error = refused(text)
    assert words in str(error) and error.text[error.start : error.end] == piece
    shown, carets = error.pointer().split("\n")
    assert shown[carets.index("^") :].startswith(piece) and carets.count("^") == len(piece)


TOKENS = [
    "x", "y", "sin", "sum", "where", "axis", "lambda", "for", "in", "if", "else", "import", "None", "True", "np", "1", "0",
    "1e300", "9" * 19, "10**9", "(", ")", "[", "]", "{", "}", "(((((", ")))))", "**", "@", "%", "&", "|", "~", "-", ":", ":=",
    "=", "==", ",", ".", "...", "'", '"', "f'", "\\", "\n", "\0", "_", "__", "#", ";", "\u202e", "\ud800", "λ", " ",
]  # fmt: skip
VALID = [
    "sin(x) * x**2 - 1/x", "where((x > 0) & (y < 1), x, sum(y, axis=-1))", "x[:, None] * y[1, ::2]", "softmax(w @ x + b)",
]  # fmt: skip


@settings(QUICK, max_examples=300)
@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(TOKENS), max_size=25).map("".join)))
def test_noise_is_read_or_refused_at_once(text):
    read(text)


@settings(QUICK, max_examples=300)
@given(
    st.sampled_from(VALID), st.integers(0, 60), st.integers(0, 9), st.one_of(st.sampled_from(TOKENS), st.characters())
)
def test_a_damaged_text_is_read_or_refused_at_once(text, at, cut, put):
    read(text[:at] + put + text[at + cut :])


def test_the_longest_text_is_read_and_a_longer_one_is_not():
    longest = " * ".join(["sin(x)"] * 33) + " + 1"
    assert len(longest) == MAX_LENGTH - 2 and parse(longest).arguments == ("x",)
    assert "300" in str(refused(longest + "000"))


@pytest.mark.parametrize(
    ("transform", "at"),
    [(lambda f: f, 1.0), (jax.grad, 1.0), (lambda f: jax.vmap(jax.grad(f)), np.ones(3)), (jax.hessian, 1.0)],
    ids=["f", "grad", "vmap", "hessian"],
)
def test_equations_say_which_piece_of_the_text_they_come_from(transform, at):
    function = parse("sin(x) / (1 + exp(-x))")
    jaxpr = jax.make_jaxpr(transform(function))(at)
    pieces = {piece_of(eqn.source_info.name_stack) for eqn in jaxpr.eqns} - {""}
    assert {"sin(x)", "exp(-x)", "-x"} <= pieces and all(piece in function.text for piece in pieces)


@pytest.mark.parametrize(
    ("text", "shapes", "batch_size", "expected"),
    [
        ("w @ x + b", {"w": (3, 5), "x": (5,), "b": (3,)}, 64, (3,)),
        ("outer(x, y)", {"x": (3,), "y": (4,)}, 1, (3, 4)),
        ("x * 2", [()], 4096, ()),
    ],
)
def test_check_gives_the_shape_of_the_result(text, shapes, batch_size, expected):
    assert check(parse(text), shapes, batch_size) == expected


@pytest.mark.parametrize(
    ("text", "shapes", "batch_size", "piece"),
    [
        ("1 + w @ x", [(3, 5), (4,)], 1, "w @ x"),
        ("1 + x[3]", [(3,)], 1, "x[3]"),
        ("x[0]", [()], 1, "x[0]"),
        ("sum(x, axis=1)", [(3,)], 1, "sum(x, axis=1)"),
        ("1 + outer(x, outer(x, x))", [(64, 64)], 1, "outer(x, x)"),
        ("x @ x", [(64, 64)], 4096, "x @ x"),
        ("x[0, 0, 0]", [(64, 64, 64)], 4096, "x[0, 0, 0]"),
        ("x", [(64, 64, 64)], 4096, "x"),
        ("x + y", [(3,), (4,)], 1, "x + y"),
        ("2 @ x", [(3,)], 1, "2 @ x"),
    ],
)
def test_shapes_that_do_not_fit_and_too_much_work_are_refused_at_the_place(text, shapes, batch_size, piece):
    with pytest.raises(TextError) as caught:
        check(parse(text), shapes, batch_size)
    assert_well_made(caught.value)
    assert caught.value.text[caught.value.start : caught.value.end] == piece


@pytest.mark.parametrize(
    ("text", "shape"), [("()", ()), ("5", (5,)), ("(5,)", (5,)), ("(3, 5)", (3, 5)), (" 64,1 , 2 ", (64, 1, 2))]
)
def test_a_shape_is_read(text, shape):
    assert parse_shape(text) == shape


@pytest.mark.parametrize(
    "text",
    ["", "(", ")", "(3", "3)", "a", "65", "0", "(3, 0)", "-1", "1.5", "1,2,3,4", "9" * 10**6, ",", "(,)", "٣", "3 5", "1,,2", "((3))"],
)  # fmt: skip
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(TextError) as caught:
        parse_shape(text)
    assert_well_made(caught.value)


def test_integer_arguments_count_as_numbers():
    assert float(parse("x / 2")(3)) == 1.5 and parse("x / 2").numpy(3) == 1.5
    with pytest.raises(TypeError, match="takes x"):
        parse("x / 2")(1, 2)
