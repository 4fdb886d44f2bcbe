"""The next-steps lessons: what the libraries cost, what scan gains, how soon two processes train."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median

from report import Figure, at_least, at_most

from lib.lessons.control_flow.measure import training_race
from lib.lessons.multi_device.processes import Job, worker_commands
from lib.lessons.state_libraries.measure import library_costs, overhead
from lib.lessons.state_libraries.routine import LIBRARIES
from lib.live.devices import devices
from lib.measure.timing import records_of

BATCH_SIZE, LEARNING_RATE, SEED = 32, 0.03, 0
ROUNDS = 3


def libraries() -> list[Figure]:
    device = next(iter(devices().values()))
    own, shares = defaultdict(list), []
    for _ in range(ROUNDS):
        records = records_of(library_costs(device, tuple(LIBRARIES), BATCH_SIZE, SEED))
        for record in records:
            if record.more.get("way") == "own":
                own[record.label].append(record.median_ms)
        if (share := overhead(records)) is not None:
            shares.append(share)
    plain, *others = own
    ratios = ", ".join(f"{name} {median(own[name]) / median(own[plain]):.2f}" for name in others)
    figures = [
        Figure(f"a step, each library's own jit / the plain pytree's ({1e3 * median(own[plain]):.0f} µs)", ratios)
    ]
    if shares:
        figures.append(at_most("our interface adds to a step", 100 * median(shares), 2, "%"))
    return figures


def loops() -> list[Figure]:
    device = next(iter(devices().values()))
    rates = defaultdict(list)
    for record in records_of(training_race(device, BATCH_SIZE, LEARNING_RATE, SEED)):
        rates[record.label].append(1e3 / record.median_ms)
    python, *rolled = rates
    return [
        at_least(f"training by {name} / by {python}", median(rates[name]) / median(rates[python]), 5, "times")
        for name in rolled
    ]


def processes() -> list[Figure]:
    job = Job(worker_commands(BATCH_SIZE, LEARNING_RATE, SEED))
    while (report := job.look()).active and report.first_loss_s is None:
        time.sleep(0.05)
    job.stop()
    return [at_most("two processes: press until the first loss", report.first_loss_s or float("inf"), 15, "s")]


def run() -> list[Figure]:
    return [*libraries(), *loops(), *processes()]
