"""`lib/lessons/*/mistakes.py` of the core: each mistake is one, and what it should have been is right."""

import jax
import numpy as np
import pytest

from lib.lessons.compilation import mistakes as compilation
from lib.lessons.jit_grad import mistakes as jit_grad
from lib.lessons.jit_grad_vmap import mistakes as jit_grad_vmap
from lib.lessons.jit_vmap import mistakes as jit_vmap
from lib.routines.mistakes import Mistake, provoke

MODULES = (jit_grad, jit_vmap, jit_grad_vmap, compilation)
REGISTRIES = {module.__name__: module.MISTAKES for module in MODULES}
ALL = {f"{registry}: {name}": mistake for registry, made in REGISTRIES.items() for name, mistake in made.items()}

# The right result of each, worked out by hand. For the lesson's linear loss at w = 0, with inputs of ones and
# targets 0, 1, 2, the gradient of the mean is -2 * mean(targets) = -2 in each of the five weights.
RIGHT = {
    "grad of a function that returns a vector": [2.0, 4.0, 6.0],
    "grad at an integer": 6.0,
    "Python if on a traced value": 1.0,
    "NumPy inside a function to differentiate": np.cos(1.0),
    "NaN through where": 0.0,
    "batch axes of different lengths": [0.0, 1.0, 4.0, 9.0],
    "an axis that the array does not have": np.sin([0.0, 1.0, 2.0]),
    "nothing to map over": [3.0, 4.0],
    "in_axes for some arguments only": [1.0, 2.0, 3.0],
    "no reduction before grad": [-2.0] * 5,
    "in_axes maps the weights too": [-2.0] * 5,
    "grad with respect to the wrong argument": [-2.0] * 5,
    "a list as static argument": 6.0,
    "a new lambda at each call": 1,
    "a Python side effect under jit": 3,
    "reading a donated array": [0.5, 1.5],
}


def right_of(name):
    return np.asarray(RIGHT[name.split(": ", 1)[1]])


def test_there_are_registries_and_every_mistake_has_an_answer():
    assert {name.split(": ", 1)[1] for name in ALL} == set(RIGHT)


@pytest.mark.parametrize("name", ALL)
def test_the_wrong_one_raises_what_it_says_or_gives_another_result(name):
    mistake = ALL[name]
    if mistake.raises is not None:
        with pytest.raises(Exception) as caught:
            mistake.wrong()
        assert type(caught.value) is mistake.raises
        return
    value = np.asarray(mistake.wrong())
    assert value.shape != right_of(name).shape or not np.allclose(value, right_of(name), equal_nan=False)


@pytest.mark.parametrize("name", ALL)
def test_the_right_one_gives_the_right_result(name):
    value = ALL[name].right()
    assert np.shape(value) == right_of(name).shape
    np.testing.assert_allclose(value, right_of(name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_what_is_shown_is_jax_s_own_message_and_the_right_value(name):
    mistake = ALL[name]
    wrong, right = provoke(mistake)
    assert right.error is None and right.text
    if mistake.raises is None:
        assert wrong.error is None and wrong.text != right.text
        return
    with pytest.raises(mistake.raises) as caught:
        mistake.wrong()
    assert wrong.error == mistake.raises.__name__
    # Tracers and ids differ from call to call; the first sentence does not.
    assert wrong.text.split(".")[0][:60] == str(caught.value).split(".")[0][:60]


@pytest.mark.parametrize("name", ALL)
def test_every_mistake_is_explained_in_a_sentence(name):
    explanation = ALL[name].explanation
    assert len(explanation) > 40 and explanation.rstrip().endswith(".")


@pytest.mark.parametrize("name", ALL)
def test_the_functions_of_a_mistake_are_named_so_that_their_source_can_be_shown(name):
    for fun in (ALL[name].wrong, ALL[name].right):
        assert any(getattr(module, fun.__name__, None) is fun for module in MODULES)


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
