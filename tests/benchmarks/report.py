"""What a benchmark reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One row of the table.

    Attributes:
        target: in words; empty where there is none.
        met: whether the target is met, None where there is none.
    """

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


def table(name: str, figures: Iterable[Figure]) -> str:
    """The figures of a benchmark as a Markdown table."""
    rows = [f"| {name} | measured | target | met |", "|---|---|---|---|"]
    verdict = {True: "yes", False: "**no**", None: ""}
    rows += [f"| {what} | {measured} | {target} | {verdict[met]} |" for what, measured, target, met in figures]
    return "\n".join(rows)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def at_most(what: str, value: float, limit: float, unit: str) -> Figure:
    """A figure that should not exceed its limit."""
    return Figure(what, f"{value:,.3g} {unit}", f"at most {limit:g} {unit}", value <= limit)


def at_least(what: str, value: float, limit: float, unit: str = "") -> Figure:
    """A figure that should reach its limit."""
    return Figure(what, f"{value:,.3g} {unit}".rstrip(), f"at least {limit:g} {unit}".rstrip(), value >= limit)
