"""Questions: what is offered, how a guess is graded, and that each lesson's truths come from the routine."""

from __future__ import annotations

from math import inf, nan

import pytest

from lib.measure.questions import Choice, Found, Number, Order, Question, grade
from lib.measure.timing import Record

LOSS = Number(0.01, 100)


def test_a_number_is_guessed_among_1_2_5_of_each_decade_or_as_larger_than_all() -> None:
    assert Number(0.1, 10).values == (0.1, 0.2, 0.5, 1, 2, 5, 10, inf)


@pytest.mark.parametrize(
    ("guess", "truth", "right", "words"),
    [
        (0.5, 0.6, True, "a factor of 1.2"),
        (0.5, 6.0, False, "too low by a factor of 12"),
        (50.0, 0.5, False, "too high by a factor of 1e+02"),
        (0.01, 1e-9, True, "right"),
        (0.01, 0.0, True, "right"),
        (5.0, 0.0, False, "too high"),
        (5.0, nan, False, "diverges"),
        (inf, nan, True, "right"),
        (inf, 101.0, True, "right"),
        (100.0, 101.0, True, "a factor of 1"),
        (inf, 99.0, False, "does not diverge"),
    ],
)
def test_a_number_is_right_within_a_factor_of_2(guess, truth, right, words) -> None:
    verdict = grade(guess, Found(truth, ""), LOSS)
    assert verdict.right is right
    assert words in verdict.words


def times(**low_and_high):
    records = [Record(label, "steady", (low + high) / 2, low, high) for label, (low, high) in low_and_high.items()]
    question = Question("", "", Order(tuple(low_and_high)), lambda device: records, "")
    return question.found(records, {"device": None}), question.answer


@pytest.mark.parametrize(
    ("guess", "right", "words"),
    [
        ("abc", True, "1 of 3 pairs cannot be told apart"),
        ("bac", True, "1 of 3 pairs cannot be told apart"),
        ("acb", False, "1 of 3 pairs the other way round"),
        ("cba", False, "2 of 3 pairs the other way round"),
    ],
)
def test_times_that_cannot_be_told_apart_are_right_either_way(guess, right, words) -> None:
    found, answer = times(a=(1.0, 2.0), b=(1.5, 2.6), c=(3.0, 4.0))
    assert found.truth == ("a", "b", "c")
    verdict = grade(tuple(guess), found, answer)
    assert verdict.right is right
    assert words in verdict.words


def test_options_are_filled_with_the_settings_and_a_truth_that_is_none_of_them_is_refused() -> None:
    question = Question("", "of {n}", Choice(("({n},)", "(5,)", "()")), lambda n: str((n,)), "{n}: {truth}")
    assert question.depends_on == ("n",)
    assert question.ask({"n": 3, "m": 4}) == "of 3"
    assert question.options({"n": 3}) == ("(3,)", "(5,)", "()")
    assert question.options({"n": 5}) == ("(5,)", "()")
    assert question.found("(3,)", {"n": 3}).why == "3: (3,)"
    with pytest.raises(ValueError, match=r"'\(4,\)' is none of the options"):
        question.found("(4,)", {"n": 3})
