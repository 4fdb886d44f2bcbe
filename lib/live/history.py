"""The history of a run, in bounded memory: buckets of steps that double in width as the run goes on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Buckets(NamedTuple):
    """What to draw: a line of means, and a band from the lowest to the highest.

    Attributes:
        coordinates: float64[buckets, axes], the middle of each bucket.
        mean, low, high: float32[buckets, series].
    """

    coordinates: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class History:
    """Keeps the mean, the minimum and the maximum of each bucket, for several series at once.

    Args:
        series: how many numbers a row has.
        max_buckets: even. When there are as many, neighbours are merged in pairs.
        axes: how many coordinates (step, seconds, ...) a row has.
    """

    def __init__(self, series: int, max_buckets: int = 240, axes: int = 3) -> None:
        if max_buckets < 2 or max_buckets % 2:
            raise ValueError(f"`max_buckets` must be even and at least 2, got {max_buckets}.")
        self.width = 1
        self.rows = 0
        self._max = max_buckets
        self._mean = np.empty((0, series))
        self._low = np.empty((0, series), np.float32)
        self._high = np.empty((0, series), np.float32)
        self._start = np.empty((0, axes))
        self._end = np.empty((0, axes))
        # Rows that do not fill a bucket yet.
        self._values = np.empty((0, series), np.float32)
        self._coordinates = np.empty((0, axes))

    def append(self, coordinates: np.ndarray, values: np.ndarray) -> None:
        """Adds rows.

        Args:
            coordinates: float[rows, axes], ascending.
            values: float32[rows, series].
        """
        self.rows += len(values)
        values = np.concatenate([self._values, values])
        coordinates = np.concatenate([self._coordinates, coordinates])
        while len(values) >= self.width:
            count = min(len(values) // self.width, self._max - len(self._low))
            used = count * self.width
            blocks = values[:used].reshape(count, self.width, -1)
            self._mean = np.concatenate([self._mean, blocks.mean(1, dtype=np.float64)])
            self._low = np.concatenate([self._low, blocks.min(1)])
            self._high = np.concatenate([self._high, blocks.max(1)])
            self._start = np.concatenate([self._start, coordinates[0 : used : self.width]])
            self._end = np.concatenate([self._end, coordinates[self.width - 1 : used : self.width]])
            values, coordinates = values[used:], coordinates[used:]
            if len(self._low) == self._max:
                self._merge()
        self._values, self._coordinates = values, coordinates

    def _merge(self) -> None:
        """Halves the number of buckets. All of them are full, so that the mean of two means is that of all."""
        mean, low, high = (
            part.reshape(-1, 2, part.shape[1]) for part in (self._mean, self._low, self._high)
        )  # fmt: skip
        self._mean, self._low, self._high = mean.mean(1), low.min(1), high.max(1)
        self._start, self._end = self._start[::2], self._end[1::2]
        self.width *= 2

    def buckets(self) -> Buckets:
        """What there is. The rows that do not fill a bucket yet belong to the last one that is full: the mean of a few
        rows is noisier than the others, and the end of a line would jump."""
        mean, low, high, end = self._mean, self._low, self._high, self._end
        if more := len(self._values):  # then the buckets are wider than one row, and there is a full one
            total = self.width * mean[-1] + self._values.sum(0, dtype=np.float64)
            mean = np.concatenate([mean[:-1], [total / (self.width + more)]])
            low = np.concatenate([low[:-1], [np.minimum(low[-1], self._values.min(0))]])
            high = np.concatenate([high[:-1], [np.maximum(high[-1], self._values.max(0))]])
            end = np.concatenate([end[:-1], self._coordinates[-1:]])
        return Buckets((self._start + end) / 2, mean.astype(np.float32), low, high)
