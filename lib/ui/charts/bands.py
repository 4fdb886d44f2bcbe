"""What noisy numbers look like: a line through the middle of a band, within limits that hold the rest in sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    at = np.arange(count)
    room = np.minimum(half, np.minimum(at, count - 1 - at))
    total, lowest, highest = np.zeros(count), low.copy(), high.copy()
    for shift in range(-half, half + 1):
        there = abs(shift) <= room
        from_ = at[there] + shift
        total[there] += mean[from_]
        lowest[there] = np.minimum(lowest[there], low[from_])
        highest[there] = np.maximum(highest[there], high[from_])
    return (total / (2 * room + 1)).astype(np.float32), lowest, highest


def limits(mean: np.ndarray, low: np.ndarray, high: np.ndarray, log: bool) -> Limits:
    """A domain that what explodes does not squash: the start and three quarters of the values, and ample room."""

    def placed(values: np.ndarray) -> np.ndarray:
        values = values[np.isfinite(values) & ((values > 0) | (not log))].astype(np.float64)
        return np.log10(values) if log else values

    mean, low, high = placed(mean), placed(low), placed(high)
    if not len(mean) or not len(low):
        return Limits(-np.inf, np.inf)
    start_low, start_high = low[:3].min(), high[:3].max()
    # By rank: `np.quantile` takes ten times as long, and this is done for every frame of every visitor.
    bottom = np.partition(low, len(low) // 4)[len(low) // 4]
    top = np.partition(high, -1 - len(high) // 4)[-1 - len(high) // 4]
    if log:
        bottom, top = min(bottom, mean.min()), max(top, start_high)
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
    with np.errstate(invalid="ignore"):
        placed = np.isfinite(values) & ((values > 0) | (not log))
        inside = placed & (values >= limits.low) & (values <= limits.high)
    beside = inside.copy()
    beside[1:] |= inside[:-1]
    beside[:-1] |= inside[1:]
    return np.where(placed & beside, np.clip(values, *limits), np.nan).astype(np.float32)


def cut(values: np.ndarray, limits: Limits) -> np.ndarray:
    """The edge of a band, which ends at the edge of the chart."""
    return np.clip(values, *limits).astype(np.float32)


def unplaced(values: np.ndarray, log: bool) -> str:
    """What a logarithmic axis leaves out, in words; empty if that is nothing."""
    count = int(np.sum(values <= 0)) if log else 0
    are, have = ("is", "has") if count == 1 else ("are", "have")
    return (
        f"{count} of {len(values)} points {are} at or below 0\nand {have} no place on a logarithmic axis."
        if count
        else ""
    )
