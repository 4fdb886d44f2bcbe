"""What noisy numbers look like: a line through the middle of a band, within limits that hold the rest in sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

SMOOTHED = 25
"""A smoothed line takes the mean over about such a part of what is shown."""


class Limits(NamedTuple):
    """The part of an axis that is shown; what lies outside is cut off at its edge."""

    low: float
    high: float


def smoothed(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rolling mean, minimum and maximum. The window is symmetric and narrows at both ends, which keep their values."""
    count = len(mean)
    half = max(1, round(count / (2 * SMOOTHED))) if count >= SMOOTHED else 0
    total, rows, lowest, highest = mean.astype(np.float64), np.ones(count), low.copy(), high.copy()
    for reach in range(1, half + 1):
        wide = slice(reach, count - reach)  # the rows whose windows reach so far
        rows[wide] += 2
        for side in (slice(None, count - 2 * reach), slice(2 * reach, None)):
            total[wide] += mean[side]
            np.minimum(lowest[wide], low[side], out=lowest[wide])
            np.maximum(highest[wide], high[side], out=highest[wide])
    return (total / rows).astype(np.float32), lowest, highest


def _placed(values: np.ndarray, log: bool) -> np.ndarray:
    """Which values have a place on the axis."""
    placed = np.isfinite(values)
    return placed & (values > 0) if log else placed


def limits(mean: np.ndarray, low: np.ndarray, high: np.ndarray, log: bool) -> Limits:
    """A domain that what explodes does not squash: the start and three quarters of the values, and ample room."""

    mean, low, high = (values[_placed(values, log)] for values in (mean, low, high))
    if not len(mean) or not len(low):
        return Limits(-np.inf, np.inf)
    # By rank: `np.quantile` takes ten times as long, and this is done for every frame of every visitor.
    ranked = (
        np.partition(low, len(low) // 4)[len(low) // 4],
        np.partition(high, -1 - len(high) // 4)[-1 - len(high) // 4],
    )
    edges: list[Any] = [np.float64(edge) for edge in (*ranked, low[:3].min(), high[:3].max())]
    bottom, top, start_low, start_high = edges
    if log:
        bottom, top = np.log10(min(bottom, np.float64(mean.min()))), np.log10(max(top, start_high))
        room = max(1.0, top - bottom)
        return Limits(10.0 ** (bottom - 0.3 * room), 10.0 ** min(top + room, 38.0))
    # What grows by orders of magnitude from the first step on is shown as far as one can see it grow.
    most = 10 * max(abs(start_low), abs(start_high)) or np.inf
    bottom, top = min(start_low, max(bottom, -most)), max(start_high, min(top, most))
    room = 3 * max(top - bottom, abs(bottom), abs(top))
    return Limits(bottom - room, top + room)


def union(each: Sequence[Limits]) -> Limits:
    """The domain of several lines: each has its place."""
    return Limits(min((one.low for one in each), default=-np.inf), max((one.high for one in each), default=np.inf))


def within(values: np.ndarray, limits: Limits, log: bool) -> np.ndarray:
    """The values of a line that leaves the chart at its edge: beyond its first point outside it is NaN."""
    placed = _placed(values, log)
    inside = placed & (values >= limits.low) & (values <= limits.high)
    if inside.all():
        return values.astype(np.float32)
    beside = inside.copy()
    beside[1:] |= inside[:-1]
    beside[:-1] |= inside[1:]
    return np.where(placed & beside, np.clip(values, *limits), np.nan).astype(np.float32)


def cut(values: np.ndarray, limits: Limits) -> np.ndarray:
    """The edge of a band, which ends at the edge of the chart."""
    return np.minimum(np.maximum(values, limits.low), limits.high).astype(np.float32)


def unplaced(values: np.ndarray, log: bool) -> str:
    """What a logarithmic axis leaves out, in words; empty if that is nothing."""
    count = int(np.sum(values <= 0)) if log else 0
    are, have = ("is", "has") if count == 1 else ("are", "have")
    return (
        f"{count} of {len(values)} points {are} at or below 0\nand {have} no place on a logarithmic axis."
        if count
        else ""
    )
