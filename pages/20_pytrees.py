"""Pytrees and keys: parameters and random numbers as values

Parameters, gradients, optimizer states: in JAX each is a pytree, arrays held by lists, dicts and registered classes,
and one `jax.tree.map` does to all of them what is done to one. Randomness is a value as well: a key goes in, the same
key gives the same numbers. Functions that only take and return can be transformed; what they do besides, `jit` drops.

References:
    Pytrees: https://docs.jax.dev/en/latest/pytrees.html
    Pseudorandom numbers: https://docs.jax.dev/en/latest/random-numbers.html
    jax.tree: https://docs.jax.dev/en/latest/jax.tree.html
    Key reuse checking: https://docs.jax.dev/en/latest/jax.experimental.key_reuse.html
    Pure functions: https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html
"""

import streamlit as st

from lib.lessons.pytrees import measure as pytree_timings
from lib.lessons.pytrees import random_keys, view
from lib.lessons.pytrees import routine as pytrees
from lib.lessons.pytrees.mistakes import MISTAKES
from lib.routines import datasets
from lib.ui import frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
batch_size, seed = controls.batch_size, controls.seed

with st.container(horizontal=True, vertical_alignment="bottom"):
    depth = ask("tree_depth", "Hidden layers", [1, 2, 4], width=240, help="Each layer has two leaves, `w` and `b`.")
    container = ask("container", "Held by", list(pytrees.CONTAINERS), required=True)
left, right = st.columns([1.15, 1], gap="large")
with left:
    st.subheader("The parameters of a network, leaf by leaf", anchor=False)
    explore = view.explorer(f"{container}_{depth}")
    panels.answer(explore, controls.device, pytrees.leaf_report, container, depth, seed)
with right:
    st.subheader("What can be done to a tree", anchor=False)
    operation = ask("operation", "Operation", list(pytrees.OPERATIONS))
    panels.source(*pytrees.OPERATIONS[operation][1])

    def draw_operation(text: str) -> None:
        st.caption("Called with the parameters of the network, it gives:")
        st.code(text, language=None, wrap_lines=True)

    panels.answer(draw_operation, controls.device, pytrees.operation_report, operation, depth, seed)

st.subheader("Live: SGD as one `tree.map`", anchor=False)
panels.source(pytrees.sgd_update, pytrees.train_step)
data = datasets.load("regression", seed)
live(pytrees.TreeTraining(depth, batch_size), controls, view.draw_tree_training(depth))

st.subheader("Timings", anchor=False)
with st.expander("The other ways"):
    panels.source(pytrees.update_in_a_loop, pytrees.update_of_a_vector, pytrees.update_through_a_vector)
panels.measure(
    "updates", controls, view.draw_updates,
    f"The update for 2, 4, 8, ... leaves, up to {16 * depth}, and the gradient of {batch_size:,} examples beside it.",
    pytree_timings.update_sweep, batch_size, 8 * depth,
)  # fmt: skip
panels.inside("pytrees", controls, "jit(train_step)", pytrees.step_of_training, batch_size, depth)

st.subheader("Keys come from keys", anchor=False)
st.markdown(
    "`split` gives two new keys for one, which is used up then. `fold_in` gives one for each number, such as that of a "
    "step. Both are functions: split a key twice, or fold in a number twice, and you get **the same keys** again. And by "
    "default `fold_in(key, i)` **is** `split(key)[i]`: use one of the two on a key, never both. Try it: fold 0 into `a`."
)
view.key_tree(controls)

st.subheader("Live: the same key at every step", anchor=False)
st.markdown(
    "Dropout switches half of the units off, and the key says which half. Two networks start alike and see the same "
    "batches. One splits its key at each step; the other forgets to, and half of its units never learn."
)
with st.expander("The two steps"):
    panels.source(
        random_keys.step_with_a_new_key,
        random_keys.step_with_the_same_key,
        random_keys.dropout_loss,
        random_keys.predict,
    )
live(random_keys.Dropout(batch_size), controls, view.draw_dropout, name="dropout")

if ask("check_reuse", "Take two steps of each under `jax.debug_key_reuse`"):
    checked, code = st.columns(2, gap="large")
    with checked:
        panels.answer(view.draw_checks, controls.device, random_keys.checker_report)
    with code:
        panels.source(random_keys.two_steps_under_the_checker)

st.subheader("Pure and impure", anchor=False)
st.markdown(
    "Four calls of a function that prints, the last with another shape, and what was printed when. Python runs while JAX "
    "traces, at the first call of each shape, and then `x` has no value yet. `jax.debug.callback` becomes a part of the "
    "program, and a count that is to survive is an argument and a result."
)
impure, code = st.columns([1.4, 1], gap="large")
with impure:
    panels.answer(view.draw_calls, controls.device, pytrees.call_the_impure)
with code:
    panels.source(pytrees.call_the_impure, label="The calls")

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- `grad` returns a tree of the structure of its argument: that is why one `tree.map` over both is the whole update.
- Another container changes the paths and not the arrays. A static field is part of the structure: another value of it
  compiles another program.
- Without `jit`, an update costs two dispatches for each leaf: a product and a difference. With `jit`, how the tree is
  walked hardly matters, because the walk happens while tracing.
- One vector makes one operation of many, and copies when it is made from a tree at each step.
- By default a key is two 32-bit numbers. Using it does not change it: you have to remember that it is used up, or
  `jax.debug_key_reuse` does. That checker does not see that a split and a fold of one key are the same.
- A reused key raises no error by itself. Here it halves the network; elsewhere it correlates what should not be.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("pytrees", MISTAKES)
