"""`lib/lessons/*/mistakes.py`: each mistake is one, and what it should have been is right."""

import inspect
from importlib import import_module

import jax
import numpy as np
import pytest
from conftest import ROOT

from lib.lessons.jit_grad import mistakes as jit_grad
from lib.lessons.jit_grad_vmap import mistakes as jit_grad_vmap
from lib.lessons.state_libraries.routine import LIBRARIES
from lib.routines.mistakes import Mistake, provoke, without_paths

MODULES = {
    path.parent.name: import_module(f"lib.lessons.{path.parent.name}.mistakes")
    for path in sorted(ROOT.glob("lib/lessons/*/mistakes.py"))
}
REGISTRIES: dict[str, dict[str, Mistake]] = {
    lesson: module.mistakes_of(LIBRARIES) if lesson == "state_libraries" else module.MISTAKES
    for lesson, module in MODULES.items()
}

# The right result of each, worked out by hand, or what is true of it where it is drawn or measured. For the linear loss
# at w = 0, with inputs of ones and targets 0, 1, 2, the gradient of the mean is -2 * mean(targets) = -2 in each of the
# five weights.
RIGHT = {
    "compilation": {
        "a list as static argument": 6.0,
        "a new lambda at each call": 1,
        "a Python side effect under jit": 3,
        "reading a donated array": [0.5, 1.5],
    },
    "control_flow": {
        "Python while on a tracer": 192.0,
        "range of a tracer": 32.0,
        "branches of different types": 1.5,
        "a carry that changes its shape": [0.0, 1.0, 2.0],
        "a scan body that gives no pair": 6.0,
        "grad through while_loop": 12.0,
        "a side effect in the body": 4,
    },
    "custom_gradients": {
        "forward mode through custom_vjp": [6.0, 6.0],
        "the cotangent without a tuple": 6.0,
        "a cotangent of another shape": [3.0, 4.0],
        "a function as an argument": 6.0,
        "while_loop in reverse": 1 / 8,
        "a rule that forgets the cotangent": 60.0,
    },
    "debugging": {
        "timing the dispatch": lambda milliseconds: milliseconds > 0,
        "a shape that recompiles": 1,
        "a fresh lambda": 1,
        "an unhashable static argument": 6.0,
        "Python if on a tracer": 1.0,
        "wrong in_axes": [-2.0] * 5,
        "a leaked tracer": 10.0,
        "a side effect under jit": 3,
        "a key used twice": lambda correlation: abs(correlation) < 0.05,
        "grad of a non-scalar": [2.0, 4.0, 6.0],
        "NaN through where": 0.0,
        "an unrolled loop": 1,
        "arrays on two devices": [0.0, 2.0, 4.0],
        "an index out of bounds": [np.nan, 10.0],
        "assignment in place": [0.0, 5.0, 0.0],
        "float64 that is float32": 1.0,
    },
    "jit_grad": {
        "grad of a function that returns a vector": [2.0, 4.0, 6.0],
        "grad at an integer": 6.0,
        "Python if on a traced value": 1.0,
        "NumPy inside a function to differentiate": np.cos(1.0),
        "NaN through where": 0.0,
    },
    "jit_grad_vmap": {
        "no reduction before grad": [-2.0] * 5,
        "in_axes maps the weights too": [-2.0] * 5,
        "grad with respect to the wrong argument": [-2.0] * 5,
    },
    "jit_vmap": {
        "batch axes of different lengths": [0.0, 1.0, 4.0, 9.0],
        "an axis that the array does not have": np.sin([0.0, 1.0, 2.0]),
        "nothing to map over": [3.0, 4.0],
        "in_axes for some arguments only": [1.0, 2.0, 3.0],
    },
    "multi_device": {
        "a batch that does not divide": 12.0,
        "arrays on two devices": [2.0] * 4,
        "a sum that stays on its device": 28.0,
        "gradients that nobody averages": [0.7] * 4,  # the mean of 0 ... 7 is 3.5, and a step goes a fifth of the way
    },
    "pytrees": {
        "a key used twice": lambda difference: abs(difference) > 0.1,
        "a key used twice, under debug_key_reuse": lambda difference: abs(difference) > 0.1,
        "split and fold_in of one key": lambda difference: abs(difference) > 0.1,
        "trees of different structure": [0.5, 0.5],
        "leaves in the order of writing": [3.0, 4.0],
        "None in a tree": 3,
        "a class that is not registered": 10.0,  # d/ds (2 s + 0.5)**2 = 4 (2 s + 0.5) at s = 1
        "a global that changes": 30.0,
    },
    "state_libraries": {
        "Flax NNX: a module changed under plain jax.jit": 2,
        "Flax NNX: a variable that the jitted function finds outside": 1,
        "Flax NNX: model.eval() forgotten": [1.0] * 8,
        "Flax Linen: apply without mutable": [1.0],  # half of 0 and half of the batch's mean, 2
        "Flax Linen: dropout without a key": lambda outputs: set(outputs.tolist()) == {0, 2},
        "Equinox: jax.jit of a module that holds a function": [1],
        "Equinox: a weight assigned": [5.0],
        "Haiku: a module outside of transform": [3],
        "Haiku: the new state not kept": [1, 2, 3],
    },
}


def test_every_mistake_has_a_right_result():
    assert {lesson: set(registry) for lesson, registry in REGISTRIES.items()} == {
        lesson: set(results) for lesson, results in RIGHT.items()
    }


