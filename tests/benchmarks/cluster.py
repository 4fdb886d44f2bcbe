"""Runs on a Dask cluster of local workers, one core each, through a real scheduler: what does the way there cost?"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from default_problem import LEARNING_RATE, default_problem
from report import Figure, at_least, at_most

from lib.live import pace
from lib.live.cluster import Cluster
from lib.live.devices import CPUS, devices
from lib.live.engine import default_engine
from lib.live.run import LiveRun, Snapshot, Spec
from tests.harness import Dask

ROUNDS = 10
PERIOD_S = 3.0
LOOK_S = 0.1
CHUNK_S = 0.025
CORES = {"first": 0, "second": 1 % CPUS}
RUNS = 8
STEPS = 20_000
"""Of the run that is compared to the last bit."""


def wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(LOOK_S)


def begin(runs: Sequence[LiveRun], places: Sequence[object], limit: float | None = None) -> None:
    """Lets runs go on, each on its device, and waits until all have compiled."""
    problem, _ = default_problem()
    for number, (run, device) in enumerate(zip(runs, places, strict=True)):
        run.configure(Spec(problem, device, number), LEARNING_RATE, limit)
        run.run()
    wait(lambda: all([run.look().step > 0 for run in runs]))


class Speed(NamedTuple):
    """Of all runs together.

    Attributes:
        busy: seconds of computing in a second. It hardly hangs on what else the machine does.
    """

    steps_per_s: float
    busy: float


def speed(runs: Sequence[LiveRun]) -> Speed:
    """The runs are looked at as often as by browsers."""
    for seconds in (1.0, PERIOD_S):  # the first lets chunks grow to their length
        before, begun = [run.look() for run in runs], time.monotonic()
        while time.monotonic() < begun + seconds:
            time.sleep(LOOK_S)
            for run in runs:
                run.touch()
        after, took = [run.look() for run in runs], time.monotonic() - begun
        steps = sum(new.step - old.step for old, new in zip(before, after, strict=True))
        computing_s = sum(new.computing_s - old.computing_s for old, new in zip(before, after, strict=True))
    return Speed(steps / took, computing_s / took)


def rest(runs: Sequence[LiveRun]) -> list[Snapshot]:
    for run in runs:
        run.pause()
    wait(lambda: not any([run.look().active for run in runs]))
    return [run.snapshot() for run in runs]


def one_run(cluster: Cluster) -> list[Figure]:
    usual = pace.CHUNK_S
    pace.CHUNK_S = (CHUNK_S, CHUNK_S)
    here, there = next(iter(devices().values())), cluster.devices()["first cpu:0"]
    default_engine().submit(here, os.sched_setaffinity, 0, {CORES["first"]}).result()  # as the worker: one core each
    runs = [LiveRun(default_engine()), LiveRun(default_engine())]
    ratios, busy = [], []
    for _ in range(ROUNDS):
        rates = []
        for run, device in zip(runs, (here, there), strict=True):
            begin([run], [device])
            rates.append(speed([run]))
            rest([run])
        ratios.append(rates[1].steps_per_s / rates[0].steps_per_s)
        busy.append(rates[1].busy / rates[0].busy)
    pace.CHUNK_S = usual
    default_engine().submit(here, os.sched_setaffinity, 0, os.sched_getaffinity(0)).result()
    return [
        at_least(
            f"one run on a worker / here, one core each, chunks of {1e3 * CHUNK_S:g} ms, median of the rounds",
            median(ratios),
            0.95,
        ),
        Figure("the same, each round", ", ".join(f"{ratio:.2f}" for ratio in ratios)),
        at_least("its seconds of computing in a second / here, median", median(busy), 0.95),
        Figure("the same, each round", ", ".join(f"{ratio:.2f}" for ratio in busy)),
    ]


def two_workers(cluster: Cluster) -> list[Figure]:
    first, second = (cluster.devices()[f"{name} cpu:0"] for name in ("first", "second"))
    ratios = []
    for _ in range(ROUNDS // 3):
        rates = []
        for places in ([first] * RUNS, [first, second] * (RUNS // 2)):
            runs = [LiveRun(default_engine()) for _ in range(RUNS)]
            begin(runs, places)
            rates.append(speed(runs).steps_per_s)
            rest(runs)
        ratios.append(rates[1] / rates[0])
    what = f"{RUNS} runs on two workers / on one, median of the rounds; this machine has {CPUS} cores"
    return [at_least(what, median(ratios), 1.8), Figure("the same, each round", ", ".join(f"{r:.2f}" for r in ratios))]


def killed(dask: Dask, cluster: Cluster) -> list[Figure]:
    runs = [LiveRun(default_engine()) for _ in range(RUNS)]
    begin(runs, [cluster.devices()["first cpu:0"]] * RUNS)
    speed(runs)
    ms = [run.look().ms_per_step for run in runs]
    dask.kill("first")
    wait(lambda: all([run.look().message for run in runs]))
    said = [[int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", run.look().message)] for run in runs]
    lost_s = [1e-3 * took * (reached - kept) for took, (reached, kept) in zip(ms, said, strict=True)]
    end = time.monotonic() + 20
    while time.monotonic() < end and not all(
        [run.look().step > reached for run, (reached, _) in zip(runs, said, strict=True)]
    ):
        time.sleep(LOOK_S)
    going = sum(run.look().step > reached for run, (reached, _) in zip(runs, said, strict=True))
    rest(runs)
    return [
        at_least(f"a worker killed in the middle of {RUNS} runs: runs that go on", going, RUNS),
        at_most("steps lost, in seconds of computing, the most of a run", max(lost_s), 2.0, "s"),
    ]


def moved(dask: Dask, cluster: Cluster) -> list[Figure]:
    """The losses of a run whose worker dies on the way, and of one here."""
    run, stayed = LiveRun(default_engine()), LiveRun(default_engine())
    begin([run], [cluster.devices()["second cpu:0"]], limit=2000.0)
    wait(lambda: run.look().step > 4000)
    dask.kill("second")
    wait(lambda: bool(run.look().message))
    problem, _ = default_problem()
    shown = []
    for one in (run, stayed):
        one.configure(Spec(problem, next(iter(devices().values())), 0), LEARNING_RATE)
        one.run(stop_at=STEPS)
        wait(lambda one=one: not one.look().active)
        shown.append(one.look())
    pairs = [(shown[0].metrics[name], shown[1].metrics[name]) for name in shown[1].metrics]
    equal = shown[0].step == STEPS and all(np.array_equal(there, here) for there, here in pairs)
    what = f"{STEPS:,} steps of which a worker died on the way / of a run that was not moved: the losses"
    return [Figure(what, "equal" if equal else "differ", "equal", equal)]


def run() -> list[Figure]:
    dask = Dask()
    try:
        for name, core in CORES.items():
            dask.start_worker(name, core)
        cluster = Cluster(dask.address)
        wait(lambda: len(cluster.rows()) == 2)
        figures = [*one_run(cluster), *two_workers(cluster), *killed(dask, cluster), *moved(dask, cluster)]
        cluster.close()
        return figures
    finally:
        dask.close()
