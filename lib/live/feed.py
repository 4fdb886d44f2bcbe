"""Frames of live runs, prepared once and handed to everybody who looks."""

from __future__ import annotations

import logging
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

from lib.live.once import once
from lib.live.run import LiveRun, Snapshot

PERIOD_S = 0.24
"""From frame to frame of an active run."""
GAP_S = 0.19
"""At least so much is between two frames that come by themselves."""
RETRY_S = 0.01
"""A feed whose frame another thread is preparing is looked at again after so long."""

_log = logging.getLogger(__name__)

Deliver = Callable[["Frame"], None]


class Frame(NamedTuple):
    """What is sent.

    Attributes:
        body: as the feed's `prepare` has made it.
        changed_at: when the newest step in it was computed, in seconds since the epoch.
    """

    body: bytes
    changed_at: float


class Feed:
    """The frames of one run.

    Attributes:
        token: who knows it may look.
    """

    def __init__(self, run: LiveRun, feeds: Feeds) -> None:
        self.token = secrets.token_urlsafe(18)
        self.run = run
        self._feeds = feeds
        self._prepare: Callable[[Snapshot], bytes] | None = None
        self._deliveries: set[Deliver] = set()
        self._last: Frame | None = None
        self._sent_at = -float("inf")
        self._touch_at = -float("inf")
        self._asked = self._changed = False
        self._turn = threading.Lock()

    def show(self, prepare: Callable[[Snapshot], bytes]) -> None:
        """From now on frames are made by `prepare`; called at every script run."""
        self._prepare = prepare
        self._asked = True
        self._feeds.wake(self, 0.0)

    def changed(self, crowded: bool = False) -> None:
        """The run has changed by itself: the next frame is sent as soon as it is due. Any thread.

        Args:
            crowded: whether others wait for this thread, which has computed. Then it prepares the frame itself if it is due:
                where a hundred runs share a processor, two threads that hand Python's lock to each other take longer than
                one does alone.
        """
        self._changed = True
        due = self._sent_at + GAP_S
        if self._deliveries and not (crowded and self._feeds.take_turn_if_due(self, due)):
            self._feeds.wake(self, due)

    def subscribe(self, deliver: Deliver) -> Callable[[], None]:
        """Hands each frame to `deliver`, beginning with the present one; returns what ends it. Any thread."""
        self._deliveries.add(deliver)
        if self._last is not None:
            deliver(self._last)
        self._feeds.wake(self, 0.0)
        return lambda: self._deliveries.discard(deliver)

    def turn(self, now: float) -> float | None:
        """Sends a frame if there is anything new, and says when to come again; None: when it is woken."""
        prepare = self._prepare
        if prepare is None or not self._deliveries:
            return None
        if not self._turn.acquire(blocking=False):
            return now + RETRY_S  # not to wait: the other thread may want a lock that this one holds
        try:
            return self._take_turn(now, prepare)
        finally:
            self._turn.release()

    def _take_turn(self, now: float, prepare: Callable[[Snapshot], bytes]) -> float | None:
        touched = now >= self._touch_at
        if touched:
            # By a grid, not from frame to frame: a frame that is late must not make all later ones later.
            self._touch_at = max(self._touch_at + PERIOD_S, now + PERIOD_S / 2)
            self.run.touch()
        # While its next steps are on their way a run's frame waits for them: it is the younger for it.
        if self._asked or (not self.run.moving if touched else self._changed and now >= self._sent_at + GAP_S):
            self._asked = self._changed = False
            self._sent_at = now
            snapshot = self.run.snapshot()
            frame = Frame(prepare(snapshot), snapshot.changed_at)
            if self._last is None or frame.body != self._last.body:
                self._last = frame
                for deliver in list(self._deliveries):
                    deliver(frame)
        return self._touch_at if self.run.active else None


class Feeds:
    """All feeds of this process, and the thread that prepares their frames where none that computes does.

    Args:
        clock: seconds.
        on_error: is told of what a feed's `prepare` raises; the feed goes on, and the server's log has it.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_error: Callable[[Exception], None] = lambda error: _log.error(
            "A frame could not be prepared.", exc_info=error
        ),
    ) -> None:
        self._clock = clock
        self._on_error = on_error
        self._feeds: weakref.WeakValueDictionary[str, Feed] = weakref.WeakValueDictionary()
        self._due: weakref.WeakKeyDictionary[Feed, float] = weakref.WeakKeyDictionary()
        self._woken = threading.Condition()
        self._thread: threading.Thread | None = None

    def open(self, run: LiveRun) -> Feed:
        """A feed of a run. It is there as long as somebody holds it."""
        feed = Feed(run, self)
        weak = weakref.ref(feed)

        def on_change(crowded: bool) -> None:
            there = weak()
            if there is not None:
                there.changed(crowded)

        run.on_change = on_change
        self._feeds[feed.token] = feed
        return feed

    def get(self, token: str) -> Feed | None:
        """The feed of a token."""
        return self._feeds.get(token)

    def wake(self, feed: Feed, at: float) -> None:
        """Has a feed take its turn at a time, or earlier if it is due earlier."""
        with self._woken:
            if at < self._due.get(feed, float("inf")):
                self._due[feed] = at
                self._woken.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="frames", daemon=True)
                self._thread.start()

    def take_turn_if_due(self, feed: Feed, at: float) -> bool:
        """Lets a feed take its turn on this thread if it is due; whether it was."""
        due = self._clock() >= at
        if due:
            self.take_turns([feed])
        return due

    def _work(self) -> None:
        while True:
            with self._woken:
                now = self._clock()
                due = [feed for feed, at in self._due.items() if at <= now]
                if not due:
                    self._woken.wait(max(0.0, min(self._due.values(), default=now + 60.0) - now))
                    continue
                for feed in due:
                    del self._due[feed]
            self.take_turns(due)
            del due[:], feed  # hold on to nothing: a feed goes when its session goes

    def take_turns(self, due: list[Feed]) -> None:
        """Lets feeds take their turns."""
        for feed in due:
            try:
                again = feed.turn(self._clock())
            except Exception as error:  # one visitor's frame must not end everybody's
                if not threading.main_thread().is_alive():
                    return  # the server ends, and takes no more work
                self._on_error(error)
                again = self._clock() + 4 * PERIOD_S
            if again is not None:
                self.wake(feed, again)


@once
def default_feeds() -> Feeds:
    """The feeds of this process."""
    return Feeds()
