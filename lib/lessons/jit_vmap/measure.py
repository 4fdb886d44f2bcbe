"""Ways to compute a batch, at growing sizes."""

from __future__ import annotations

import jax

from lib.lessons.jit_vmap import routine as batching
from lib.measure.timing import Rows, sweep


def batching_sweep(device: jax.Device, name: batching.Name, batch_size: int) -> Rows:
    """Every way to compute a batch, at powers of two up to the batch size."""
    sizes = [2**i for i in range(batch_size.bit_length())]
    yield from sweep(lambda size: batching.rivals(name, size, device), sizes)
