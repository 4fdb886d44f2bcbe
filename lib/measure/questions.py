"""Questions about what a program will do: who answers predicts, and the truth is found by running it.

A lesson declares its own in `questions.py`. Nothing here knows an answer: `find` runs the routine, traces it or measures
it, under the settings of the page at that moment.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, isfinite
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lib.measure.timing import Record, times_as_fast
from lib.routines.problem import Problem, train_steps, without_data

MAX_OPTIONS = 6
WITHIN = 2.0
"""A number is right within this factor: the values offered are that far apart."""


class Number(NamedTuple):
    """A positive number, guessed on a logarithmic scale. What is larger, or no number, counts as infinite.

    Attributes:
        low, high: the ends of the scale, powers of ten.
        unit: what it is, such as `mean squared error`; may be empty.
    """

    low: float
    high: float
    unit: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        """What is offered: 1, 2 and 5 of each decade, and infinity."""
        exponents = range(round(np.log10(self.low)), round(np.log10(self.high)))
        return (*(float(f"{digit}e{n}") for n in exponents for digit in (1, 2, 5)), float(self.high), inf)


class Choice(NamedTuple):
    """One of two to six: what happens, which error or none, which shape.

    Attributes:
        options: templates, filled with the settings; those that come out alike are one.
    """

    options: tuple[str, ...]


class Order(NamedTuple):
    """Measured times, the shortest first.

    Attributes:
        items: labels of records of the steady state.
    """

    items: tuple[str, ...]


Answer = Number | Choice | Order
Guess = float | str | tuple[str, ...]
"""To a `Number`, a `Choice`, an `Order`."""


class Found(NamedTuple):
    """What has been found out.

    Attributes:
        truth: as a guess would say it.
        why: one or two sentences.
        curve: the numbers on the way to a `Number`, or nothing.
        records: the times of an `Order`, one an item.
    """

    truth: Guess
    why: str
    curve: tuple[float, ...] = ()
    records: tuple[Record, ...] = ()


class Verdict(NamedTuple):
    """Whether a guess was right, and how far off it was, in words."""

    right: bool
    words: str


@dataclass(frozen=True)
class Question:
    """A question and the call that finds the answer out.

    Attributes:
        name: short, one of its lesson's.
        text: a template, filled with the settings.
        answer: of which kind the answer is.
        find: a function of a module. The names of its parameters are those of the settings that it depends on. It returns
            a number or a curve that ends in it, for a `Choice` one of the options as filled in, and for an `Order`
            the records of a measurement on the parameter `device`.
        why: a template that is filled with the settings and the `truth`; or a function with parameters of these names.
    """

    name: str
    text: str
    answer: Answer
    find: Callable[..., Any]
    why: str | Callable[..., str]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The names of the settings that the answer depends on."""
        return tuple(inspect.signature(self.find).parameters)

    def given(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Of the settings those that the answer depends on."""
        return {name: settings[name] for name in self.depends_on}

    def ask(self, settings: Mapping[str, Any]) -> str:
        """The question itself."""
        return self.text.format(**settings)

    def options(self, settings: Mapping[str, Any]) -> tuple[Any, ...]:
        """What is offered: numbers, options or items."""
        if isinstance(self.answer, Number):
            return self.answer.values
        if isinstance(self.answer, Order):
            return self.answer.items
        return tuple(dict.fromkeys(option.format(**settings) for option in self.answer.options))

    def found(self, result: Any, settings: Mapping[str, Any]) -> Found:
        """What `find` has returned, as it is shown.

        Args:
            result: of `find`; of an `Order` the records, all of them.

        Raises:
            ValueError: the result is none of the options, or a record is missing.
        """
        curve: tuple[float, ...] = ()
        records: tuple[Record, ...] = ()
        truth: Guess
        if isinstance(self.answer, Order):
            of = {record.label: record for record in result}
            missing = [item for item in self.answer.items if item not in of]
            if missing:
                raise ValueError(f"The measurement has no record of {', '.join(missing)}.")
            records = tuple(sorted((of[item] for item in self.answer.items), key=lambda record: record.median_ms))
            truth = tuple(record.label for record in records)
        elif isinstance(self.answer, Number):
            numbers = np.atleast_1d(np.asarray(result, float))
            truth, curve = float(numbers[-1]), tuple(map(float, numbers)) if numbers.size > 1 else ()
        else:
            truth = str(result)
            if truth not in self.options(settings):
                raise ValueError(f"{truth!r} is none of the options {self.options(settings)} of {self.name!r}.")
        return Found(truth, self._because(truth, settings), curve, records)

    def _because(self, truth: Guess, settings: Mapping[str, Any]) -> str:
        known = {**settings, "truth": truth}
        if isinstance(self.why, str):
            return self.why.format(**known)
        return self.why(**{name: known[name] for name in inspect.signature(self.why).parameters})


def grade(guess: Guess, found: Found, answer: Answer) -> Verdict:
    """Compares a guess with what has been found out. Times that cannot be told apart are right either way."""
    if isinstance(answer, Number):
        return _grade_number(float(guess), float(found.truth), answer)  # type: ignore[arg-type]
    if isinstance(answer, Order):
        return _grade_order(tuple(guess), found.records)  # type: ignore[arg-type]
    return Verdict(guess == found.truth, "right" if guess == found.truth else "not right")


def _grade_number(guess: float, truth: float, answer: Number) -> Verdict:
    if not isfinite(truth) or (guess == inf and truth > answer.high):
        return Verdict(guess == inf, "right" if guess == inf else "too low: it diverges")
    if guess == inf:
        return Verdict(False, "too high: it does not diverge")
    if guess <= answer.low and truth <= answer.low:
        return Verdict(True, "right")
    factor = guess / truth if truth > 0 else inf
    by = max(factor, 1 / factor)
    if by <= WITHIN:
        return Verdict(True, f"right within a factor of {by:.2g}")
    how_far = f"{by:.2g}" if by < 10 else f"{by:,.0f}" if by < 1e6 else "more than a million"
    return Verdict(False, f"too {'high' if factor > 1 else 'low'} by a factor of {how_far}")


def _grade_order(guess: Sequence[str], records: Sequence[Record]) -> Verdict:
    of = {record.label: record for record in records}
    pairs = list(combinations(guess, 2))
    faster = [times_as_fast(of[first], of[second]) for first, second in pairs]
    wrong = sum(times is not None and times < 1 for times in faster)
    if wrong:
        return Verdict(False, f"{wrong} of {len(pairs)} pairs {'is' if wrong == 1 else 'are'} the other way round")
    alike = sum(times is None for times in faster)
    if not alike:
        return Verdict(True, "right")
    return Verdict(True, f"right: {alike} of {len(pairs)} pairs cannot be told apart, and count either way")


def error_or_not(call: Callable[[], Any]) -> str:
    """The name of the exception that a call raises, or `no error`: an option of a `Choice`."""
    try:
        jax.block_until_ready(call())
    except Exception as error:  # which one is what is asked
        return type(error).__name__
    return "no error"


def losses(
    problem: Problem, seed: int, learning_rate: float, num_steps: int = 100, metric: str = "loss"
) -> Float[Array, " steps"]:
    """What each step of a training from its start reports, and last what one step more would.

    The loss is mostly that before the step. The program is compiled for this call and not kept.
    """
    data = problem.data(seed)
    problem = without_data(problem)
    state = problem.init(jax.random.key(seed), data)
    args = (state, data, jnp.float32(learning_rate), jnp.int32(num_steps + 1))
    compiled = jax.jit(train_steps, static_argnums=0).lower(problem, *args).compile()
    _, metrics, _ = compiled(*args)
    return metrics[metric][: num_steps + 1]


def described(given: Mapping[str, Any]) -> str:
    """Settings in words: `batch size 32, learning rate 0.03`."""
    return ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in given.items() if value != ())


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    # What a visitor has typed, a function that has a name, data.
    if named := getattr(value, "text", None) or getattr(value, "name", None):
        return str(named)
    return str(getattr(value, "digest", value)).partition("/")[0]
