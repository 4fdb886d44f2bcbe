"""`lib/lessons/multi_device/processes.py`: processes that train together, and every way in which they may end."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT
from harness import alive
from support import eventually

from lib.lessons.multi_device.many_devices import single_losses
from lib.lessons.multi_device.processes import NUM_STEPS, Job, Line, worker_commands

TALKS = """
import json, sys, time
for step in range(int(sys.argv[1])):
    print(json.dumps({"event": "step", "step": step + 1, "loss": 1 / (step + 1)}), flush=True)
    time.sleep(0.02)
print("a library's own words")
if sys.argv[2:]: time.sleep(float(sys.argv[2]))
print(json.dumps({"event": "done"}), flush=True)
"""


def talks(*args: object) -> list[str]:
    """A process that reports so many steps and then, perhaps, says nothing for a while."""
    return [sys.executable, "-c", TALKS, *map(str, args)]


@pytest.fixture
def start():
    """Starts jobs in a line of the test's own; none is left at the end."""
    jobs, line = [], Line()

    def make(*commands, **limits):
        jobs.append(Job(commands or [talks(5), talks(5)], line, **limits))
        return jobs[-1]

    yield make
    for job in jobs:
        job.kill()
    for job in jobs:
        eventually(lambda job=job: not job.look().active)


def ended(job: Job):
    eventually(lambda: not job.look().active, "the end of the job")
    report = job.look()
    assert not any(map(alive, report.pids))
    return report


def test_what_processes_say_is_kept_and_they_are_gone_at_the_end(start) -> None:
    report = ended(start())
    assert report.message == "" and report.progress == ("done", "done")
    assert report.losses == ((1, 1 / 2, 1 / 3, 1 / 4, 1 / 5),) * 2
    assert 0 < report.first_loss_s < report.elapsed_s and len(report.pids) == 2


def test_those_who_watch_a_job_do_not_keep_it_going(start) -> None:
    first, second = start(talks(3, 60), lease_s=0.5), start(talks(3))
    eventually(lambda: not first.report().active)
    assert first.report().message == "Nobody looked any longer, so the processes were ended."
    second.stop()


def test_one_job_runs_at_a_time_and_the_next_is_told_that_it_waits(start) -> None:
    first, second, third = start(talks(3, 60)), start(talks(3)), start(talks(3))
    eventually(lambda: first.look().losses[0])
    line = first._line
    assert line.running() is first and len(line) == 3
    assert line.running().report().losses[0], "those who wait can watch it"
    assert [job.look().ahead for job in (first, second, third)] == [0, 1, 2]
    assert second.look().pids == ()
    second.stop()
    assert ended(second).message == "Stopped."
    assert third.look().ahead == 1
    first.stop()
    assert ended(first).message == "Stopped."
    assert ended(third).losses == ((1, 1 / 2, 1 / 3),)


def test_a_process_that_is_killed_ends_the_job_with_a_sentence(start) -> None:
    job = start(talks(3, 60), talks(3, 60))
    report = eventually(lambda: job.look() if all(report_losses(job)) else None)
    os.kill(report.pids[1], signal.SIGKILL)
    assert "Process 1 was killed by signal 9" in ended(job).message


def report_losses(job: Job) -> tuple:
    return job.look().losses


def test_a_process_that_fails_ends_the_job_with_its_error(start) -> None:
    report = ended(start([sys.executable, "-c", "raise ValueError('no such port')"], talks(3, 60)))
    assert "Process 0 ended with code 1 (ValueError: no such port)" in report.message


def test_a_process_that_cannot_be_started_ends_the_job_with_a_sentence(start) -> None:
    assert "could not be started" in ended(start(talks(1), ["/no/such/program"])).message


def test_a_process_that_stops_answering_ends_the_job(start) -> None:
    job = start(talks(1000), talks(5, 60), silence_s=0.5)
    pids = eventually(lambda: job.look().pids if all(report_losses(job)) else None)
    os.kill(pids[0], signal.SIGSTOP)
    message = ended(job).message
    assert "so all were ended" in message and "for " in message


def test_a_process_that_never_begins_ends_the_job(start) -> None:
    assert "No process has reported a step" in ended(start(talks(0, 60), start_s=0.3)).message


def test_a_job_ends_at_its_time_limit_and_when_nobody_looks(start) -> None:
    assert "time limit of 0.3 s" in ended(start(talks(3, 60), limit_s=0.3)).message
    job = start(talks(3, 60), lease_s=0.3)
    time.sleep(1.5)
    report = job.look()
    assert not report.active and "Nobody looked" in report.message
    assert not any(map(alive, report.pids))


def test_real_processes_train_together_and_none_outlives_its_parent() -> None:
    """A parent of its own starts a job, reports it, and is killed: its processes go with it."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )  # fmt: skip
    try:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        losses = np.array([[float(loss) for loss in parent.stdout.readline().split()] for _ in range(2)])
        assert len(pids) == 2 and all(map(alive, pids))
    finally:
        parent.kill()
        parent.wait()
    eventually(lambda: not any(map(alive, pids)), "the end of the processes", 10)
    assert losses.shape == (2, 20)
    np.testing.assert_allclose(losses, [single_losses(0, 32, 0.03, NUM_STEPS)[:20]] * 2, atol=1e-5)


PARENT = """
import time
from lib.lessons.multi_device.processes import Job, worker_commands
job = Job(worker_commands(32, 0.03, 0))
while min(map(len, job.look().losses)) < 20:
    assert job.look().active, job.look().message
    time.sleep(0.05)
report = job.look()
print(*report.pids)
for losses in report.losses:
    print(*losses[:20])
print(flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_real_process_that_dies_or_hangs_ends_the_job(start, blow) -> None:
    job = start(*worker_commands(32, 0.03, 0), silence_s=2.0)
    report = eventually(lambda: job.look() if min(map(len, report_losses(job))) > 3 else None, "steps", 60)
    os.kill(report.pids[1], blow)
    message = ended(job).message
    assert "killed by signal 9" in message if blow is signal.SIGKILL else "so all were ended" in message
