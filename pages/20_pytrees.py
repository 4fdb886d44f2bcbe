"""Pytrees and keys: parameters and random numbers as values

A network's parameters are a pytree: arrays, its leaves, held by lists and dicts. Press **Run**: one `jax.tree.map`
updates every leaf, the squares change colour and the loss falls. With 4 hidden layers it is the same line. Random
numbers are under **Keys**.

Gradients and optimizer states are pytrees: arrays held by lists, dicts and registered classes. A function
that takes them and returns new ones can be transformed. Random numbers work alike: a key goes in, and the same key
gives the same numbers.

References:
    Pytrees: https://docs.jax.dev/en/latest/pytrees.html
    Pseudorandom numbers: https://docs.jax.dev/en/latest/random-numbers.html
    Key reuse checking: https://docs.jax.dev/en/latest/jax.experimental.key_reuse.html
    Pure functions: https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html
"""

import streamlit as st

from lib.lessons.pytrees import measure as pytree_timings
from lib.lessons.pytrees import random_keys, view
from lib.lessons.pytrees import routine as pytrees
from lib.lessons.pytrees.mistakes import MISTAKES
from lib.lessons.pytrees.questions import QUESTIONS
from lib.lessons.pytrees.snippet import SIDE_EFFECTS, line, snippet
from lib.routines.snippets import source
from lib.ui import frame, panels, predict, stage
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin()
batch_size, seed = controls.batch_size, controls.seed

with stage.settings():
    depth = ask("tree_depth", "Hidden layers", [1, 2, 4], width=240, help="Each layer has two leaves, `w` and `b`.")

live(
    pytrees.TreeTraining(depth, batch_size), controls, view.draw_training(depth),
    code=line(controls.learning_rate), suits=(0.01, 0.1), pace="100",
)  # fmt: skip


def tree() -> None:
    leaves, operations = st.columns([1.15, 1], gap="large")
    with leaves:
        container = ask("container", "Held by", list(pytrees.CONTAINERS), required=True)
        panels.answer(
            view.explorer(f"{container}_{depth}"), controls.device, pytrees.leaf_report, container, depth, seed
        )
    with operations:
        operation = ask("operation", "Operation", list(pytrees.OPERATIONS))
        st.code(source(*pytrees.OPERATIONS[operation][1]), wrap_lines=True)
        panels.answer(view.draw_operation, controls.device, pytrees.operation_report, operation, depth, seed)


def one_key() -> None:
    st.markdown(
        "Dropout switches off half of the units at each step, and a key says which. Two networks start alike and see the "
        "same batches: one splits its key at each step, the other uses its key again and again."
    )
    run, code = st.columns([1.7, 1], gap="large")
    with run:
        live(random_keys.Dropout(batch_size), controls, view.draw_dropout, name="dropout", pace="100")
    with code:
        st.code(source(random_keys.step_with_a_new_key, random_keys.step_with_the_same_key), wrap_lines=True)
        with st.expander("The loss and the network"):
            st.code(source(random_keys.dropout_loss, random_keys.predict), wrap_lines=True)
        if ask("check_reuse", "Take two steps of each under `jax.debug_key_reuse`"):
            panels.answer(view.draw_checks, controls.device, random_keys.checker_report)


def side_effects() -> None:
    st.markdown(
        "Four calls of a function that prints, the last with another shape, and what it printed at each. Python runs only "
        "while JAX traces, at the first call of each shape, and then `x` has no value yet. `jax.debug.callback` is part of "
        "the program. A count that should survive is an argument and a result."
    )
    calls, code = st.columns([1.4, 1], gap="large")
    with calls:
        panels.answer(view.draw_calls, controls.device, pytrees.call_the_impure)
    with code:
        panels.snippet(SIDE_EFFECTS, controls)


def timings() -> None:
    panels.measure(
        "updates", controls, view.draw_updates,
        f"The update for 2, 4, 8, ... leaves, up to {16 * depth}, and the gradient of {batch_size:,} examples beside it.",
        pytree_timings.update_sweep, batch_size, 8 * depth,
    )  # fmt: skip


NOTICE = """
- `grad` returns a tree with the structure of its argument. So one `tree.map` over both is the whole update.
- Without `jit` an update dispatches each operation for each leaf. With `jit` JAX walks over the tree once, while tracing.
- Another container changes the paths, not the arrays. A static field is part of the structure: another value of it
  compiles another program.
- A key is two numbers of 32 bits by default. Using it does not change it, so use each key once, to split it or to draw.
- By default `fold_in(key, i)` is the same key as `split(key)[i]`. Never do both to one key.
- A key that is used again raises no error by itself. In **One key** it leaves half of the units untrained.
  `jax.debug_key_reuse` refuses the second use of a key, but does not know that `split` and `fold_in` give the same.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, depth=depth),
        "Code": lambda: panels.snippet(snippet(depth, batch_size, controls.learning_rate, seed), controls, beside=True),
        "Tree": tree,
        "Keys": lambda: view.key_tree(controls),
        "One key": one_key,
        "Side effects": side_effects,
        "Timings": timings,
        "Inside": lambda: panels.inside(
            "pytrees", controls, "jit(train_step)", pytrees.step_of_training, batch_size, depth
        ),
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("pytrees", MISTAKES),
    },
    terms=(
        "pytree",
        "leaf",
        "key",
        "static",
        "trace",
        "dispatch",
        "eager",
        "lower",
        "jaxpr",
        "StableHLO",
        "HLO",
        "fusion",
        "flops",
    ),
)
