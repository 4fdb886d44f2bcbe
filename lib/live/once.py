"""What a process has one of."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def once(make: Callable[[], T]) -> Callable[[], T]:
    """Makes a thing at the first call and gives the same at each.

    `functools.cache` makes two if two threads call before the first is done, as the first two visitors do.
    """
    lock = threading.RLock()
    kept = functools.cache(make)

    @functools.wraps(make)
    def get() -> T:
        with lock:
            return kept()

    return get
