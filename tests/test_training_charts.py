"""`lib/lessons/training/charts.py`: what is drawn of a training, and how much of it is in each frame."""

from dataclasses import replace
from itertools import pairwise

import jax
import numpy as np
import pytest
from test_training import training_of

from lib.lessons.training import charts as drawn
from lib.lessons.training.seen import TILE, UNITS
from lib.live.engine import default_engine
from lib.live.recorder import AXES, Recorder
from lib.live.run import LiveRun
from lib.routines.datasets import load
from lib.ui import charts, frames


def seen_after(problem, dataset, chunks=400):
    """What the charts take of a long run."""
    recorder, rng = Recorder(), np.random.default_rng(0)
    state = jax.jit(problem.init)(jax.random.key(0), dataset.arrays)
    observed = jax.device_get(jax.jit(problem.observe)(state, dataset.arrays))
    for _ in range(chunks):
        recorder.take_steps({"loss": rng.uniform(0.1, 1, 37).astype(np.float32)}, 0.1, 32)
        recorder.take_picture(observed)
    curves, seen = recorder.curves(), recorder.observed()
    return LiveRun(default_engine()).snapshot()._replace(
        coordinates=curves.coordinates, metrics=curves.metrics, lows=curves.lows, highs=curves.highs,
        observed_coordinates=seen.coordinates, observed=seen.metrics, step=recorder.step, step_ms=recorder.step_times(),
        events=tuple((1000 * i, "learning rate 0.03 → 0.01") for i in range(12)), picture=recorder.picture,
    )  # fmt: skip


@pytest.mark.parametrize("data", ["circles", "digits", "regression"])
def test_a_frame_of_the_largest_network_with_four_pins_stays_below_10_kB(data):
    dataset = load(data, 0)
    problem = replace(training_of(dataset, "Adam", depth=4, width=128), dataset=dataset)
    snapshot = seen_after(problem, dataset)
    rng, at = np.random.default_rng(1), {axis: np.sort(np.random.default_rng(0).uniform(0, 1e5, 40)) for axis in AXES}
    pins = {f"pin {i}": drawn.Pin("", at, rng.uniform(0.01, 1, 40).astype(np.float32)) for i in range(4)}
    shown = [*drawn.draw_run(problem, pins=pins)(snapshot), charts.step_times(snapshot)]
    stats = {f"a number {i}": "98.765%, 98.765%" for i in range(9)}
    assert len(frames.encode(frames.LiveFrame(stats, shown, [charts.Text("x" * 250)]))) < 10_000
    spec = shown[1].spec
    rows = next(layer["data"]["values"] for layer in spec["layer"] if "values" in layer["data"])
    pin = [row for row in rows if row["series"] == "pin 2"]
    np.testing.assert_allclose([row["x"] for row in pin], at["step"], rtol=1e-3)
    np.testing.assert_allclose([row["y"] for row in pin], pins["pin 2"].losses, rtol=1e-3)


def test_pins_are_no_part_of_a_frame_and_their_chart_is_the_same_from_frame_to_frame():
    dataset = load("circles", 0)
    problem = replace(training_of(dataset), dataset=dataset)
    losses = np.geomspace(1, 1e-3, 40).astype(np.float32)
    pin = drawn.Pin("", {axis: np.arange(40.0) for axis in AXES}, losses)
    draw = drawn.draw_run(problem, pins={"pin 1": pin})
    first, second = (draw(seen_after(problem, dataset, count))[1] for count in (3, 30))
    assert first.spec is second.spec and set(first.data["lines"]["series"].to_pylist()) == {"train", "test"}


@pytest.mark.parametrize("shape", [{"depth": 0}, {"depth": 1, "width": 1}, {"depth": 4, "width": 128}])
def test_the_network_is_drawn_from_as_many_numbers_as_it_has_units_and_weights(shape):
    dataset = load("moons", 0)
    problem = replace(training_of(dataset, **shape), dataset=dataset)
    sizes = [min(size, UNITS) for size in problem.network.sizes]
    chart = drawn.picture(problem, seen_after(problem, dataset, 1))
    assert chart.data["tiles"].num_rows == sum(sizes[:-1]) * TILE**2
    assert chart.data["weights"].num_rows == sum(a * b for a, b in pairwise(sizes))
    examples = chart.data["points"].to_pylist()
    (_, (left, right), (bottom, top)), (inputs, targets) = dataset.grid, dataset.train
    for row, point, target in zip(examples, inputs, targets, strict=False):
        place = row["px"] / 255 * (right - left) + left, row["py"] / 255 * (top - bottom) + bottom
        np.testing.assert_allclose(place, point, atol=3e-3 * (right - left))
        assert row["label"] == str(int(target))
