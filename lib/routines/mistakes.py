"""Typical mistakes, each with what it should have been. The errors are JAX's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Outcome(NamedTuple):
    """What a call gave: a value, or the name and text of an exception."""

    error: str | None
    text: str


class Mistake(NamedTuple):
    """A pair of functions without arguments.

    Attributes:
        raises: the exception of `wrong`, told by its type; None if it gives a wrong number instead.
        explanation: why, and what to do.
    """

    wrong: Callable[[], Any]
    right: Callable[[], Any]
    raises: type[Exception] | None
    explanation: str


def provoke(mistake: Mistake) -> tuple[Outcome, Outcome]:
    """Calls both functions. An exception of another type than `raises` is a defect, and passes."""
    return _outcome(mistake.wrong, mistake.raises), _outcome(mistake.right, None)


def _outcome(call: Callable[[], Any], expected: type[Exception] | None) -> Outcome:
    if expected is None:
        return Outcome(None, _text(call()))
    try:
        value = call()
    except expected as error:
        return Outcome(type(error).__name__, without_folders(str(error)))
    return Outcome(None, _text(value))


def without_folders(text: str) -> str:
    """An error's text with the names of Python files alone: where they are on the server is nobody's business."""
    return re.sub(r"(?<![\w:/.])/(?:[^\s/:]+/)+(?=[^\s/:]+\.py\b)", "", text)


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "\n".join(_text(part) for part in value)
    return np.array2string(np.asarray(value), precision=4, threshold=12)
