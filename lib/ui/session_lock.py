"""One lock for each session's state.

Streamlit begins a session's next script run while the one before may still be ending, and gives each a lock of its own
over the state that they share. Once in some thousand presses one changes a dictionary that the other goes through, and
the page's script dies.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary

from streamlit.runtime.state.safe_session_state import SafeSessionState

from lib.live.once import once

_locks: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""By the identity of a state, which lives as long as whoever holds its lock."""
_guard = threading.Lock()


@once
def share() -> None:
    """From now on all who work on one session's state do so one after the other."""
    alone = SafeSessionState.__init__

    def begin(self: SafeSessionState, state: Any, *args: Any, **kwargs: Any) -> None:
        alone(self, state, *args, **kwargs)
        if "_lock" in vars(self):  # else Streamlit does it in another way
            with _guard:
                object.__setattr__(self, "_lock", _locks.setdefault(id(state), self._lock))

    SafeSessionState.__init__ = begin  # type: ignore[method-assign]
