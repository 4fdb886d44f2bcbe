"""Flax, Equinox, Haiku: where the state lives

JAX transforms pure functions, and a network has weights, running means and random numbers that change. Each library has
its own answer to where they live: in a pytree that you hand around, in an object that changes, beside a function. Here
one network is written five times and trained five times, from the same weights on the same batches.

References:
    Stateful computations in JAX: https://docs.jax.dev/en/latest/stateful-computations.html
    Flax NNX: https://flax.readthedocs.io/en/latest/nnx_basics.html
    Equinox: https://docs.kidger.site/equinox/all-of-equinox/
    Haiku: https://dm-haiku.readthedocs.io/en/latest/
"""

import streamlit as st

from lib.lessons.state_libraries import common, view
from lib.lessons.state_libraries.measure import DATA, library_costs
from lib.lessons.state_libraries.mistakes import mistakes_of
from lib.lessons.state_libraries.routine import Libraries
from lib.routines import datasets
from lib.routines.sgd import sgd
from lib.ui import frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
batch_size = controls.batch_size
names = view.usable()

st.subheader("Live: one training in five libraries", anchor=False)
st.markdown(
    f"A {common.NETWORK} network on two moons, by plain gradient descent. Every step of the run is a step of each library, "
    "all in one program. **Losses apart** is the largest difference from the plain pytree's loss so far."
)
log = ask("libraries_log", "Logarithmic loss axis")
dataset = datasets.load(DATA, controls.seed)
live(Libraries(names, batch_size), controls, view.draw_run(names, log), extra_stats=view.largest_difference)

st.subheader("The same network, file by file", anchor=False)
panels.source(common.mean_loss, sgd, label="What all of them are given: the loss and the update")
view.code(names, controls)

st.subheader("What differs", anchor=False)
view.table(names, controls)
panels.measure(
    "libraries", controls, view.draw_costs,
    f"What a step of batch size {batch_size:,} takes to compile, and each call of it, blocked, in turns.",
    library_costs, names, batch_size, controls.seed,
)  # fmt: skip

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- The curves coincide, because each library ends in the same program: arrays in, arrays out. What is left is rounding:
  Equinox keeps its weights transposed, and its sums are taken in another order.
- Rounding stays small until the learning rate is too high: at 3 it grows, and the same training goes another way.
- The plain pytree, Linen and Haiku hand state around; an Equinox model *is* the pytree; an NNX object changes in place.
- `nnx.jit` and `filter_jit` take an object apart and put it together in Python at each call. It is a fixed cost: it shows
  with a small network, and not with a large batch. `nnx.split` once, and `jax.jit` of the arrays, is rid of most of it.
- A key is used up: where you split it by hand, the same key gives the same mask; `nnx.Rngs` and `next_rng_key` count on.
- Batch norm by its defaults: Flax's running mean starts at 0 and comes up slowly; Haiku and Equinox divide by
  1 - momentumⁿ. Who converts a model between libraries must know.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("libraries", mistakes_of(names))
