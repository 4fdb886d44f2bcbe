"""How many steps a run takes next."""

from __future__ import annotations

import math
from collections import deque

CHUNK_S = (0.0005, 0.1)
"""A chunk lasts about so long: the first at least, however many runs there are on the processor; the second alone."""
TURN_S = 0.07
"""All runs on a processor have had a turn within about so long."""
MEMORY = 8
"""A step takes as long as in the quickest of so many chunks: the others were held up, as by Python's lock."""
RATE_WINDOW_S = 3.0


class Pace:
    """Chunks of the right length, at most so many steps a second, and how many there have been.

    Attributes:
        limit: steps a second, or None for as many as the processor gives.
        step_s: seconds that a step of the last chunk took, None before the first.
    """

    def __init__(self) -> None:
        self.limit: float | None = None
        self.step_s: float | None = None
        self._steps_s: deque[float] = deque(maxlen=MEMORY)
        self._from = (0.0, 0)
        self._recent: deque[tuple[float, int]] = deque()

    def begin(self, now: float, step: int) -> None:
        """Counts from here: the run starts or its limit has changed."""
        self._from = (now, step)
        self._recent.clear()

    def restart(self) -> None:
        """Forgets how long a step takes: the program is another one."""
        self.step_s = None
        self._steps_s.clear()
        self._recent.clear()

    def took(self, now: float, step: int, count: int, elapsed_s: float, whole: bool) -> None:
        """Takes note of a chunk of `count` steps that ended at `step`; `whole` if it was not cut short."""
        if whole:
            self.step_s = elapsed_s / count
            self._steps_s.append(self.step_s)
        self._recent.append((now, step))
        while self._recent[0][0] < now - RATE_WINDOW_S and len(self._recent) > 2:
            self._recent.popleft()

    def steps(self, now: float, step: int, load: int) -> int:
        """How many steps the next chunk should have; 0 if none is due yet.

        Args:
            load: turns being taken or waited for on the processor.
        """
        seconds = CHUNK_S[1] if load <= 1 else max(CHUNK_S[0], TURN_S / load)
        count = math.ceil(seconds / min(self._steps_s)) if self._steps_s else 1
        if self.limit is None:
            return count
        since, at = self._from
        due = at + int((now - since) * self.limit) - step
        if due > self.limit:  # a second or more behind: do not catch up in one leap
            self._from = (now, step)
            due = 1
        return min(count, max(0, due))

    def rate(self, now: float) -> float:
        """Steps a second by the clock on the wall, over the last seconds."""
        if len(self._recent) < 2:
            return 0.0
        (t0, s0), (t1, s1) = self._recent[0], self._recent[-1]
        return (s1 - s0) / max(t1 - t0, now - RATE_WINDOW_S - t0, 1e-9)
