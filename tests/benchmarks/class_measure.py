"""A class that measures while a run goes on: how fast is the run still?"""

from __future__ import annotations

import time
from statistics import median

from default_problem import LEARNING_RATE, default_problem
from report import Figure, at_least

from lib.lessons.jit_vmap.measure import batching_sweep
from lib.lessons.jit_vmap.routine import FUNCTIONS
from lib.live.devices import devices
from lib.live.engine import default_engine
from lib.live.measurement import Measurement, default_measurements
from lib.live.run import LiveRun, Spec

ROUNDS = 3
PERIOD_S = 12.0
LOOK_S = 0.1
MEASURERS = (0, 1, 6)
BATCH_SIZE = 4096
SLOWEST = 0.5


def steps_per_s(run: LiveRun, measurers: int) -> tuple[float, float]:
    """Steps a second of a run while so many measure without end, and the longest time without a step."""
    device, line = next(iter(devices().values())), default_measurements()
    name = next(iter(FUNCTIONS))
    taken: list[Measurement | None] = [None] * measurers
    begin = moved = time.monotonic()
    first = last = run.look().step
    standstill = 0.0
    while (now := time.monotonic()) < begin + PERIOD_S:
        for visitor, measurement in enumerate(taken):
            if measurement is None or measurement.done:
                taken[visitor] = line.ask(
                    visitor, ("jit_vmap", visitor), device, lambda: batching_sweep(device, name, BATCH_SIZE)
                )
            else:
                line.look(measurement, visitor)
        step = run.look().step
        if step != last:
            last, moved = step, now
        standstill = max(standstill, now - moved)
        time.sleep(LOOK_S)
    for visitor in range(measurers):  # whoever asks for something else leaves the line
        line.ask(visitor, None, device, lambda: iter(()))
    rate = (run.look().step - first) / (time.monotonic() - begin)
    while any(measurement is not None and not measurement.done for measurement in taken):
        time.sleep(LOOK_S)
    return rate, standstill


def run() -> list[Figure]:
    problem, _ = default_problem()
    live = LiveRun(default_engine())
    live.configure(Spec(problem, next(iter(devices().values())), 0), LEARNING_RATE)
    live.run()
    while live.look().step < 1000:
        time.sleep(LOOK_S)
    taken: dict[int, list[tuple[float, float]]] = {count: [] for count in MEASURERS}
    for _ in range(ROUNDS):
        for count in MEASURERS:
            taken[count].append(steps_per_s(live, count))
    live.reset()
    rates = {count: median(rate for rate, _ in of_it) for count, of_it in taken.items()}
    standstill = {count: max(seconds for _, seconds in of_it) for count, of_it in taken.items()}
    alone = rates[MEASURERS[0]]
    figures = [Figure("steps a second of a run, nobody measures", f"{alone:,.0f}")]
    for count in MEASURERS[1:]:
        who = "one measures" if count == 1 else f"{count} measure"
        figures.append(at_least(f"its speed while {who} /jit_vmap at {BATCH_SIZE:,}", rates[count] / alone, SLOWEST))
        figures.append(Figure(f"longest time without a step while {who}", f"{standstill[count]:.1f} s"))
    return figures
