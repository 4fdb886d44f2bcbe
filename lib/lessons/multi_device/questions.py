"""What will this do? Answers are found by placing it and compiling it."""

from __future__ import annotations

import jax

from lib.lessons.multi_device.many_devices import refusal
from lib.lessons.multi_device.measure import collectives, step_calls
from lib.lessons.multi_device.routine import JIT, PMAP, SINGLE, Layout, way
from lib.measure.questions import Choice, Number, Order, Question
from lib.measure.stages import take_stages
from lib.measure.timing import Rows, compare

DIVIDED, REFUSED = "each device gets as many", "an error"
WAYS = (SINGLE, PMAP, JIT)


def is_it_divided(device: jax.Device, layout: Layout, batch_size: int) -> str:
    """What `device_put` says to a batch of that size."""
    return REFUSED if refusal(layout, device, batch_size).error else DIVIDED


def bytes_that_move(device: jax.Device, layout: Layout, batch_size: int) -> int:
    """Of the results of all collectives on one device, in the step that `jit` has compiled."""
    if batch_size % layout.batch_pieces:
        raise ValueError(
            f"a batch of {batch_size} does not divide among {layout.batch_pieces} devices; choose a larger one."
        )
    made = way(JIT, layout, device, batch_size)
    _, _, compiled, _ = take_stages(made.jitted, *made.args)
    return sum(found.size_bytes for found in collectives(compiled.as_text() or ""))


def times_of_a_step(device: jax.Device, layout: Layout, batch_size: int, seed: int) -> Rows:
    """A step on one device and on all of the mesh, in turns."""
    made = step_calls(layout, batch_size, device, seed)
    if not {*WAYS} <= {*made}:
        raise ValueError(f"a batch of {batch_size} does not divide among {layout.size} devices; choose a larger one.")
    yield from compare({name: made[name] for name in WAYS}, 0.8)


def _why_divided(truth: str, layout: Layout, batch_size: int) -> str:
    pieces = layout.batch_pieces
    if truth == DIVIDED:
        each = f"each of {pieces} pieces has {batch_size // pieces}" if pieces > 1 else "the batch stays whole"
        return f"{batch_size} examples: {each}."
    return f"{batch_size} does not divide by {pieces}. Nothing is padded and nothing is left out."


QUESTIONS = (
    Question(
        "a batch on a mesh",
        "A batch of {batch_size} is placed on the mesh {layout.mesh_shape}, split over {layout.batch_axes}. "
        "What does `device_put` do?",
        Choice((DIVIDED, "the last device gets fewer", "the rest is left out", REFUSED)),
        is_it_divided,
        _why_divided,
    ),
    Question(
        "what moves",
        "How many bytes do the collectives of one `jit` step give each device, at batch size {batch_size}? "
        "The network has 193 parameters.",
        Number(1, 1e7, "bytes"),
        bytes_that_move,
        "Gradients are as large as the parameters, whatever the batch size. Split hidden units add what has to be fetched or "
        "summed for the examples.",
    ),
    Question(
        "which is fastest",
        "A step at batch size {batch_size}, on devices that are simulated on the same cores: which way is fastest?",
        Order(WAYS),
        times_of_a_step,
        "Simulated devices share the cores that one device has for itself, and have to wait for one another.",
    ),
)
