"""JAX's transformations, live

Functions that make functions: `grad` differentiates, `vmap` adds a batch axis, `jit` compiles, and they nest in any
order. Each page runs one nesting on this machine, shows its real code, and times it honestly. Batch size, learning
rate, device and seed are set on the left, for all pages.

References:
    JAX documentation: https://docs.jax.dev/
"""

import streamlit as st

from lib.ui import frame

controls = frame.begin(__doc__)
