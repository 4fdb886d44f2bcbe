"""The history of a run, in bounded memory: buckets of steps that double in width as the run goes on."""

from __future__ import annotations

import numpy as np


class History:
    """Keeps the minimum and the maximum of each bucket, for several series at once.

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
        self._low = np.empty((0, series), np.float32)
        self._high = np.empty((0, series), np.float32)
        self._low_first = np.empty((0, series), bool)
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
            self._low = np.concatenate([self._low, blocks.min(1)])
            self._high = np.concatenate([self._high, blocks.max(1)])
            self._low_first = np.concatenate([self._low_first, blocks.argmin(1) <= blocks.argmax(1)])
            self._start = np.concatenate([self._start, coordinates[0 : used : self.width]])
            self._end = np.concatenate([self._end, coordinates[self.width - 1 : used : self.width]])
            values, coordinates = values[used:], coordinates[used:]
            if len(self._low) == self._max:
                self._merge()
        self._values, self._coordinates = values, coordinates

    def _merge(self) -> None:
        """Halves the number of buckets. Of two, the extreme's own bucket says which extreme came first."""
        low, high = self._low.reshape(-1, 2, self._low.shape[1]), self._high.reshape(-1, 2, self._low.shape[1])
        low_at, high_at = low.argmin(1), high.argmax(1)
        first = self._low_first.reshape(low.shape)
        same = np.take_along_axis(first, low_at[:, None], 1)[:, 0]
        self._low_first = np.where(low_at == high_at, same, low_at < high_at)
        self._low, self._high = low.min(1), high.max(1)
        self._start, self._end = self._start[::2], self._end[1::2]
        self.width *= 2

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """What to draw: float64[points, axes] coordinates and float32[points, series] values.

        Two points a bucket, its minimum and its maximum in the order in which they came, one point while
        buckets are single rows. The rows that do not fill a bucket yet make a last one.
        """
        low, high, first, start, end = self._low, self._high, self._low_first, self._start, self._end
        if len(self._values):
            low = np.concatenate([low, self._values.min(0, keepdims=True)])
            high = np.concatenate([high, self._values.max(0, keepdims=True)])
            in_order = self._values.argmin(0) <= self._values.argmax(0)
            first = np.concatenate([first, in_order[None]])
            start = np.concatenate([start, self._coordinates[:1]])
            end = np.concatenate([end, self._coordinates[-1:]])
        if self.width == 1:
            return start, low
        values = np.stack([np.where(first, low, high), np.where(first, high, low)], 1)
        return np.stack([start, end], 1).reshape(-1, start.shape[1]), values.reshape(-1, low.shape[1])
