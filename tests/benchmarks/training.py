"""Live training in one tab, with its charts, against the bare compiled loop: what does the app cost?"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import jax
import jax.numpy as jnp
from default_problem import LEARNING_RATE, default_problem
from report import Figure, at_least

from lib.live.devices import devices
from tests.harness import SCREEN, chromium, open_page, press, serve, wait_for_stat

ROUNDS = 6
LIVE_S = 6.0
BARE_S = 3.0
SETTLE_S = 2.0
LENGTH = 10_000

# Steps between the second and the last change that the page shows, and the time between these two frames.
WATCH = """(seconds) => new Promise(resolve => {
    const seen = [], end = performance.now() + 1000 * seconds;
    const look = () => {
        const stat = [...document.querySelectorAll(".stats > div")].find(
            stat => stat.querySelector(".name").textContent === "Step");
        const now = performance.now();
        const step = stat && Number(stat.querySelector(".value").textContent.replaceAll(",", ""));
        if (stat && (!seen.length || seen.at(-1)[1] !== step)) seen.push([now, step]);
        if (now < end) requestAnimationFrame(look);
        else resolve([(seen.at(-1)[1] - seen[1][1]) / (seen.at(-1)[0] - seen[1][0]) * 1000, seen.length - 1]);
    };
    look();
})"""


def bare_loop() -> Callable[[float], float]:
    """A call that steps for some seconds in a scan of fixed length, and gives the steps a second."""
    problem, dataset = default_problem()
    device = next(iter(devices().values()))
    data, rate = jax.device_put((dataset.arrays, jnp.float32(LEARNING_RATE)), device)

    @jax.jit
    def steps(state, data, rate):
        return jax.lax.scan(lambda state, _: problem.step(state, data, rate), state, length=LENGTH)

    state = jax.device_put(jax.jit(problem.init)(jax.random.key(0), data), device)
    for _ in range(3):  # the second call takes a state that the first returned: JAX looks at that one anew
        state, _ = jax.block_until_ready(steps(state, data, rate))

    def measure(seconds: float) -> float:
        nonlocal state
        begun, taken = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            state, _ = jax.block_until_ready(steps(state, data, rate))
            taken += LENGTH
        return taken / (time.perf_counter() - begun)

    return measure


def run() -> list[Figure]:
    bare = bare_loop()
    live_rates, bare_rates, frames = [], [], []
    # Steps for each second of a processor: what is left of the ratio when other programs want the processors too.
    live_per_cpu_s, bare_per_cpu_s = [], []
    with serve() as server, chromium() as browser:
        page = open_page(browser.new_page(viewport=SCREEN), f"{server.url}/training?training_pace=unlimited")
        for _ in range(ROUNDS):
            press(page, "Run")
            wait_for_stat(page, "Step", "[1-9]")
            page.wait_for_timeout(1000 * SETTLE_S)
            used_s = server.cpu_s()
            rate, changes = page.evaluate(WATCH, LIVE_S)
            live_per_cpu_s.append(rate * LIVE_S / (server.cpu_s() - used_s))
            live_rates.append(rate)
            frames.append(changes / LIVE_S)
            press(page, "Pause")
            wait_for_stat(page, "Status", "paused")
            page.wait_for_timeout(500)
            used_s = time.process_time()
            bare_rates.append(bare(BARE_S))
            bare_per_cpu_s.append(bare_rates[-1] * BARE_S / (time.process_time() - used_s))
    ratios = [live / loop for live, loop in zip(live_rates, bare_rates, strict=True)]
    per_cpu = [live / loop for live, loop in zip(live_per_cpu_s, bare_per_cpu_s, strict=True)]
    return [
        Figure("steps/s live, median", f"{median(live_rates):,.0f}"),
        Figure("steps/s of the bare scan, median", f"{median(bare_rates):,.0f}"),
        at_least("live / bare, median of the rounds", median(ratios), 0.9),
        Figure("live / bare, each round", ", ".join(f"{ratio:.2f}" for ratio in ratios)),
        Figure("the same for each second of processor time, median", f"{median(per_cpu):.2f}"),
        Figure("frames that the page showed a second, median", f"{median(frames):.1f}"),
    ]
