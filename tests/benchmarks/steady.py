"""The steady times that the composition lab shows, against `timeit` of the same functions in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from report import Figure

from lib.lessons.composition import measure as experiments
from lib.lessons.composition.routine import FUNCTIONS
from lib.lessons.composition.transforms import parse
from lib.live.devices import devices
from lib.live.measurement import default_measurements

ROUNDS = 7
TOLERANCE = 0.10
BATCH_SIZE, SEED = 32, 0
STACKS = {
    "squared loss": "jit(vmap(grad(f), in_axes=(None, 0, 0)))",
    "growing wave": "jit(vmap(grad(grad(f))))",
    "Rosenbrock": "jit(vmap(hessian(f)))",
}
HANDED_OVER = "network loss", "jit(grad(mean(vmap(f, in_axes=(None, None, 0, 0)))))"
"""XLA gives products of matrices to threads of its own: how soon these wake differs from process to process, several
times over, in `timeit` as here. Reported, without a target."""

# Nothing of the measuring code: the function, its arguments, and Python's own timer. JAX is set up as in the app, with
# the same simulated devices: that alone makes programs of 50 µs faster or slower by a tenth.
FRESH = """
import json, sys, timeit
import jax
from lib.live.devices import devices
from lib.lessons.composition.levels import level_arguments
from lib.lessons.composition.routine import FUNCTIONS
from lib.lessons.composition.transforms import apply, parse
name, text, batch_size, seed = json.loads(sys.argv[1])
stack = parse(text)
fun = apply(FUNCTIONS[name].fun, stack)
args = jax.device_put(level_arguments(FUNCTIONS[name], stack, batch_size, seed), next(iter(devices().values())))
timer = timeit.Timer(lambda: jax.block_until_ready(fun(*args)))
timer.timeit(200)
number = max(1, int(2e-3 / (timer.timeit(200) / 200)))
samples = sorted(timer.repeat(60, number))
print(samples[len(samples) // 2] / number * 1e3)
"""


def shown(name: str, text: str) -> float:
    """Milliseconds, as a press of the page's button measures them."""
    device = next(iter(devices().values()))
    stacks = (parse(text),)
    line = default_measurements()
    taken = line.ask(
        "visitor", (name, text), device,
        lambda: experiments.stack_times(device, FUNCTIONS[name], stacks, BATCH_SIZE, SEED),
    )  # fmt: skip
    while not taken.done:
        line.look(taken, "visitor")
        time.sleep(0.01)
    assert not taken.error, taken.error
    return next(record.median_ms for record in taken.records if record.phase == "steady")


def fresh(name: str, text: str) -> float:
    """Milliseconds, by a process of its own."""
    command = [sys.executable, "-c", FRESH, json.dumps([name, text, BATCH_SIZE, SEED])]
    root = Path(__file__).parents[2]
    return float(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)


def run() -> list[Figure]:
    figures = []
    for name, text in STACKS.items():
        rounds = [(shown(name, text), fresh(name, text)) for _ in range(ROUNDS)]
        ratio = median(ours for ours, _ in rounds) / median(theirs for _, theirs in rounds)
        figures.append(
            Figure(
                f"{text} of {name}, batch size {BATCH_SIZE}: shown / `timeit`", f"{ratio:.3f}",
                f"within {TOLERANCE:.0%}", abs(ratio - 1) <= TOLERANCE,
            )
        )  # fmt: skip
    rounds = [(shown(*HANDED_OVER), fresh(*HANDED_OVER)) for _ in range(ROUNDS)]
    ours, theirs = (", ".join(f"{1e3 * ms:.0f}" for ms in sorted(side)) for side in zip(*rounds, strict=True))
    figures.append(Figure(f"{HANDED_OVER[1]} of {HANDED_OVER[0]}, in threads: shown; `timeit`", f"{ours}; {theirs} µs"))
    return figures
