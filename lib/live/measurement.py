"""Measurements that visitors asked for: one line for all, taken slice by slice, and kept for a while for everybody."""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

from lib.live import memory
from lib.live.engine import Engine, default_engine
from lib.live.once import once
from lib.live.run import LEASE_S
from lib.live.worker import LocalWorker, place
from lib.measure.timing import PAUSE, Record, Rows
from lib.routines.mistakes import without_paths

SLICE_S = 0.05
"""A slice ends where the measurement may first be interrupted after so long. A longer call is a slice by itself."""
FRESH_S = 300.0
"""So long a measurement is shown to others who come to the same settings."""
MAX_KEPT = 64

Records = list[Record]


class Measurement:
    """What has been measured so far, for all who asked for it.

    Attributes:
        key: what is measured, on which device, for which settings.
        about: the settings in words.
        records: what has come in.
        error: one sentence, if it failed or was dropped.
        taken_at: seconds since the epoch when it was done, None before.
        make: gives the rows; on a worker elsewhere, to which it is sent.
        worker: who takes it.
        ticket: what a worker elsewhere knows it by.
        begun, ended: by the line's clock, when it was asked for and when it was done.
    """

    def __init__(self, key: Hashable, about: str, device: Any, make: Callable[[], Rows], now: float) -> None:
        self.key = key
        self.about = about
        self.records: Records = []
        self.error = ""
        self.taken_at: float | None = None
        self.device = device
        self.make = make
        self.worker: Any = None
        self.ticket: Any = None
        self.begun = now
        self.ended = now
        self.looks: dict[Hashable, float] = {}
        """When each visitor who asked for it looked last."""

        def rows() -> Rows:  # in the queue, not in the script: making the calls places arrays on the device
            yield from make()

        self._rows = rows()

    @property
    def done(self) -> bool:
        """Whether there will be no more records."""
        return self.taken_at is not None

    def wanted(self, now: float) -> bool:
        """Whether somebody who asked for it still looks."""
        return any(now - at <= LEASE_S for at in self.looks.values())

    def take_slice(self) -> bool:
        """Goes on for a while, in the turn of a processor. Whether there is more to do."""
        end = time.perf_counter() + SLICE_S
        for record in self._rows:
            if record is not PAUSE:
                self.records.append(record)
            if time.perf_counter() >= end:
                return True
        return False

    def end(self, error: str, now: float) -> None:
        """There will be no more records."""
        self.error, self.ended, self._rows = error, now, iter(())
        self.taken_at = time.time()


class Measurements:
    """The line of one process: the first measurement is being taken, the others wait until it is done.

    What has been measured is kept for a while. Every method returns at once.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._local = LocalWorker(engine)
        self._clock = clock
        self._lock = threading.RLock()
        self._line: list[Measurement] = []
        self._kept: OrderedDict[Hashable, Measurement] = OrderedDict()
        self._busy = False

    def placed(self, device: Any) -> Any:
        """The device itself, for one of which another may have to take the place."""
        return place(device, self._local)[1]

    def ask(
        self, visitor: Hashable, key: Hashable, device: Any, make: Callable[[], Rows], about: str = ""
    ) -> Measurement:
        """Takes a place in the line, or shares that of whoever has asked for the same.

        A visitor has one place: an earlier one is given up, and that measurement dropped unless others share it.

        Args:
            visitor: who asks.
            key: tells apart what is measured: the experiment, its arguments and the device.
        """
        with self._lock:
            now = self._clock()
            for other in self._line:
                if other.key != key:
                    other.looks.pop(visitor, None)
            asked = next((other for other in self._line if other.key == key and other.wanted(now)), None)
            if asked is None:
                asked = Measurement(key, about, device, make, now)
                asked.worker = place(device, self._local)[0]
                if asked.worker is self._local and memory.short():
                    asked.end(memory.SHORT, now)
                    return asked
                self._line.append(asked)
            asked.looks[visitor] = now
        self._go_on()
        return asked

    def look(self, measurement: Measurement, visitor: Hashable) -> int:
        """How many are before it, 0 once it has begun. Who asked for it keeps it going by looking."""
        with self._lock:
            if visitor in measurement.looks:
                measurement.looks[visitor] = self._clock()
            return self._ahead(measurement)

    def _ahead(self, measurement: Measurement) -> int:
        place = self._line.index(measurement) if measurement in self._line else 0
        return sum(other.wanted(self._clock()) for other in self._line[:place])

    def doing(self, measurement: Measurement) -> str:
        """What goes on while a measurement is not done, in words."""
        with self._lock:
            ahead = self._ahead(measurement)
        if not ahead:
            return "measuring, in turns with the runs"
        return "1 measurement is before yours" if ahead == 1 else f"{ahead} measurements are before yours"

    def recent(self, key: Hashable) -> Measurement | None:
        """What was measured for the same settings a short while ago, if anything was."""
        with self._lock:
            kept = self._kept.get(key)
            return kept if kept is not None and self.age_s(kept) <= FRESH_S else None

    def age_s(self, measurement: Measurement) -> float:
        """Seconds since it was done."""
        return self._clock() - measurement.ended

    def elapsed_s(self, measurement: Measurement) -> float:
        """Seconds since it was asked for."""
        return self._clock() - measurement.begun

    def _go_on(self) -> None:
        """Hands the next slice to the engine, unless one is on its way."""
        with self._lock:
            now = self._clock()
            if self._busy:
                return
            for dropped in [other for other in self._line if not other.wanted(now)]:
                self._line.remove(dropped)
                dropped.end("nobody waited for it any longer; press again to take it anew.", now)
            if not self._line:
                return
            first, self._busy = self._line[0], True
        first.worker.measure(first).add_done_callback(functools.partial(self._took_slice, first))

    def _took_slice(self, measurement: Measurement, future: Future) -> None:
        with self._lock:
            self._busy = False
            error = RuntimeError("the server closes.") if future.cancelled() else future.exception()
            if error is not None or not future.result():
                self._line.remove(measurement)
                measurement.end(
                    "" if error is None else without_paths(str(error)).strip() or type(error).__name__, self._clock()
                )
                if error is None:
                    self._kept[measurement.key] = measurement
                    self._kept.move_to_end(measurement.key)
                    while len(self._kept) > MAX_KEPT:
                        self._kept.popitem(last=False)
        self._go_on()


@once
def default_measurements() -> Measurements:
    """The line of this process."""
    return Measurements(default_engine())
