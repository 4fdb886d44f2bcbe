"""A measurement that a visitor asked for, and its records as they come in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jax

from lib.live.engine import Engine
from lib.measure.timing import PAUSE, Record, Rows

Records = list[Record]


class Measurement:
    """Takes one record after the other, each with the processor to itself, until there are no more.

    Between two records everybody else has a turn.

    Attributes:
        about: for which settings it is taken; whatever the page compares with the present ones.
        records: what has come in.
        error: one sentence, if it failed.
        taken_at: seconds since the epoch when it was done, None before.
    """

    def __init__(self, engine: Engine, device: jax.Device, about: Any, make: Callable[[], Rows]):
        self.about = about
        self.records: Records = []
        self.error = ""
        self.taken_at: float | None = None
        self.begun = time.monotonic()
        self._engine = engine
        self._device = device
        self._make = make
        self._source: Rows | None = None
        self._dropped = threading.Event()
        self._started = False
        self._next()

    @property
    def done(self) -> bool:
        """Whether there will be no more records."""
        return self.taken_at is not None

    @property
    def ahead(self) -> int:
        """How many measurements of others this one waits for; 0 once it has begun."""
        return 0 if self._started else max(0, self._engine.measurements() - 1)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the press."""
        return time.monotonic() - self.begun

    def drop(self) -> None:
        """Takes no more records."""
        self._dropped.set()

    def _next(self) -> None:
        self._engine.measure(self._device, self._take).add_done_callback(self._took)

    def _take(self) -> Record | None:
        if self._dropped.is_set():
            return None
        self._started = True
        if self._source is None:  # here, not in the script: making the calls places arrays on the device
            self._source = iter(self._make())
        return next((record for record in self._source if record is not PAUSE), None)

    def _took(self, future: Future) -> None:
        error = future.exception()
        record = None if error else future.result()
        if error is not None:
            self.error = str(error).strip() or type(error).__name__
        if record is None:
            self.taken_at = time.time()
            return
        self.records.append(record)
        self._next()
