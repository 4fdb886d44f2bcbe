"""What devices say to one another: the collectives of a compiled program, and the time of a step on ever more devices."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np

from lib.lessons.multi_device import routine as sharding
from lib.lessons.multi_device.many_devices import ManyDevices
from lib.lessons.multi_device.routine import JIT, PMAP, SINGLE, WAYS, Layout
from lib.measure.stages import cut, take_stages
from lib.measure.timing import Rows, compare, sweep

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
LARGE_BATCH = 65_536
LARGE = f"jit, batch {LARGE_BATCH:,}"


class Collective(NamedTuple):
    """One operation of a program.

    Attributes:
        arrays: how many it sends at once.
        size_bytes: of its results on one device.
    """

    kind: str
    arrays: int
    size_bytes: int


def collectives(hlo: str) -> list[Collective]:
    """The collectives in the text of an optimised HLO program, each once, however often a loop runs it.

    An asynchronous one is a pair, `-start` and `-done`: the second has the type of the result.
    """
    found = re.findall(rf"^\s+(?:ROOT )?%?[\w.\-]+ = (\(.*?\)|\S+) ({'|'.join(KINDS)})(?:-done)?\(", hlo, re.MULTILINE)
    return [_collective(kind, types) for types, kind in found]


def _collective(kind: str, types: str) -> Collective:
    arrays = re.findall(r"(pred|[a-z]+\d+)\w*\[([\d,]*)\]", types)
    return Collective(kind, len(arrays), sum(_size_bytes(dtype, shape) for dtype, shape in arrays))


def _size_bytes(dtype: str, shape: str) -> int:
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return prod(int(size) for size in shape.split(",") if size) * bits // 8


class CompiledStep(NamedTuple):
    """What the compiler made of one way to take a step."""

    way: str
    collectives: tuple[Collective, ...]
    hlo: str


def programs(task: ManyDevices, device: jax.Device) -> tuple[CompiledStep, ...]:
    """Compiles each way that the batch size allows, and looks for its collectives."""
    made = []
    for name in task.ways:
        way = sharding.way(name, task.layout, device, task.batch_size)
        _, _, compiled, _ = take_stages(way.jitted, *way.args)
        hlo = re.sub(r", metadata=\{[^}]*\}", "", compiled.as_text() or "")  # names the server's files
        hlo = re.sub(r"\n(?:FileNames|FunctionNames|FileLocations|StackFrames)\n(?:.+\n)*", "", hlo)
        made.append(CompiledStep(name, tuple(collectives(hlo)), cut(hlo)))
    return tuple(made)


def step_calls(layout: Layout, batch_size: int, device: jax.Device, seed: int) -> dict[str, Callable[[], Any]]:
    """A step in each way that the batch size allows, on arrays that are in their places."""
    params = sharding.init_params(jax.random.key(seed))
    batch = sharding.batch_at(sharding.wave_data(seed), 0, batch_size)
    calls: dict[str, Callable[[], Any]] = {}
    for name in sharding.ways_of(layout, batch_size):
        made = sharding.way(name, layout, device, batch_size)
        start = sharding.replicated(params, layout) if name == PMAP else params
        there = jax.device_put(start, made.params)
        calls[name] = partial(sharding.in_turn(made.jitted), there, *made.place_batch(batch), np.float32(0.01))
    return calls


def device_sweep(device: jax.Device, batch_size: int, seed: int) -> Rows:
    """A step of data-parallel training on 1, 2, 4 ... devices, each taking its part of the same batch.

    Yields:
        Records whose `size` is the number of devices; the variant `LARGE` takes a batch that is large enough to keep
        a device busy.
    """

    def make(count: int) -> dict[str, Callable[[], Any]]:
        layout = Layout((count, 1))
        calls = step_calls(layout, batch_size, device, seed)
        del calls[SINGLE]  # the same as `jit` on one
        calls[LARGE] = step_calls(layout, LARGE_BATCH, device, seed)[JIT]
        return calls

    yield from sweep(make, sharding.device_counts(device.platform), partial(compare, budget_s=0.6))


VARIANTS = (*WAYS[1:], LARGE)
"""Of `device_sweep`."""
