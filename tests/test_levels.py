"""`lib/lessons/composition/levels.py`: every prefix of a stack traced, refused with a reason, and its value checked."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from lib.lessons.composition import levels, transforms
from lib.lessons.composition.levels import (
    MAX_EVALUATIONS,
    MAX_KEPT,
    MAX_LINES,
    check_value,
    level_arguments,
    level_signature,
    relative_error,
    report_level,
    trace_levels,
    value_text,
)
from lib.lessons.composition.routine import BROKEN, FUNCTIONS, typed_function
from lib.lessons.composition.transforms import Leaf, expression, parse
from lib.measure import compile_log, jaxprs

SQUARED = FUNCTIONS["squared loss"]
PER_EXAMPLE = "jit(vmap(grad(f), in_axes=(None, 0, 0)))"


def typed(text: str, *shapes: tuple[int, ...], shared: tuple[str, ...] = ()):
    return typed_function(text, shapes, shared, False)


# Levels.


def test_every_prefix_is_a_level() -> None:
    found = trace_levels(SQUARED, parse(PER_EXAMPLE), 4)
    assert [expression(level.stack) for level in found] == [
        "f", "grad(f)", "vmap(grad(f), in_axes=(None, 0, 0))", PER_EXAMPLE
    ]  # fmt: skip
    assert [level.signature.output.shape for level in found] == [(), (3,), (4, 3), (4, 3)]
    assert [level.head[1] for level in found] == ["in f32[]", "in f32[3]", "in f32[4,3]", "in f32[4,3]"]
    assert [level.equations for level in found] == [3, 6, 6, 7]
    assert set(found[0].marks) == {jaxprs.SAME} and set(found[2].marks) == {jaxprs.CHANGED}
    for level in found:
        assert not level.error and not level.explanation and not level.collapsed
        assert len(level.lines) == len(level.marks) == level.equations
        assert level.flowchart.startswith("flowchart TD") and level.names == ("w", "x", "y")


@pytest.mark.parametrize("name", BROKEN)
def test_a_refused_level_ends_the_ladder_and_those_below_stay(name: str) -> None:
    function, stack = FUNCTIONS[BROKEN[name][0]], parse(BROKEN[name][1])
    *below, refused = trace_levels(function, stack, 4)
    assert below and all(level.signature is not None and level.lines for level in below)
    assert refused.signature is None and not refused.lines and not refused.flowchart
    assert refused.error in ("TypeError", "ValueError") and refused.text
    assert refused.explanation.endswith(".")
    assert refused.stack == stack[: len(below)] and refused.inputs and refused.names
    with pytest.raises((TypeError, ValueError)) as raised:
        shapes = [
            np.zeros(leaf.shape, np.float32) for leaf in jax.tree.leaves(refused.inputs, is_leaf=transforms.is_leaf)
        ]
        transforms.apply(function.fun, refused.stack)(*shapes)
    assert type(raised.value).__name__ == refused.error


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    text = "a" * 3000 + "b" * 5000 + "c" * 3000
    brief = levels._brief(text)
    assert len(brief) < 4100 and brief.startswith("a" * 2000) and brief.endswith("c" * 2000)
    assert levels._brief("short") == "short"


@pytest.mark.parametrize(
    ("function", "text"),
    [(SQUARED, "vmap(vmap(f))"), (SQUARED, "jacrev(vmap(f))"), (FUNCTIONS["Rosenbrock"], "hessian(mean(vmap(f)))")],
)
def test_what_is_too_large_is_refused_before_anything_is_allocated(function, text: str, monkeypatch) -> None:
    def refuse(*_):
        raise AssertionError("numbers were drawn")

    monkeypatch.setattr(levels.transforms, "draw", refuse)
    before = {id(array) for array in jax.live_arrays()}
    *below, last = trace_levels(function, parse(text), 4096)
    assert below and all(level.signature is not None for level in below)
    assert last.signature is None and not last.error and last.explanation.endswith(".")
    assert "Batch size" in last.explanation
    assert not any(array.size > 4096 for array in jax.live_arrays() if id(array) not in before)


def test_of_many_lines_the_beginning_is_kept() -> None:
    last = trace_levels(FUNCTIONS["network loss"], parse("hessian(hessian(f))"), 1)[-1]
    assert last.equations > MAX_LINES == len(last.lines) == len(last.marks) and last.collapsed


BOOLEAN = typed("x > 0", ())


@pytest.mark.parametrize(
    "text", ["grad(f)", "value_and_grad(f)", "jvp(f)", "vjp(f)", "jacfwd(f)", "jacrev(f)", "hessian(f)"]
)
def test_what_is_true_or_false_has_no_derivative(text: str) -> None:
    for function, stack in ((BOOLEAN, text), (typed("x > 0", (2, 3)), text.replace("(f)", "(sum(f))"))):
        *below, last = trace_levels(function, parse(stack), 2)
        assert len(below) == len(parse(stack)) and last.signature is None
        assert "no derivative" in last.explanation


@pytest.mark.parametrize(
    ("text", "value"), [("sum(vmap(f))", 1.0), ("mean(vmap(f))", 0.5), ("grad(mean(vmap(f)))", 0.0)]
)
def test_what_is_true_or_false_can_be_counted(text: str, value: float) -> None:
    args = level_arguments(BOOLEAN, parse("vmap(f)"), 64, 0)[0]
    value = {1.0: (args > 0).sum(), 0.5: (args > 0).mean(), 0.0: np.zeros(64)}[value]
    report = report_level(BOOLEAN, parse(text), 64, 0)
    np.testing.assert_allclose(report.numbers, value, rtol=1e-6)
    assert report.check.error < 1e-6


ODD = [
    ("squared loss", "grad(f, argnums=(0, 2))"),
    ("squared loss", "jit(value_and_grad(f, argnums=(-1, 1)))"),
    ("squared loss", "vmap(f, in_axes=(-1, -1, -1))"),
    ("affine", "vmap(f, in_axes=(None, None, 0), out_axes=-1)"),
    ("affine", "vmap(f, in_axes=(None, None, 0), out_axes=-2)"),
    ("squared loss", "vmap(vmap(grad(f), in_axes=(None, 0, 0)), in_axes=(0, None, None))"),
    ("Rosenbrock", "vmap(vmap(f, in_axes=1), in_axes=-1)"),
    ("Rosenbrock", "vjp(value_and_grad(f))"),
    ("squared difference", "jvp(jvp(f))"),
    ("squared difference", "vmap(jvp(vjp(f)))"),
    ("growing wave", "vjp(vjp(vjp(f)))"),
    ("growing wave", "jvp(jvp(jvp(f)))"),
]
TYPED = [
    ("x", ((2, 3),)),
    ("sin(x) * y", ((2, 3), (3,))),
    ("x * 0 + 1", ((),)),
    ("softmax(x)", ((4,),)),
    ("a @ b", ((2, 3), (3,))),
]


@pytest.mark.parametrize(
    ("function", "text"),
    [*((FUNCTIONS[name], text) for name, text in ODD),
     *((typed(text, *shapes), stack) for text, shapes in TYPED
       for stack in ("f", "jit(vmap(f))", "jvp(f)", "vjp(f)", "grad(sum(f))", "vmap(jacfwd(f), out_axes=-1)"))],
)  # fmt: skip
def test_odd_stacks_agree_with_numpy(function, text: str) -> None:
    last = trace_levels(function, parse(text), 3)[-1]
    assert last.signature is not None, last
    assert len(set(last.names)) == len(last.names)
    report = report_level(function, parse(text), 3, 0)
    assert not report.check.skipped and report.check.error < 1e-4


# Values.


def test_a_value_against_numpy_by_hand() -> None:
    w, x, y = (np.asarray(a, np.float64) for a in level_arguments(SQUARED, parse(PER_EXAMPLE), 4, 3))
    report = report_level(SQUARED, parse(PER_EXAMPLE), 4, 3)
    np.testing.assert_allclose(report.numbers.reshape(4, 3), 2 * (x @ w - y)[:, None] * x, rtol=1e-5, atol=1e-5)
    assert report.numbers.dtype == np.float32
    assert report.check.batch_size == 4 and report.check.evaluations == 4 * (4 * 3 + 1)
    assert report.check.error < 1e-5 and not report.check.skipped
    assert np.array2string(report.numbers.reshape(4, 3), precision=5) == report.value


@pytest.mark.parametrize("text", ["f", "grad(f)", "jit(grad(f))", PER_EXAMPLE, "jvp(f)", "hessian(f)"])
def test_a_wrong_function_is_found_out(text: str) -> None:
    def wrong(w, x, y):
        return (w @ x - y) ** 2 * 1.5 + 1

    right = report_level(SQUARED, parse(text), 2, 0)
    found = report_level(replace(SQUARED, numpy=wrong), parse(text), 2, 0)
    assert right.check.error < 1e-5
    assert found.check.error > 0.1
    np.testing.assert_array_equal(found.numbers, right.numbers)  # what JAX computes is what is shown


def test_a_value_is_checked_for_a_smaller_batch_where_the_loops_would_take_long() -> None:
    stack = parse(PER_EXAMPLE)
    for batch_size, expected in ((300, 300), (400, 4)):
        args = level_arguments(SQUARED, stack, batch_size, 0)
        value = jax.device_get(jax.jit(levels.transforms.apply(SQUARED.fun, stack))(*args))
        assert value.shape == (batch_size, 3)
        found = check_value(SQUARED, stack, batch_size, 0, value)
        assert found.batch_size == expected and found.evaluations == 13 * expected <= MAX_EVALUATIONS
        assert found.error < 1e-5 and not found.skipped


def test_what_would_take_too_long_at_any_batch_is_not_checked() -> None:
    report = report_level(FUNCTIONS["network loss"], parse("hessian(hessian(f))"), 8, 0)
    assert report.check.skipped.startswith("the differences would take") and report.check.evaluations > MAX_EVALUATIONS


def test_large_arrays_count_as_several_evaluations() -> None:
    function = typed("sum(sin(x))", (64, 64))
    assert check_value(function, parse("vmap(f)"), 64, 0, np.zeros(64)).batch_size == 64
    assert levels._numbers(function) == 64 * 64 + 1
    found = check_value(function, parse("jacrev(f)"), 1, 0, np.zeros((64, 64)))
    assert found.skipped == "the differences would take 16,385 evaluations of 4,097 numbers each"


def test_of_many_numbers_none_are_kept() -> None:
    function = FUNCTIONS["growing wave"]
    few, many = (report_level(function, parse("vmap(f)"), size, 0) for size in (MAX_KEPT, MAX_KEPT + 1))
    x = level_arguments(function, parse("vmap(f)"), MAX_KEPT, 0)[0].astype(np.float64)
    np.testing.assert_allclose(few.numbers, x * np.sin(x), rtol=1e-5, atol=1e-6)
    assert many.numbers is None and "..." in many.value


def test_the_numbers_of_several_arrays_stand_in_order() -> None:
    function = FUNCTIONS["squared difference"]
    x, y = level_arguments(function, (), 1, 0)
    report = report_level(function, parse("value_and_grad(f, argnums=(0, 1))"), 1, 0)
    np.testing.assert_allclose(report.numbers, [(x - y) ** 2, 2 * (x - y), -2 * (x - y)], rtol=1e-5)
    assert [line for line in report.value.split("\n") if "=" in line] == ["[0] =", "[1][0] =", "[1][1] ="]


def test_arguments_have_the_predicted_shapes() -> None:
    stack = parse("vmap(vjp(f), in_axes=(None, 0, 0, 0))")
    signature = level_signature(SQUARED, stack, 5)
    assert signature.names == ("w", "x", "y", "ct")
    shapes = [leaf.shape for leaf in signature.inputs]
    assert [a.shape for a in level_arguments(SQUARED, stack, 5, 0)] == shapes == [(3,), (5, 3), (5,), (5,)]
    assert all(isinstance(leaf, Leaf) for leaf in signature.output)


# Errors.

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "oracle", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.0, 2.5], 0.2),
        ([0.1], [0.2], 0.1),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, 1.0], [0.0, 1.0], NAN),
        ([0.0, 1.0], [NAN, 1.0], NAN),
        ([INF, -INF], [INF, -INF], 0.0),
        ([INF], [-INF], INF),
        ([INF], [3.0], INF),
        ([INF], [NAN], NAN),
        ([1.0], [[1.0]], NAN),
        ([], [], 0.0),
        (([1.0], [100.0]), ([2.0], [100.0]), 0.01),
        ([True, False], [1.0, 1.0], 1.0),
    ],
)
def test_relative_error_by_hand(value, oracle, expected: float) -> None:
    def arrays(tree):
        return tuple(map(np.array, tree)) if isinstance(tree, tuple) else np.array(tree)

    with np.errstate(invalid="ignore"):
        found = relative_error(arrays(value), arrays(oracle))
    assert type(found) is float and found == pytest.approx(expected, nan_ok=True)


def test_a_long_array_is_abbreviated() -> None:
    assert value_text(np.float32(1.5)) == "1.5"
    assert value_text((np.zeros(2), np.ones(()))) == "[0] =\n[0. 0.]\n[1] =\n1."
    assert len(value_text(np.zeros(100_000))) < 60


def test_programs_are_kept_by_their_number_and_by_their_size(monkeypatch) -> None:
    (device,) = jax.device_put(np.float32(0)).devices()
    monkeypatch.setattr(levels, "_programs", {})

    def sizes() -> list[int]:
        return [key[2] for key in levels._programs]

    for size in (2, 3, 2, 4):
        _, stages = levels._compiled(SQUARED, parse("vmap(f, in_axes=(None, 0, 0))"), size, device)
        monkeypatch.setattr(levels, "MAX_PROGRAM_EQUATIONS", 2 * stages.equations)
    assert sizes() == [2, 4], "the least recently used is dropped"
    monkeypatch.setattr(levels, "MAX_PROGRAM_EQUATIONS", 1)
    levels._compiled(SQUARED, parse("vmap(f, in_axes=(None, 0, 0))"), 4, device)
    assert sizes() == [4], "one is kept, however large"


def test_another_seed_compiles_nothing() -> None:
    stack = parse(PER_EXAMPLE)
    first = report_level(SQUARED, stack, 4, 100)
    compiled = compile_log.compilations()
    other = report_level(SQUARED, stack, 4, 101)
    assert compile_log.compilations() == compiled
    assert first.stages is other.stages and not np.array_equal(first.numbers, other.numbers)
    assert other.check.error < 1e-5


def test_no_level_is_put_upon_one_that_took_long_to_trace(monkeypatch):
    function, stack = FUNCTIONS["affine"], parse("jit(vmap(f, in_axes=(None, None, 0)))")
    assert [level.error for level in trace_levels(function, stack, 4)] == [""] * 3
    monkeypatch.setattr(levels, "MAX_TRACE_S", 0.0)
    assert not any(level.explanation for level in trace_levels(function, (), 4))
    *whole, refused = trace_levels(function, stack, 4)
    assert len(whole) == 1 and refused.signature is None
    assert re.fullmatch(
        r"To trace the level below took 0\.\d s of .*: leave a level out, or shorten f\.", refused.explanation
    )
