"""Flax, Equinox, Haiku: where the state lives

One network, trained five times alike: as a plain pytree, by Flax's two interfaces, by Haiku, by Equinox. Press
**Run**: the curves coincide. Set the learning rate to 3, press **Reset** and **Run**: Equinox rounds differently, and
its curve leaves the others.

JAX transforms pure functions, but a network has weights, running means and random numbers that change. Each library has
its own place for them: a pytree that you hand around, an object that changes, a dict beside a function.

References:
    Stateful computations in JAX: https://docs.jax.dev/en/latest/stateful-computations.html
    Flax NNX: https://flax.readthedocs.io/en/latest/nnx_basics.html
    Equinox: https://docs.kidger.site/equinox/all-of-equinox/
    Haiku: https://dm-haiku.readthedocs.io/en/latest/
"""

from lib.lessons.state_libraries import view
from lib.lessons.state_libraries.measure import library_costs
from lib.lessons.state_libraries.mistakes import mistakes_of
from lib.lessons.state_libraries.questions import QUESTIONS
from lib.lessons.state_libraries.routine import Libraries
from lib.ui import frame, panels, predict, stage
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin()

with stage.settings():
    log = ask("libraries_log", "Log scale")
names = view.usable()

live(
    Libraries(names, controls.batch_size), controls, view.draw_run(names, log), extra_stats=view.largest_difference,
    code=view.line(controls.learning_rate), suits=(0.03, 1.0), pace="100",
)  # fmt: skip


def timings() -> None:
    panels.measure(
        "libraries", controls, view.draw_costs,
        f"What a step of batch size {controls.batch_size:,} takes to compile, and each call of it, blocked, in turns.",
        library_costs, names, controls.batch_size, controls.seed,
    )  # fmt: skip


NOTICE = """
- The curves coincide because every library ends in the same program: arrays in, arrays out. Equinox keeps its weights
  transposed, so sums may differ in the last bit. A high learning rate makes that grow.
- A plain pytree, Linen and Haiku hand state around. An Equinox model *is* the pytree. An NNX object changes in place.
- `nnx.jit` and `eqx.filter_jit` take objects apart and put them together in Python, at each call. That cost is fixed: it
  matters for a small network only. `nnx.split` once and `jax.jit` of the arrays avoid most of it. See **Timings**.
- With a pytree, Linen and Equinox you split keys yourself: the same key gives the same mask. `nnx.Rngs` and
  `hk.next_rng_key` give a new key at each call.
- Batch norms predict with different means. Flax's starts at 0 and comes up slowly. Haiku's, and Equinox's with
  `mode="batch"`, is divided by 1 - momentumⁿ. Equinox's default, `mode="ema"`, starts at the first batch's mean.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls),
        "Code": lambda: view.code(names, controls),
        "Compare": lambda: view.table(names, controls),
        "State": lambda: view.stateful(names, controls),
        "Timings": timings,
        "Inside": lambda: view.inside(names, controls),
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("libraries", mistakes_of(names)),
    },
    terms=("pytree", "leaf", "state", "key", "trace", "lower", "jaxpr", "StableHLO", "HLO", "fusion", "flops"),
)
