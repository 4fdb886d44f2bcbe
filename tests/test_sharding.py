"""`lib/lessons/multi_device/routine.py` and `many_devices.py`: every way gives the losses of an explicit loop, and every device holds what it should."""

import threading
import time

import jax
import numpy as np
import pytest
from support import eventually, program_of

from lib.lessons.multi_device import many_devices
from lib.lessons.multi_device import routine as sharding
from lib.lessons.multi_device.many_devices import ManyDevices
from lib.lessons.multi_device.routine import (
    BATCH_AXES,
    HIDDEN_AXES,
    JIT,
    PMAP,
    SHARD_MAP,
    SINGLE,
    WAYS,
    Layout,
    mesh_shapes,
    wave_data,
)
from lib.live.devices import devices
from lib.live.program import compute_chunk, start_state
from lib.live.run import LiveRun, Spec, Status

CPU = devices()["cpu:0"]
DATA = wave_data(0)
LAYOUTS = [
    Layout((4, 1)),
    Layout((2, 2), ("data", "model")),
    Layout((2, 2), ("data",), "model"),
    Layout((2, 2), ("data", "model"), "data"),
    Layout((4, 1), ("data",), "data"),
    Layout((1, 4), (), "model"),
    Layout((1, 1)),
]


def loss_loop(seed: int, batch_size: int, learning_rate: float, num_steps: int) -> np.ndarray:
    """The losses by an explicit loop in NumPy's float64, with the gradients worked out by hand."""
    params = {name: np.asarray(leaf, np.float64) for name, leaf in sharding.init_params(jax.random.key(seed)).items()}
    inputs, targets = (part.astype(np.float64) for part in wave_data(seed))
    losses = []
    for step in range(num_steps):
        rows = (step * batch_size + np.arange(batch_size)) % len(targets)
        x, y = inputs[rows], targets[rows]
        hidden = np.tanh(x @ params["w1"] + params["b1"])
        apart = hidden @ params["w2"] + params["b2"] - y
        losses.append((apart**2).mean())
        d_preds = 2 * apart / batch_size
        d_hidden = np.outer(d_preds, params["w2"]) * (1 - hidden**2)
        grads = {"w1": x.T @ d_hidden, "b1": d_hidden.sum(0), "w2": hidden.T @ d_preds, "b2": d_preds.sum()}
        params = {name: params[name] - learning_rate * grads[name] for name in params}
    return np.array(losses)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_way_has_the_losses_of_the_loop(engine, layout) -> None:
    program = program_of(engine, ManyDevices(32, layout), DATA, CPU)
    done = compute_chunk(program, start_state(program, 0, DATA), DATA, 0.03, 100, False)
    expected = loss_loop(0, 32, 0.03, 100)
    for series in ("loss", PMAP, SHARD_MAP, JIT):
        np.testing.assert_allclose(done.metrics[series], expected, rtol=2e-4, atol=2e-5)
        assert np.abs(done.metrics[series] - done.metrics["loss"]).max() < 1e-5
    assert done.metrics["difference"].max() < 1e-5
    assert int(done.state.step) == 100 and not done.diverged


@pytest.mark.parametrize("batch_axes", BATCH_AXES.values(), ids=str)
@pytest.mark.parametrize("hidden_axis", HIDDEN_AXES.values(), ids=str)
def test_a_step_by_shard_map_is_the_step_of_one_device_however_it_is_cut(batch_axes, hidden_axis) -> None:
    layout = Layout((2, 2), batch_axes, hidden_axis)
    alone, mapped = (sharding.way(name, layout, CPU, 8) for name in (SINGLE, SHARD_MAP))
    params, batch = sharding.init_params(jax.random.key(3)), sharding.batch_at(DATA, 1, 8)
    expected, loss = alone.jitted(params, *batch, 0.3)
    made, its_loss = mapped.jitted(jax.device_put(params, mapped.params), *mapped.place_batch(batch), 0.3)
    np.testing.assert_allclose(its_loss, loss, rtol=1e-6)
    for name in params:
        np.testing.assert_allclose(made[name], expected[name], rtol=1e-5, atol=1e-6)
        assert made[name].sharding.is_equivalent_to(mapped.params[name], made[name].ndim)


def test_chunks_of_a_step_on_the_host_do_not_change_the_trajectory(engine) -> None:
    program = program_of(engine, ManyDevices(16, LAYOUTS[2]), DATA, CPU)
    state = start_state(program, 1, DATA)
    whole = compute_chunk(program, state, DATA, 0.1, 12, False)
    losses = []
    for count in (1, 4, 7):
        part = compute_chunk(program, state, DATA, 0.1, count, False)
        state = part.state
        losses.append(part.metrics[JIT])
    np.testing.assert_array_equal(np.concatenate(losses), whole.metrics[JIT])


