"""`lib/live/memory.py`: what begins while memory is short, under a real limit of the system's."""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Mean, eventually

from lib.live import memory
from lib.live.devices import devices
from lib.live.measurement import Measurements
from lib.live.run import Spec, Status
from lib.measure.timing import once

CPU = devices()["cpu:0"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell how much is taken")


@contextmanager
def nearly_full():
    """This process may take a twentieth more than it has taken already."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status").read_text()
    taken = 1024 * int(status.partition("VmData:")[2].split()[0])
    resource.setrlimit(resource.RLIMIT_DATA, (taken * 21 // 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_memory_is_short_when_nine_tenths_of_the_limit_are_taken_and_not_otherwise():
    assert not memory.short()
    with nearly_full():
        assert memory.short()
    assert not memory.short()


def test_a_run_does_not_begin_and_goes_on_from_where_it_was_when_there_is_room(make_run, engine):
    run = make_run(engine)
    run.configure(Spec(Mean(8), CPU, 0), 0.1)
    with nearly_full():
        run.step()
        assert run.look().status is Status.PAUSED and run.look().message == memory.SHORT
        assert run.look().step == 0 and not run.look().active
    run.step()
    eventually(lambda: run.look().step == 1)
    assert run.look().message == ""
    with nearly_full():  # it has its program, and nothing of it is lost
        run.step()
        eventually(lambda: run.look().step == 2)
        run.configure(Spec(Mean(16), CPU, 0), 0.1)
        run.step()
        eventually(lambda: run.look().message == memory.SHORT)  # once the picture of step 2 is there
        assert run.look().step == 2
    run.step()
    eventually(lambda: run.look().step == 3)


def test_a_measurement_does_not_begin_and_can_be_asked_for_again(engine):
    line = Measurements(engine)

    def ask():
        return line.ask("visitor", "key", CPU, lambda: iter([once("a", "steady", 1.0)]))

    with nearly_full():
        refused = ask()
        assert refused.done and refused.error == memory.SHORT and not refused.records
        assert line.look(refused, "visitor") == 0
    taken = ask()
    eventually(lambda: taken.done)
    assert taken.error == "" and len(taken.records) == 1
