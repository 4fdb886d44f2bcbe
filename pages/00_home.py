"""JAX's transformations, live

Functions that make functions: `grad` differentiates, `vmap` adds a batch axis, `jit` compiles, and they nest in any
order. Each page runs one nesting on this machine, shows its real code and times it honestly. Batch size, learning
rate, device and seed are set at the side, for all pages; the address keeps them, so a link shares them.

References:
    JAX documentation: https://docs.jax.dev/
"""

import streamlit as st

from lib.lessons.home import view as home
from lib.lessons.training import charts as drawn
from lib.lessons.training import routine as training
from lib.routines import datasets, networks
from lib.ui import frame
from lib.ui.live_view import live

controls = frame.begin(__doc__)

left, right = st.columns([1.15, 1], gap="large")
with left:
    home.composition_map()
with right:
    home.machine()

st.subheader("Train a small network now", anchor=False)
dataset = datasets.load("XOR", controls.seed)
task = training.Training(
    networks.Network(2, 1, 2, 8, "tanh"), dataset.classes, dataset.picture, "Adam", controls.batch_size, dataset
)
live(task, controls, drawn.draw_run(task))