every_mistake = pytest.mark.parametrize(
    ("lesson", "name"), [(lesson, name) for lesson, registry in REGISTRIES.items() for name in registry]
)


@every_mistake
def test_the_right_one_gives_the_right_result(lesson, name):
    value, expected = np.asarray(REGISTRIES[lesson][name].right()), RIGHT[lesson][name]
    if callable(expected):
        assert expected(value)
        return
    assert value.shape == np.shape(expected)
    np.testing.assert_allclose(value, expected)


@every_mistake
def test_the_wrong_one_raises_what_it_says_or_gives_another_result(lesson, name):
    mistake = REGISTRIES[lesson][name]
    if mistake.raises is not None:
        with pytest.raises(Exception) as caught:
            mistake.wrong()
        # JAX's internal subclasses have no public name to be told by.
        assert next(cls for cls in type(caught.value).__mro__ if "._src" not in cls.__module__) is mistake.raises
        return
    wrong, right = np.asarray(mistake.wrong()), np.asarray(mistake.right())
    assert wrong.shape != right.shape or not np.allclose(wrong, right, equal_nan=True)


@every_mistake
def test_what_is_shown_is_jax_s_own_message_and_the_right_value(lesson, name):
    mistake = REGISTRIES[lesson][name]
    wrong, right = provoke(mistake)
    assert right.error is None and right.text and wrong.text != right.text
    if mistake.raises is None:
        assert wrong.error is None
        return
    with pytest.raises(mistake.raises) as caught:
        mistake.wrong()
    assert wrong.error == type(caught.value).__name__
    # Tracers and ids differ from call to call; the first sentence does not.
    assert wrong.text.split(".")[0][:60] == without_paths(str(caught.value)).split(".")[0][:60]


@every_mistake
def test_every_mistake_is_explained_in_a_sentence(lesson, name):
    explanation = REGISTRIES[lesson][name].explanation
    assert len(explanation) > 40 and explanation.endswith((".", ".)"))


@every_mistake
def test_the_functions_of_a_mistake_are_named_so_that_their_source_can_be_shown(lesson, name):
    mistake = REGISTRIES[lesson][name]
    for fun in (mistake.wrong, mistake.right):
        shown = inspect.unwrap(fun)
        assert any(inspect.unwrap(vars(module).get(shown.__name__)) is shown for module in MODULES.values())


def test_the_nan_is_one():
    assert np.isnan(jit_grad.nan_through_where())


def test_the_gradient_of_the_targets_is_one_number_a_target():
    # d/dy mean((w @ x - y)**2) = -2 (w @ x - y) / 3
    np.testing.assert_allclose(jit_grad_vmap.gradient_of_the_targets(), [0, 2 / 3, 4 / 3], rtol=1e-5)


def test_an_exception_of_another_type_passes():
    broken = Mistake(lambda: 1 / 0, lambda: 1, TypeError, "")
    with pytest.raises(ZeroDivisionError):
        provoke(broken)


def test_a_wrong_one_that_does_not_raise_shows_its_value():
    wrong, right = provoke(Mistake(lambda: 2.0, lambda: (1.0, jax.numpy.arange(2)), TypeError, ""))
    assert (wrong.error, wrong.text) == (None, "2.")
    assert right.text == "1.\n[0 1]"


def raises_with_a_path():
    raise ValueError(
        "at /srv/app/lib/lessons/x.py:12:4 (f), and /usr/lib/python3.11/site-packages/jax/_src/core.py:7; see https://docs.jax.dev/en/latest/errors.html, or a/b.py"
    )


def test_an_error_says_nothing_of_where_the_server_keeps_its_files() -> None:
    wrong, _ = provoke(Mistake(raises_with_a_path, int, ValueError, ""))
    assert wrong.text == "at x.py:12:4 (f), and core.py:7; see https://docs.jax.dev/en/latest/errors.html, or a/b.py"


@pytest.mark.parametrize(
    ("value", "text"), [((3,), "(3,)"), ((), "()"), ((2, 3), "(2, 3)"), ((1.5, np.ones(2)), "1.5\n[1. 1.]")]
)
def test_a_shape_is_shown_as_a_shape(value, text) -> None:
    assert provoke(Mistake(lambda: value, lambda: value, None, ""))[1].text == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at /srv/app/lib/x.py:64 traced for jit", "at x.py:64 traced for jit"),
        ("This error occurs at source:  /srv/a-b/lib/x.py:21:11 (f)", "This error occurs at source:  x.py:21:11 (f)"),
        ('File "/usr/lib/python3.11/site.py", line 3', 'File "site.py", line 3'),
        ("See https://docs.jax.dev/en/latest/errors.html#x and f32[4]/f32[2]", None),
    ],
)
def test_an_error_names_the_file_and_not_where_it_is_on_the_server(text, shown):
    assert without_paths(text) == (text if shown is None else shown)


@pytest.mark.parametrize("name", ["Python if on a tracer", "a leaked tracer"])
def test_an_error_in_jax_s_own_words_has_no_folder_of_the_server(name):
    wrong, _ = provoke(REGISTRIES["debugging"][name])
    assert "mistakes.py:" in wrong.text and "/lib/" not in wrong.text
    assert "https://docs.jax.dev/" in wrong.text
