"""A jitted function that tells which of its calls JAX had to compile for, and why."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lib.lessons.compilation.routine import sine_power_that_tells
from lib.measure.compile_log import reasons

LENGTH = 60
"""Calls that are remembered."""
MAX_WAITING = 12
"""Calls that may wait at once: more are not taken."""
POWERS = 8
"""Values of the static argument, one after the other."""
NUMBER, POWER, LAMBDA, AGAIN = "a Python number", "the next power", "a fresh lambda", "the same again"
FOUND = "found: the same function, shapes, dtypes and static values as before"


class Call(NamedTuple):
    """What became of one call. It is a hit if nothing was traced for it."""

    number: int
    what: str
    hit: bool
    ms: float
    reason: str


class JitCache:
    """A function of its own, and therefore a cache of its own: no other visitor has filled it.

    Attributes:
        log: the last `LENGTH` calls.
        traces: how often the function has been traced.
    """

    def __init__(self) -> None:
        self.log: deque[Call] = deque(maxlen=LENGTH)
        self.traces = 0
        self._fun = sine_power_that_tells(self._on_trace)
        self._jitted = jax.jit(self._fun, static_argnames="power")
        self._x: Any = None
        self._power = 2
        self._calls = 0
        self._asked = 0
        self._done = 0
        self._lock = threading.Lock()

    def _on_trace(self) -> None:
        self.traces += 1

    @property
    def waiting(self) -> int:
        """How many calls have been asked for and not been done."""
        return self._asked - self._done  # each counted by one thread at a time

    def ask(self) -> bool:
        """Whether one more call is taken."""
        if self.waiting >= MAX_WAITING:
            return False
        self._asked += 1
        return True

    def call(self, device: jax.Device, what: str, type_: jax.ShapeDtypeStruct) -> None:
        """Calls the function and notes what became of it.

        Args:
            what: a name for the array, or one of `NUMBER`, `POWER`, `LAMBDA` and `AGAIN`, which change something else
                than the array of the call before.
            type_: of the array; where `what` says something else, it is the one to begin with.
        """
        with self._lock, jax.default_device(device):
            try:
                self._calls += 1
                if what == NUMBER:
                    self._x = float(self._calls)
                elif what == POWER:
                    self._power = 2 + (self._power - 1) % POWERS
                if self._x is None or what not in (NUMBER, POWER, LAMBDA, AGAIN):
                    self._x = jax.device_put(jnp.zeros(type_.shape, type_.dtype), device)
                self.log.append(self._timed(what))
            finally:
                self._done += 1

    def _timed(self, what: str) -> Call:
        before, x, power = self.traces, self._x, self._power
        jitted = jax.jit(lambda x, power: self._fun(x, power), static_argnums=1) if what == LAMBDA else self._jitted
        with reasons("<lambda>" if what == LAMBDA else "sine_power") as said:
            start = time.perf_counter()
            jax.block_until_ready(jitted(x, power) if what == LAMBDA else jitted(x, power=power))
            ms = 1e3 * (time.perf_counter() - start)
        hit = self.traces == before
        reason = _reason(" ".join(said[-1].split()) if said else "", what, first=before == 0)
        what = f"power={power}" if what == POWER else f"{x:g}, {what}" if what == NUMBER else what
        return Call(self._calls, what, hit, ms, FOUND if hit else reason)


def _reason(said: str, what: str, first: bool) -> str:
    """JAX's own reason in one line, or ours where it has none."""
    if first:
        return "never seen function"  # whatever JAX says of other visitors' functions defined on the same line
    # JAX 0.12 explains no static argument: it says so, or compares with an unrelated call.
    if not said or "explanation unavailable" in said or (what == POWER and "Static(val=" not in said):
        return "a static argument has another value, which is built into the program"
    said = re.sub(r" id=\d+|https?://\S+", "", said)
    return re.sub(r"^for \S+ all previously seen cache keys differ\. For the closest previous key: ", "", said)
