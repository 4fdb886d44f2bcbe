"""`lib/live/cluster.py`: runs, measurements and answers on the workers of a real Dask cluster of this machine."""

import re
import time
from functools import partial

import harness
import jax
import numpy as np
import pytest
from support import Mean, Refuses, eventually, mean_loop
from test_pages import open_page, pick, press, run_until, show

from lib.lessons.jit_grad_vmap.measure import gradient_ways
from lib.lessons.pytrees.routine import leaf_report
from lib.live import cluster as module
from lib.live.cluster import ANY, Cluster, answer_of
from lib.live.devices import devices
from lib.live.measurement import Measurements
from lib.live.run import Spec, Status
from lib.live.worker import LocalWorker

CPU = devices()["cpu:0"]


@pytest.fixture(scope="module")
def dask():
    """A scheduler, and two workers that stay."""
    dask = harness.Dask()
    for name in ("first", "second"):
        dask.start_worker(name)
    yield dask
    dask.close()


@pytest.fixture(scope="module")
def cluster(dask):
    """What an app knows of it."""
    cluster = Cluster(dask.address)
    joined(cluster, 2)
    yield cluster
    cluster.close()


def joined(cluster, workers):
    eventually(lambda: len(cluster.rows()) == workers, f"{workers} workers ({cluster.trouble} {cluster.refused})", 90)


def finished(run):
    """Looks until the run has come to rest and is shown as it is."""
    eventually(lambda: not run.look().active, "the end of the run", 60)
    return run.look()


def run_to(run, step):
    run.run(stop_at=step)
    snapshot = finished(run)
    assert snapshot.status is Status.FINISHED, snapshot.message
    return snapshot


def begun(run, step=1):
    eventually(lambda: run.look().step >= step, f"step {step} ({run.snapshot().message})", 60)


def assert_same(one, other):
    """Two runs have shown the same losses, to the last bit."""
    for name, values in other.metrics.items():
        np.testing.assert_array_equal(one.metrics[name], values)
    np.testing.assert_array_equal(one.coordinates["step"], other.coordinates["step"])
    np.testing.assert_array_equal(one.picture["b"], other.picture["b"])


def test_its_devices_can_be_chosen_by_name(cluster):
    assert list(cluster.devices()) == [ANY, "first cpu:0", "second cpu:0"]
    assert [(row.worker, row.devices) for row in cluster.rows()] == [("first", "cpu:0"), ("second", "cpu:0")]
    assert cluster.trouble == "" and not cluster.refused


def test_whoever_sees_its_workers_is_told_of_no_trouble(dask):
    told = []

    class Watched(Cluster):
        def __setattr__(self, name, value):
            if name == "workers" and value:
                told.append(self.trouble)
            super().__setattr__(name, value)

    cluster = Watched(dask.address)
    joined(cluster, 2)
    cluster.close()
    assert told and not any(told)


def test_a_run_elsewhere_shows_what_it_shows_here(cluster, make_run, engine):
    there, here = make_run(engine), make_run(engine)
    there.configure(Spec(Mean(8), cluster.devices()["second cpu:0"], 3), 0.1)
    here.configure(Spec(Mean(8), CPU, 3), 0.1)
    one, other = run_to(there, 300), run_to(here, 300)
    assert one.device == "second cpu:0" and one.step == 300
    assert_same(one, other)
    start = LocalWorker(engine).picture(Spec(Mean(8), CPU, 3)).result(60)
    worker, device = cluster.devices()[ANY].place()
    np.testing.assert_array_equal(worker.picture(Spec(Mean(8), device, 3)).result(60)["b"], start["b"])
    np.testing.assert_allclose(one.picture["b"], mean_loop(3, 3, [(8, 0.1)] * 300)[-1], rtol=1e-4)
    assert one.compilations[0].steps.phases.compile_ms > 0


def test_one_step_a_pause_and_a_changed_rate_hold_to_the_step(cluster, make_run, engine):
    run = make_run(engine)
    run.configure(Spec(Mean(8), cluster.devices()[ANY], 0), 0.1)
    run.step()
    assert finished(run).step == 1
    run.run(stop_at=40)
    finished(run)
    run.configure(Spec(Mean(8), cluster.devices()[ANY], 0), 0.02)
    shown = run_to(run, 70)
    assert shown.events == ((40, "learning rate 0.1 → 0.02"),)
    path = mean_loop(0, 3, [(8, 0.1)] * 40 + [(8, 0.02)] * 30)
    np.testing.assert_allclose(shown.picture["b"], path[-1], rtol=1e-4)


def test_where_it_diverges_it_says_so_and_goes_back(cluster, make_run, engine):
    shown = []
    for device in (cluster.devices()["first cpu:0"], CPU):
        run = make_run(engine)
        run.configure(Spec(Mean(8), device, 0), 2.5)
        run.run()
        shown.append(finished(run))
        run.go_back()
        assert finished(run).step < shown[-1].step
    there, here = shown
    assert there.status is here.status is Status.DIVERGED
    assert there.step == here.step and there.message == here.message


def test_a_step_that_raises_ends_its_run_alone(cluster, make_run, engine):
    refuses, other = make_run(engine), make_run(engine)
    other.configure(Spec(Mean(8), cluster.devices()["first cpu:0"], 0), 0.1)
    other.run()
    refuses.configure(Spec(Refuses(early=True), cluster.devices()["first cpu:0"], 0), 0.1)
    refuses.run()
    shown = finished(refuses)
    assert shown.status is Status.FAILED and "`depth` must be positive, got -1" in shown.message
    begun(other, other.look().step + 100)


