"""`lib/lessons/multi_device/measure.py`: counted on programs whose collectives are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lib.lessons.multi_device.many_devices import ManyDevices
from lib.lessons.multi_device.measure import LARGE, Collective, collectives, device_sweep, programs
from lib.lessons.multi_device.routine import JIT, PMAP, SHARD_MAP, SINGLE, Layout
from lib.live.devices import devices
from lib.measure.timing import records_of

CPU = devices()["cpu:0"]
MESH = Mesh(np.array(jax.devices("cpu")[:4]), ("x",), axis_types=(AxisType.Auto,))
X = np.ones((8, 4), np.float32)  # a piece has 2 rows, 32 bytes
PERMUTATION = [(i, (i + 1) % 4) for i in range(4)]
KNOWN = {
    "all-reduce": (lambda a: jax.lax.psum(a, "x"), P(), 32),
    "all-gather": (lambda a: jax.lax.all_gather(a, "x", tiled=True), P("x"), 128),
    "reduce-scatter": (lambda a: jax.lax.psum_scatter(a, "x", scatter_dimension=1, tiled=True), P("x"), 8),
    "collective-permute": (lambda a: jax.lax.ppermute(a, "x", PERMUTATION), P("x"), 32),
    "all-to-all": (lambda a: jax.lax.all_to_all(a, "x", 1, 0, tiled=True), P("x"), 32),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_known_collective_is_counted_with_its_bytes(kind: str) -> None:
    fun, out_specs, size_bytes = KNOWN[kind]
    mapped = jax.shard_map(fun, mesh=MESH, in_specs=P("x"), out_specs=out_specs)
    found = collectives(jax.jit(mapped).lower(X).compile().as_text())
    assert {collective.kind for collective in found} == {kind}
    assert sum(collective.size_bytes for collective in found) == size_bytes


def test_what_needs_no_word_between_devices_has_none() -> None:
    x = jax.device_put(X, NamedSharding(MESH, P("x")))
    assert collectives(jax.jit(jnp.tanh).lower(x).compile().as_text()) == []


def test_pairs_tuples_and_other_types_are_read() -> None:
    text = """
  %all-reduce.1 = (f32[4,32]{1,0}, bf16[8]{0}, /*index=2*/pred[3]{0}) all-reduce(%a, %b, %c), channel_id=1
  %ags = (f32[8]{0}, f32[32]{0}) all-gather-start(%d), dimensions={0}
  ROOT %agd = f32[32]{0} all-gather-done(%ags)
  %other = f32[] add(%x, %all-reduce.1)
"""
    assert collectives(text) == [Collective("all-reduce", 3, 4 * 128 + 16 + 3), Collective("all-gather", 1, 128)]


def test_data_parallel_training_sums_each_gradient_once() -> None:
    sizes = 4 * (4 * 32 + 32 + 32 + 1) + 4  # the parameters, and the loss
    made = {p.way: p for p in programs(ManyDevices(32, Layout((4, 1))), CPU)}
    assert made[SINGLE].collectives == ()
    for way in (PMAP, SHARD_MAP, JIT):
        assert {c.kind for c in made[way].collectives} == {"all-reduce"}
        assert sum(c.size_bytes for c in made[way].collectives) == sizes
        assert "/lib/" not in made[way].hlo and "all-reduce" in made[way].hlo


def test_parameters_cut_along_the_batch_are_fetched_and_given_back() -> None:
    made = {p.way: p for p in programs(ManyDevices(32, Layout((4, 1), ("data",), "data")), CPU)}
    kinds = [c.kind for c in made[SHARD_MAP].collectives]
    assert kinds.count("all-gather") == kinds.count("reduce-scatter") == 3
    assert "all-gather" in {c.kind for c in made[JIT].collectives}


def test_the_sweep_times_every_way_on_every_number_of_devices() -> None:
    records = records_of(device_sweep(CPU, 2, 0))
    variants = {size: {r.label for r in records if r.size == size} for size in (1, 2, 4)}
    assert variants == {1: {PMAP, SHARD_MAP, JIT, LARGE}, 2: {PMAP, SHARD_MAP, JIT, LARGE}, 4: {LARGE}}
    assert all(0 < r.low_ms <= r.median_ms <= r.high_ms for r in records)
