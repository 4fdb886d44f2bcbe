"""`lib/live/ballots.py`: a lesson's question is voted on by choices, and the program says which is right."""

import math

import numpy as np
import pytest
from support import eventually

from lib.live import finding
from lib.live.ballots import edges_of, offer_of
from lib.live.devices import devices
from lib.live.engine import Engine
from lib.live.room import CHOICES, Room, Truth
from lib.measure.questions import Choice, Number, Question

CPU = devices()["cpu:0"]


def squared(x: float) -> float:
    return x * x if x < 1e3 else math.nan


def kind(x: float) -> str:
    return f"{x:g} is small" if x < 10 else f"{x:g} is large"


NUMBER = Question("square", "What is the square of {x:g}?", Number(0.01, 1e6), squared, "It is {x:g} times {x:g}.")
CHOICE = Question("kind", "How is {x:g}?", Choice(("{x:g} is small", "{x:g} is large")), kind, "Ten is large.")


@pytest.fixture(autouse=True)
def own_engine(monkeypatch, make_engine):
    engine: Engine = make_engine()
    monkeypatch.setattr(finding, "default_engine", lambda: engine)


def truth_of(question, x):
    offer = offer_of(question, {"x": x}, CPU, "visitor")
    assert CHOICES[0] <= len(offer.choices) <= CHOICES[1] and f"{x:g}" in offer.question
    look = offer.find()
    truth = eventually(look)
    return offer.choices[truth.choice], truth


@pytest.mark.parametrize(
    ("x", "right"),
    [
        (0.001, "up to 1"),
        (1.0, "up to 1"),
        (2.0, "1 to 100"),
        (99.0, "100 to 10,000"),
        (999.0, "10,000 to 1,000,000"),
        (2e3, "above 1,000,000, or no number"),
    ],
)
def test_a_number_is_in_the_range_that_the_program_s_is_in(x, right):
    choice, truth = truth_of(NUMBER, x)
    assert choice == right and truth.words.endswith(f"It is {x:g} times {x:g}.")


@pytest.mark.parametrize(("low", "high"), [(1, 10), (1e-3, 1e2), (1e-9, 1e3), (1e-6, 1e6)])
def test_ranges_are_whole_decades_and_at_most_six(low, high):
    edges = edges_of(Number(low, high))
    steps = np.diff(np.log10(edges))
    assert 1 <= len(edges) <= 5 and edges[-1] == high and edges[0] > low
    assert np.allclose(steps, steps[:1].repeat(len(steps))) and np.allclose(steps, np.round(steps))


@pytest.mark.parametrize(("x", "right"), [(3.0, "3 is small"), (30.0, "30 is large")])
def test_a_choice_is_right_under_the_settings_of_the_moment(x, right):
    assert truth_of(CHOICE, x)[0] == right


def test_what_a_routine_raises_is_said_in_a_sentence(clock):
    question = Question("no", "What is {x:g}?", Choice(("a", "b")), lambda x: "c", "Why.")
    room = Room("KQZT", clock)
    room.offers = [offer_of(question, {"x": 1.0}, CPU, "visitor")]
    room.offer(0)
    room.reveal()
    room.run()
    eventually(lambda: not room.waits)
    ballot = room.state()["ballot"]
    assert ballot["truth"] is None and "none of the options" in ballot["words"]
    assert not isinstance(ballot["words"], Truth)