def test_a_device_is_changed_on_the_way_and_the_losses_stay(cluster, make_run, engine):
    moved, stayed = make_run(engine), make_run(engine)
    names = ("first cpu:0", "second cpu:0", "here", "first cpu:0")
    for number, name in enumerate(names, 1):
        device = CPU if name == "here" else cluster.devices()[name]
        moved.configure(Spec(Mean(8), device, 1), 0.05)
        shown = run_to(moved, 50 * number)
        assert shown.device == (str(CPU) if name == "here" else name)
    stayed.configure(Spec(Mean(8), CPU, 1), 0.05)
    assert_same(shown, run_to(stayed, 200))


def test_runs_go_to_the_worker_that_is_least_busy(cluster, make_run, engine):
    eventually(lambda: not any(row.runs for row in cluster.rows()), "the end of the runs before", 30)
    runs = [make_run(engine) for _ in range(4)]
    for seed, run in enumerate(runs):
        run.configure(Spec(Mean(8), cluster.devices()[ANY], seed), 0.1, pace=100)
        run.run()
    for run in runs:
        begun(run)
    assert sorted(run.look().device for run in runs) == ["first cpu:0"] * 2 + ["second cpu:0"] * 2
    eventually(lambda: [row.runs for row in cluster.rows()] == [2, 2], "two runs on each", 10)


def test_a_measurement_and_an_answer_are_those_of_the_worker(cluster, engine):
    device = cluster.devices()["second cpu:0"]
    line = Measurements(engine)
    there = line.ask("visitor", "there", line.placed(device), partial(gradient_ways, device, 8, 0))
    eventually(lambda: (line.look(there, "visitor"), there.done)[1], "the measurement", 60)
    labels = [record.label for record in gradient_ways(CPU, 8, 0) if record is not None]
    assert there.error == "" and sorted(record.label for record in there.records) == sorted(labels)
    assert all(record.median_ms > 0 for record in there.records)
    report = answer_of(device, leaf_report, "list of dicts", 2, 0).result(60)
    assert report == leaf_report("list of dicts", 2, 0)


def test_an_error_of_an_answer_comes_back(cluster):
    with pytest.raises(ValueError, match="invalid literal"):
        answer_of(cluster.devices()["first cpu:0"], int, "one").result(60)


def test_a_page_runs_on_a_worker_and_the_home_page_lists_them(cluster, monkeypatch):
    for place in ("lib.live.cluster", "lib.lessons.home.view"):
        monkeypatch.setattr(f"{place}.default_cluster", lambda: cluster)
    app = show(open_page("home"), "home", "Machine")
    assert list(app.dataframe[1].value["worker"]) == ["first", "second"]
    assert set(app.dataframe[1].value["devices"]) == {"cpu:0"}
    app = pick(open_page("jit_grad_vmap"), "Device", "second cpu:0")
    run_until(press(app, "Step"), lambda shown: shown["Step"] == "1")
    assert any("on second cpu:0" in text.value for text in [*app.markdown, *app.caption])
    show(app, "jit_grad_vmap", "Code")  # has an answer of the worker's
    app = pick(open_page("debugging"), "Device", "second cpu:0")
    assert any("computes on cpu:0 here" in caption.value for caption in app.caption)


def test_a_worker_is_killed_and_its_runs_go_on_elsewhere_with_the_same_losses(dask, cluster, make_run, engine):
    dask.start_worker("third")
    joined(cluster, 3)
    device = cluster.devices()["third cpu:0"]
    runs = [make_run(engine) for _ in range(8)]
    for seed, run in enumerate(runs):
        run.configure(Spec(Mean(8), device, seed), 0.001, pace=500)
        run.run()
    for run in runs:
        begun(run, 200)
    line = Measurements(engine)
    measured = line.ask("visitor", "key", line.placed(device), partial(gradient_ways, device, 8, 0))
    dask.kill("third")
    eventually(lambda: all(run.look().message for run in runs), "what the runs say", 30)
    eventually(lambda: (line.look(measured, "visitor"), measured.done)[1], "the end of the measurement", 30)
    assert measured.error == "third has gone"
    for seed, run in enumerate(runs):
        said = re.fullmatch(r"third has gone when .* step ([\d,]+)\. .* step ([\d,]+)\.", run.look().message)
        reached, saved = (int(number.replace(",", "")) for number in said.groups())
        assert 0 < saved <= reached and reached - saved <= 2 * 500, "two seconds of steps"
        begun(run, reached + 1)
        run.pause()
        moved, stayed = finished(run), make_run(engine)
        assert moved.device in ("first cpu:0", "second cpu:0")
        stayed.configure(Spec(Mean(8), CPU, seed), 0.001)
        assert_same(moved, run_to(stayed, moved.step))
    assert list(cluster.devices()) == [ANY, "first cpu:0", "second cpu:0"]


def test_a_worker_of_other_versions_is_refused(dask, cluster, monkeypatch):
    monkeypatch.setattr(module, "versions", lambda: {"Python": "3.9", "JAX": jax.__version__})
    other = Cluster(dask.address)
    eventually(lambda: len(other.refused) == 2, "the refusals", 60)
    assert list(other.devices()) == [ANY] and all(
        "it has Python 3.1" in sentence for sentence in other.refused.values()
    )
    other.close()


def test_without_a_scheduler_this_machine_computes(make_run, engine):
    begun_at = time.monotonic()
    cluster = Cluster(f"tcp://127.0.0.1:{harness.free_port()}")
    assert time.monotonic() - begun_at < 1, "nobody waits for it"
    run = make_run(engine)
    run.configure(Spec(Mean(8), cluster.devices()[ANY], 0), 0.1)
    assert run_to(run, 20).device == str(CPU)
    eventually(lambda: "cannot be reached" in cluster.trouble, "the sentence", 60)
    assert list(cluster.devices()) == [ANY] and cluster.rows() == []
    cluster.close()