def test_a_step_on_the_host_that_diverges_ends_with_the_last_finite_one(engine) -> None:
    program = program_of(engine, ManyDevices(32, LAYOUTS[0]), DATA, CPU)
    done = compute_chunk(program, start_state(program, 0, DATA), DATA, 1e4, 200, False)
    assert (0 < done.num_steps < 200 and "params" in done.diverged) or done.diverged == "the loss"
    assert all(np.isfinite(values).all() for values in done.metrics.values())


def test_a_run_goes_on_when_its_mesh_begins_with_another_device(engine, make_run) -> None:
    run = make_run(engine)
    for first, until in ((CPU, 20), (devices()["cpu:2"], 40)):
        run.configure(Spec(ManyDevices(32, LAYOUTS[2]), first, 0), 0.03)
        run.run(until)
        eventually(lambda: run.look().status in (Status.FINISHED, Status.FAILED))
    snapshot = run.look()
    assert snapshot.status is Status.FINISHED, snapshot.message
    assert snapshot.step == 40 and snapshot.device == str(devices()["cpu:2"])
    np.testing.assert_allclose(snapshot.metrics["loss"], loss_loop(0, 32, 0.03, 40), rtol=2e-4, atol=2e-5)
    assert isinstance(run, LiveRun)


# What can be divided.


@pytest.mark.parametrize(
    ("batch_size", "layout", "ways"),
    [
        (1, Layout((4, 1)), (SINGLE,)),
        (2, Layout((4, 1)), (SINGLE,)),
        (2, Layout((2, 2)), (SINGLE, SHARD_MAP, JIT)),
        (1, Layout((4, 1), ()), (SINGLE, SHARD_MAP, JIT)),
        (4, Layout((4, 1)), WAYS),
        (1, Layout((1, 1)), WAYS),
    ],
)
def test_a_batch_size_leaves_out_the_ways_that_cannot_divide_it_and_jax_says_why(batch_size, layout, ways) -> None:
    task = ManyDevices(batch_size, layout)
    assert task.ways == ways
    refused = many_devices.refusal(layout, CPU, batch_size)
    assert (refused.error is not None) == (JIT not in ways)
    if JIT not in ways:
        with pytest.raises(ValueError):
            sharding.way(JIT, layout, CPU, batch_size).place_batch(sharding.batch_at(DATA, 0, batch_size))


def test_a_run_goes_on_with_another_batch_size_as_long_as_the_ways_are_the_same() -> None:
    assert ManyDevices(32, LAYOUTS[0]).lineage == ManyDevices(64, LAYOUTS[0]).lineage
    assert ManyDevices(32, LAYOUTS[0]).lineage != ManyDevices(2, LAYOUTS[0]).lineage
    assert ManyDevices(32, LAYOUTS[0]).lineage != ManyDevices(32, LAYOUTS[1]).lineage


def test_meshes_are_all_that_fit_the_largest_first() -> None:
    assert mesh_shapes(1) == [(1, 1)]
    assert mesh_shapes(4) == [(4, 1), (2, 2), (1, 4), (2, 1), (1, 2), (1, 1)]
    assert mesh_shapes(6) == mesh_shapes(4)
    assert all(sharding.HIDDEN % model == 0 and sharding.HIDDEN % data == 0 for data, model in mesh_shapes(64))


# Who holds what.


def test_pieces_lie_where_the_mesh_says_and_together_make_the_whole() -> None:
    first = devices()["cpu:2"]
    arrays = {held.name: held for held in many_devices.placement(Layout((2, 2), ("data",), "model"), first, 32)}
    assert [d.id for d in Layout((2, 2)).devices(first)] == [2, 3, 0, 1]
    rows = {2: (0, 16), 3: (0, 16), 0: (16, 32), 1: (16, 32)}
    units = {2: (0, 16), 3: (16, 32), 0: (0, 16), 1: (16, 32)}
    assert dict(arrays["inputs"].pieces) == {d: (span, (0, 4)) for d, span in rows.items()}
    assert dict(arrays["w1"].pieces) == {d: ((0, 4), span) for d, span in units.items()}
    assert dict(arrays["w2"].pieces) == {d: (span,) for d, span in units.items()}
    assert dict(arrays["b2"].pieces) == dict.fromkeys(range(4), ())
    assert arrays["inputs"].shape == (32, 4) and arrays["w1"].shape == (4, 32)


def test_the_losses_to_compare_with_are_those_of_the_loop() -> None:
    np.testing.assert_allclose(
        many_devices.single_losses(2, 16, 0.1, 50), loss_loop(2, 16, 0.1, 50), rtol=1e-3, atol=1e-4
    )


def test_what_is_to_run_in_turn_does_not_overlap() -> None:
    inside, most = [], []

    @sharding.in_turn
    def call(x):
        inside.append(x)
        most.append(len(inside))
        time.sleep(0.01)
        inside.remove(x)
        return x

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
