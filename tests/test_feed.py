"""`lib/live/feed.py`: a frame is prepared once, handed to all who look, and as young as the steps in it."""

import gc
import threading

import pytest
from support import Mean, eventually

from lib.live.devices import devices
from lib.live.feed import GAP_S, PERIOD_S, Feeds
from lib.live.run import Spec, Status

CPU = devices()["cpu:0"]


class Turns(Feeds):
    """Feeds without a thread: the test says when it is somebody's turn."""

    def wake(self, feed, at):
        with self._woken:
            self._due[feed] = min(at, self._due.get(feed, float("inf")))

    def due(self):
        """Lets everybody who is due take turns."""
        due = [feed for feed, at in self._due.items() if at <= self._clock()]
        for feed in due:
            del self._due[feed]
        self.take_turns(due)
        return bool(due)


@pytest.fixture
def feeds(clock):
    return Turns(clock)


@pytest.fixture
def run(make_run, manual_engine, clock):
    run = make_run(manual_engine, clock=clock)
    run.configure(Spec(Mean(8), CPU, 0), 0.1, pace=100)
    return run


def words(snapshot):
    return f"{snapshot.status.value} {snapshot.step}".encode()


def test_who_looks_gets_the_present_frame_at_once_and_then_what_is_new(feeds, run, clock):
    feed, seen = feeds.open(run), []
    feed.show(words)
    feed.subscribe(seen.append)
    feeds.due()
    assert [frame.body for frame in seen] == [b"ready 0"]
    clock.now += 10
    assert not feeds.due() and len(seen) == 1, "nothing is new, so nobody is asked"
    late = []
    feed.subscribe(late.append)
    assert late == seen


def test_a_frame_follows_the_steps_that_are_in_it(feeds, run, executor, clock):
    feed, seen = feeds.open(run), []
    feed.show(words)
    feed.subscribe(seen.append)
    feeds.due()
    run.run()
    feed.show(words)
    feeds.due()
    eventually(lambda: run.snapshot().status is Status.RUNNING)
    for _ in range(8):
        clock.now += PERIOD_S
        while feeds.due() or executor.tasks:
            executor.take_all()
            clock.now += 0.001  # a chunk takes its time
    steps = [int(frame.body.split()[-1]) for frame in seen]
    assert steps == sorted(steps) and len(set(steps)) >= 7
    assert steps[-1] == run.snapshot().step
    assert [frame.changed_at for frame in seen] == sorted(frame.changed_at for frame in seen)


def test_where_others_wait_the_thread_that_has_computed_prepares_the_frame(feeds, run, clock):
    feed, seen = feeds.open(run), []
    by = []
    feed.show(lambda snapshot: by.append(threading.current_thread().name) or str(clock.now).encode())
    feed.subscribe(seen.append)
    feeds.due()

    def compute(wait):
        thread = threading.Thread(target=feed.changed, args=(wait,), name="compute-cpu")
        thread.start()
        thread.join()

    clock.now += GAP_S / 2
    compute(True)
    assert len(seen) == 1, "the next is not due yet"
    clock.now += GAP_S
    compute(False)
    assert len(seen) == 1, "nobody waits: the thread of frames does it"
    compute(True)
    assert len(seen) == 2 and by[-1] == "compute-cpu"


def test_two_threads_do_not_prepare_one_frame(feeds, run, clock):
    feed, seen = feeds.open(run), []

    def prepare(snapshot):
        if not seen:
            thread = threading.Thread(target=feed.changed, args=(True,))
            thread.start()
            thread.join()  # it does not wait for this one
        return str(clock.now).encode()

    feed.show(prepare)
    feed.subscribe(seen.append)
    feeds.due()
    assert len(seen) == 1
    clock.now += GAP_S
    feeds.due()
    assert len(seen) == 2, "it comes back"


def test_all_who_look_share_one_preparation(feeds, run, clock):
    prepared, one, other = [], [], []
    feed = feeds.open(run)
    feed.show(lambda snapshot: prepared.append(snapshot) or b"frame")
    end = feed.subscribe(one.append)
    feed.subscribe(other.append)
    feeds.due()
    assert len(prepared) == 1 and one == other and len(one) == 1
    end()
    feed.show(lambda snapshot: b"another")
    feeds.due()
    assert len(one) == 1 and [frame.body for frame in other] == [b"frame", b"another"]


def test_nobody_looks_and_nothing_is_prepared(feeds, run):
    feed = feeds.open(run)
    feed.show(lambda snapshot: pytest.fail("prepared for nobody"))
    feeds.due()


def test_a_run_that_nobody_looks_at_rests(feeds, run, executor, clock):
    feed = feeds.open(run)
    feed.show(words)
    end = feed.subscribe(lambda frame: None)
    run.run()
    eventually(lambda: run.snapshot().status is Status.RUNNING)
    clock.now += PERIOD_S
    feeds.due()
    executor.take_all()
    assert run.snapshot().step > 0
    end()
    clock.now += 100
    before = run.snapshot().step
    feeds.due()
    executor.take_all()
    assert run.snapshot().step == before


def test_what_one_feed_raises_is_told_and_holds_up_no_other(run, make_run, manual_engine, clock):
    errors, seen = [], []
    feeds = Turns(clock, errors.append)
    broken, whole = feeds.open(run), feeds.open(make_run(manual_engine, clock=clock))
    broken.show(lambda snapshot: 1 / 0)
    whole.show(words)
    broken.subscribe(seen.append)
    whole.subscribe(seen.append)
    feeds.due()
    assert [frame.body for frame in seen] == [b"ready 0"]
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_a_token_is_long_and_its_feed_goes_with_whoever_holds_it(feeds, run):
    feed = feeds.open(run)
    token = feed.token
    assert len(token) >= 20 and feeds.get(token) is feed and feeds.get(token[:-1]) is None
    del feed
    gc.collect()
    assert feeds.get(token) is None


def test_the_thread_of_a_process_prepares_by_itself(run, engine):
    feeds, seen = Feeds(), []
    feed = feeds.open(run)
    feed.show(words)
    feed.subscribe(seen.append)
    eventually(lambda: seen)
    assert seen[0].body == b"ready 0"
