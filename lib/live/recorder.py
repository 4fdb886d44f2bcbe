"""What a run has shown so far, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lib.live.history import History
from lib.routines.problem import Observed

AXES = ("step", "seconds", "examples")
"""What a metric can be drawn against: seconds are those of computing."""
MAX_NUMBERS = 600
"""Means of one curve family in a frame, so that a frame stays below 10 kB however many metrics there are."""
MAX_BUCKETS = 112
OBSERVED_BUCKETS = 64
TIMES_BUCKETS = 48

_T = TypeVar("_T")


def _copied(one: _T) -> _T:
    """A shallow copy, in a fifth of the time of `copy.copy`: all that is recorded is copied after every good chunk."""
    other = object.__new__(type(one))
    other.__dict__.update(one.__dict__)
    return other


class Curves(NamedTuple):
    """Metrics against coordinates.

    Attributes:
        coordinates: float64[points] for each of `AXES`: the middle of the rows that a point stands for.
        metrics: float32[points, ...] by name, each in the shape that the step gives it: the mean of these rows.
        lows, highs: the same, their minimum and their maximum.
    """

    coordinates: dict[str, np.ndarray]
    metrics: dict[str, np.ndarray]
    lows: dict[str, np.ndarray]
    highs: dict[str, np.ndarray]


class StepTimes(NamedTuple):
    """Milliseconds that a step took, chunk by chunk.

    Attributes:
        coordinates: float64[points] for each of `AXES`.
        mean, low, high: float32[points], over the chunks that a point stands for.
    """

    coordinates: dict[str, np.ndarray]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Metrics:
    """The history of several metrics. Their names and shapes are those of the first rows."""

    def __init__(self, max_buckets: int = MAX_BUCKETS) -> None:
        self._max_buckets = max_buckets
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._history: History | None = None

    def append(self, coordinates: np.ndarray, metrics: Mapping[str, np.ndarray]) -> None:
        """Adds rows.

        Args:
            coordinates: float64[rows, axes], ascending.
            metrics: float32[rows, ...] by name.
        """
        if self._history is None:
            self._shapes = {name: values.shape[1:] for name, values in metrics.items()}
            series = sum(map(prod, self._shapes.values()))
            buckets = max(16, min(self._max_buckets, MAX_NUMBERS // series // 2 * 2))
            self._history = History(series, buckets, len(AXES))
        rows = len(coordinates)
        matrix = np.concatenate([metrics[name].reshape(rows, -1) for name in self._shapes], axis=1)
        self._history.append(coordinates, matrix)

    def copy(self) -> Metrics:
        """One that goes on from here by itself."""
        other = _copied(self)
        other._history = None if self._history is None else _copied(self._history)
        return other

    def curves(self) -> Curves:
        """What to draw."""
        if self._history is None:
            return Curves(dict.fromkeys(AXES, np.empty(0)), {}, {}, {})
        coordinates, *matrices = self._history.buckets()
        return Curves(_by_axis(coordinates), *map(self._by_name, matrices))

    def _by_name(self, matrix: np.ndarray) -> dict[str, np.ndarray]:
        metrics, at = {}, 0
        for name, shape in self._shapes.items():
            metrics[name] = matrix[:, at : at + prod(shape)].reshape(len(matrix), *shape)
            at += prod(shape)
        return metrics


def _by_axis(coordinates: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(AXES, coordinates.T, strict=True))


class Recorder:
    """How far a run has come, and what it has shown on the way.

    Attributes:
        latest: the metrics of the last step.
        latest_observed: the metrics of the last picture.
        picture: of the state at `picture_step`.
    """

    def __init__(self) -> None:
        self.step = 0
        self.examples = 0
        self.computing_s = 0.0
        self.latest: dict[str, np.ndarray] = {}
        self.latest_observed: dict[str, np.ndarray] = {}
        self.picture: dict[str, np.ndarray] | None = None
        self.picture_step = 0
        self._metrics = Metrics()
        self._observed = Metrics(OBSERVED_BUCKETS)
        self._times = History(1, TIMES_BUCKETS, len(AXES))

    def take_steps(
        self, metrics: Mapping[str, np.ndarray], elapsed_s: float, batch_size: int, timed: bool = True
    ) -> None:
        """Takes in the metrics of the next steps, each float32[num_steps, ...], which took `elapsed_s` together.

        Args:
            timed: whether this is how long such steps take: neither a first execution nor one that was broken off.
        """
        count = len(metrics["loss"])
        done = np.arange(1.0, count + 1)
        coordinates = np.stack(
            [self.step + done, self.computing_s + done * (elapsed_s / count), self.examples + done * batch_size], axis=1
        )
        self._metrics.append(coordinates, metrics)
        if timed:
            self._times.append(coordinates[-1:], np.array([[1e3 * elapsed_s / count]], np.float32))
        self.latest = {name: values[-1] for name, values in metrics.items()}
        self.step += count
        self.computing_s += elapsed_s
        self.examples += count * batch_size

    def take_picture(self, observed: Observed) -> None:
        """Takes in what was observed of the state as it is now. Metrics that are not finite are left out."""
        metrics: Any = observed.metrics
        picture: Any = observed.picture
        self.picture = picture
        self.picture_step = self.step
        if metrics and all(np.isfinite(value) for value in metrics.values()):
            self.latest_observed = metrics
            at = np.array([[self.step, self.computing_s, self.examples]], np.float64)
            self._observed.append(at, {name: np.asarray(value, np.float32)[None] for name, value in metrics.items()})

    def copy(self) -> Recorder:
        """One that goes on from here by itself. No array is copied: none is ever written to."""
        other = _copied(self)
        other._metrics, other._observed = self._metrics.copy(), self._observed.copy()
        other._times = _copied(self._times)
        return other

    def curves(self) -> Curves:
        """The metrics of the steps."""
        return self._metrics.curves()

    def observed(self) -> Curves:
        """The metrics of the pictures."""
        return self._observed.curves()

    def step_times(self) -> StepTimes:
        """The milliseconds that a step took."""
        coordinates, mean, low, high = self._times.buckets()
        return StepTimes(_by_axis(coordinates), mean[:, 0], low[:, 0], high[:, 0])
