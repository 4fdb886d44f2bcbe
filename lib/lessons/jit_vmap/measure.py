"""Ways to compute a batch, at growing sizes."""

from __future__ import annotations

import jax

from lib.lessons.jit_vmap import routine as batching
from lib.measure.timing import PAUSE, Rows, sweep


def batching_sweep(
    device: jax.Device, name: batching.Name, largest: int, in_axes: tuple[int | None, ...] | None = None
) -> Rows:
    """Every way to compute a batch, at powers of four up to a size. Each record has in `more` `what` was computed."""
    function = batching.function_of(name)
    axes = function.in_axes if in_axes is None else in_axes
    what = f"vmap({batching.called(name)}, in_axes={axes})"
    sizes = tuple(4**i for i in range(largest.bit_length() // 2 + 1) if 4**i <= largest)
    for record in sweep(lambda size: batching.rivals(name, size, device, axes), sizes):
        yield PAUSE if record is PAUSE else record._replace(more={"what": what})
