"""A lesson's question as a room votes on it: two to six choices, of which the program makes one right."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from itertools import pairwise
from typing import Any

import jax

from lib.live.finding import Finding
from lib.live.room import CHOICES, Offer, Truth
from lib.measure.questions import Found, Number, Question

RANGES = CHOICES[1] - 1
"""Of a number, beside what is larger than its scale."""


def offer_of(question: Question, settings: Mapping[str, Any], device: jax.Device, visitor: Hashable) -> Offer:
    """A question with its choices under the settings of the page at this moment.

    A number is in one of up to six ranges, whole decades each; of an order the room says which is the fastest.
    """
    text = question.ask(settings)
    if isinstance(question.answer, Number):
        edges = edges_of(question.answer)
        choices = _ranges(edges, question.answer.unit)
    else:
        edges = []
        choices = tuple(question.options(settings))

    def find() -> Callable[[], Truth | None]:
        finding = Finding(question, settings, device, visitor)

        def look() -> Truth | None:
            found = finding.look()
            if finding.error:
                raise RuntimeError(finding.error)
            return None if found is None else _truth(found, question.answer, choices, edges)

        return look

    return Offer(text, choices, find)


def edges_of(answer: Number) -> list[float]:
    """The upper ends of the ranges, the lowest range first."""
    low, high = round(math.log10(answer.low)), round(math.log10(answer.high))
    step = math.ceil((high - low) / RANGES)
    return [10.0**n for n in range(high, low, -step)][::-1]


def _ranges(edges: list[float], unit: str) -> tuple[str, ...]:
    said = [f"{edge:,.12g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(said)]
    first, *others = (f"up to {said[0]}", *between, f"above {said[-1]}, or no number")
    return (f"{first} ({unit})" if unit else first, *others)


def _truth(found: Found, answer: Any, choices: tuple[str, ...], edges: list[float]) -> Truth:
    if isinstance(answer, Number):
        value = float(found.truth)  # type: ignore[arg-type]
        place = next((n for n, edge in enumerate(edges) if value <= edge), len(edges))  # of NaN too
        return Truth(place, f"It is {value:.3g}. {found.why}")
    right = found.truth[0] if isinstance(found.truth, tuple) else str(found.truth)
    return Truth(choices.index(right), found.why)
