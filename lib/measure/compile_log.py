"""What JAX compiled in this process, when, how long, and why it had to.

JAX reports durations to listeners that are process-wide and cannot be taken back, so this one is
registered once, when the module is imported.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax

LENGTH = 500

_STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}


class Entry(NamedTuple):
    """One stage of one function."""

    at: float
    """Seconds since the epoch."""
    fun_name: str
    stage: str
    elapsed_ms: float


_entries: deque[Entry] = deque(maxlen=LENGTH)
_compilations = 0
_lock = threading.Lock()


def _listen(event: str, duration_secs: float, **about: str | int) -> None:
    global _compilations
    stage = _STAGES.get(event)
    if stage is None:
        return
    name = re.sub(r"^jit\((.*)\)$", r"\1", str(about.get("fun_name", "?")))
    with _lock:
        _entries.append(Entry(time.time(), name, stage, 1e3 * duration_secs))
        _compilations += stage == "compile"


jax.monitoring.register_event_duration_secs_listener(_listen)


def entries() -> list[Entry]:
    """The last `LENGTH` entries, oldest first."""
    with _lock:
        return list(_entries)


def compilations() -> int:
    """How many programs the backend has compiled since the process began."""
    return _compilations


class _Reasons(logging.Handler):
    """Keeps what `jax.explain_cache_misses` says, for the thread that asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.here = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        said = getattr(self.here, "said", None)
        if said is not None and "CACHE MISS" in record.getMessage():
            said.append(record.getMessage())


_reasons = _Reasons()
_logger = logging.getLogger("jax._src.interpreters.partial_eval")
_logger.addHandler(_reasons)


@contextmanager
def reasons(fun_name: str) -> Iterator[list[str]]:
    """Collects JAX's own reasons for tracing `fun_name` anew in this thread, file names left out."""
    said: list[str] = []
    found: list[str] = []
    _reasons.here.said = said
    try:
        with jax.explain_cache_misses(True):
            yield found
    finally:
        _reasons.here.said = None
        for text in said:
            _, _, reason = text.partition("\n")
            if f"for {fun_name} " in reason or f"{fun_name} id=" in reason:
                lines = [re.sub(r" defined at .*$", "", line).strip() for line in reason.splitlines()]
                found.append("\n".join(line for line in lines if line))
