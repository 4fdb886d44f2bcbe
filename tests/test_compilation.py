"""The routines, the cache and the experiments of the page on compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from lib.lessons.compilation import measure as experiments
from lib.lessons.compilation import routine as compilation
from lib.lessons.compilation import view
from lib.lessons.compilation.jit_cache import AGAIN, FOUND, LAMBDA, LENGTH, MAX_WAITING, NUMBER, POWER, POWERS, JitCache
from lib.measure.stages import stages_and_value, stages_of
from lib.measure.timing import Record, records_of

DEVICE = jax.devices()[0]
TYPES = compilation.argument_types(8)
FIRST = next(iter(TYPES))


def called(*ways, device=DEVICE):
    cache = JitCache()
    for what in ways:
        assert cache.ask()
        cache.call(device, what, TYPES.get(what, TYPES[FIRST]))
    return cache


@pytest.mark.parametrize("name", compilation.ROUTINES)
@pytest.mark.parametrize("batch_size", [1, 4096])
def test_every_routine_gives_finite_numbers_at_every_batch_size(name, batch_size):
    fun, args = compilation.routine(name, batch_size, 2)
    for leaf in jax.tree.leaves(jax.jit(fun)(*args)):
        assert np.isfinite(leaf).all()


def test_the_value_shown_is_that_of_the_routine():
    stages, value = stages_and_value(compilation.routine, "grad(rosenbrock)", 8, 2)
    x, y = -1.0, 1.5
    expected = (-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2))
    assert value == "\n".join(f"result[{i}]: float32[]\n{slope:.0f}.\n" for i, slope in enumerate(expected))
    assert stages.equations > 0


@pytest.mark.parametrize("what", list(TYPES)[1:])
def test_another_shape_or_dtype_is_a_miss_with_jax_s_own_reason_and_the_same_again_a_hit(what):
    log = called(FIRST, what, AGAIN, FIRST, what).log
    assert [call.hit for call in log] == [False, False, True, True, True]
    assert [call.number for call in log] == [1, 2, 3, 4, 5]
    assert log[0].reason == "never seen function"
    assert "different input types" in log[1].reason and "f32[8]" in log[1].reason
    assert log[2].reason == FOUND


def test_a_python_number_is_another_type_than_an_array_and_its_value_does_not_matter():
    log = called(FIRST, NUMBER, NUMBER).log
    assert [call.hit for call in log] == [False, False, True]
    assert "weak_type=True" in log[1].reason
    assert log[1].what != log[2].what


def test_each_value_of_a_static_argument_is_compiled_once():
    log = called(FIRST, *[POWER] * (POWERS + 1)).log
    assert [call.hit for call in log] == [False] + [False] * (POWERS - 1) + [True, True]
    assert "Static(val=3)" in log[1].reason or "a static argument has another value" in log[1].reason
    assert len({call.what for call in log}) == POWERS + 1


def test_a_new_static_value_is_not_explained_by_an_unrelated_call():
    reason = called(FIRST, list(TYPES)[1], NUMBER, POWER).log[-1].reason
    assert "Static(val=3)" in reason or "a static argument has another value" in reason


def test_a_fresh_lambda_is_a_miss_each_time_and_leaves_the_function_s_own_cache_alone():
    cache = called(FIRST, LAMBDA, LAMBDA, AGAIN)
    assert [call.hit for call in cache.log] == [False, False, False, True]
    assert cache.traces == 3
    assert "<lambda>" in cache.log[1].reason


def test_another_visitor_s_cache_is_empty():
    called(FIRST)
    assert not called(FIRST).log[0].hit


def test_the_log_is_bounded_and_so_is_the_queue():
    cache = called(*[FIRST] * (LENGTH + 5))
    assert len(cache.log) == LENGTH and cache.log[-1].number == LENGTH + 5 and cache.waiting == 0
    assert [cache.ask() for _ in range(MAX_WAITING + 1)] == [True] * MAX_WAITING + [False]


@pytest.mark.parametrize("device", jax.devices())
def test_calls_run_on_the_device_asked_for(device):
    cache = called(FIRST, NUMBER, FIRST, device=device)
    assert cache._jitted(cache._x, power=2).devices() == {device}


def test_loops_and_layers_agree_however_they_are_written():
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    expected = x.astype(float)
    for _ in range(3):
        expected = np.sin(expected)
    np.testing.assert_allclose(compilation.sine_loop(x, 3), expected, rtol=1e-5)
    np.testing.assert_allclose(compilation.sine_fori_loop(x, 3), expected, rtol=1e-5)
    weights = np.random.default_rng(0).normal(size=(4, 5, 5)).astype(np.float32)
    expected = x.astype(float)
    for w in weights:
        expected = np.tanh(expected @ w)
    np.testing.assert_allclose(compilation.layers_in_python(list(weights), x), expected, rtol=1e-4)
    np.testing.assert_allclose(compilation.layers_in_scan(weights, x), expected, rtol=1e-4)


@pytest.mark.parametrize("name", compilation.LENGTHS)
def test_a_python_loop_makes_the_program_longer_and_a_loop_inside_it_does_not(name):
    counts = []
    for n in (4, 8):
        fun, args = compilation.LENGTHS[name](n, 2)
        counts.append(stages_of(jax.jit(fun), *args).equations)
    assert counts[1] == (2 * counts[0] if name.endswith(", for") else counts[0])


def test_a_static_bound_traces_for_each_value_and_a_traced_one_once():
    report = compilation.static_report(3)
    assert report["traces"] == {"static": 2, "fori_loop": 1}
    expected = np.sin(np.sin(np.sin(1.0)))
    np.testing.assert_allclose([report["static"], report["fori_loop"]], expected, rtol=1e-5)
    assert "__index__" in report["error"]


def test_a_donated_argument_is_gone_and_its_memory_holds_the_result():
    report = compilation.donation_report(1024)
    assert report["kept"] == {"is_deleted": False, "same_memory": False} | {
        name: report["kept"][name] for name in ("alias_bytes", "peak_bytes")
    }
    assert report["donated"]["is_deleted"] and report["donated"]["same_memory"]
    assert (report["kept"]["alias_bytes"], report["donated"]["alias_bytes"]) == (0, 4 * 1024)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_an_exported_program_gives_the_same_for_any_batch_size(batch_size):
    report = compilation.export_report(batch_size)
    assert report["shape"] == (batch_size, 3) and report["difference"] < 1e-5
    assert "batch" in report["arguments"] and "stablehlo." in report["module"]
    assert report["platforms"] == "cpu, cuda, tpu"
    written = compilation.export_batched_affine()
    assert abs(report["size_bytes"] - len(written)) < 200  # the lines it was called from are part of it
    w, b, x = np.ones((3, 5), np.float32), np.arange(3, dtype=np.float32), np.ones((batch_size, 5), np.float32)
    np.testing.assert_allclose(export.deserialize(bytearray(written)).call(w, b, x), np.tile(5.0 + b, (batch_size, 1)))


def test_the_timeline_has_no_gaps(monkeypatch):
    records = records_of(experiments.stage_timeline(DEVICE, "grad(rosenbrock)", 8, 2))
    assert [record.phase for record in records] == ["trace", "lower", "compile", "first run", "steady"]
    assert all(record.median_ms > 0 and record.label == "grad(rosenbrock)" for record in records)
    shown = []
    monkeypatch.setattr(view.charts, "show", shown.append)
    view.draw_timeline(records)
    drawn = shown[0].data["bars"].to_pydict()
    assert drawn["start_ms"][0] == 0 and drawn["start_ms"][1:] == drawn["end_ms"][:-1]
    for record, start, end in zip(records, drawn["start_ms"], drawn["end_ms"], strict=True):
        assert end - start == pytest.approx(record.median_ms)


def test_programs_of_doubling_length_are_compiled_until_they_take_too_long(monkeypatch):
    monkeypatch.setattr(experiments, "MAX_COMPILE_S", float("inf"))
    records = records_of(experiments.compile_sweep(DEVICE, 2, longest=4))
    assert [record.size for record in records] == [1] * 4 + [2] * 4 + [4] * 4
    assert all(record.median_ms > 0 and record.phase == "compile" for record in records)
    monkeypatch.setattr(experiments, "MAX_COMPILE_S", 0.0)
    assert [record.size for record in records_of(experiments.compile_sweep(DEVICE, 2, longest=4))] == [1] * 4


def test_a_blocked_call_waits_longer_than_one_that_is_not():
    blocked, free = records_of(experiments.dispatch_sweep(DEVICE, sizes=(512,)))
    assert (blocked.label, free.label) == experiments.DISPATCH and (blocked.phase, free.phase) == ("steady", "dispatch")
    assert blocked.median_ms > free.median_ms and blocked.size == 512


def test_the_second_start_finds_what_the_first_has_compiled_and_this_process_is_left_alone():
    before = jax.config.jax_compilation_cache_dir
    records = records_of(experiments.fresh_starts(DEVICE))
    assert [(record.label, record.phase) for record in records] == [
        (start, phase) for start in ("first start", "second start") for phase in view.STARTS
    ]  # fmt: skip
    first, second = (record for record in records if record.phase == "compile")
    assert (first.more["found"], second.more["found"]) == (False, True)
    assert second.median_ms < first.median_ms
    assert jax.config.jax_compilation_cache_dir == before


def test_a_start_that_takes_too_long_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(experiments, "START_TIMEOUT_S", 0.05)
    with pytest.raises(RuntimeError, match=r"gave no result within 0.05 s, the machine is busy; measure again\."):
        next(experiments.fresh_starts(DEVICE))


def test_the_roofline_counts_what_the_algorithm_and_the_compiler_count():
    records = records_of(experiments.roofline(DEVICE, 8, 1, matmul_size=64, stream_size=2**12))
    assert [record.more["kind"] for record in records[:2]] == ["peak", "bandwidth"]
    routines = {record.label: record.more for record in records[2:]}
    assert set(compilation.ROUTINES) < set(routines)
    assert routines["x + 1"]["intensity"] == pytest.approx(1 / 8)  # one addition, four bytes read and four written
    for record in routines.values():
        assert record["gflops_per_s"] / record["gbytes_per_s"] == pytest.approx(record["intensity"])


def test_the_arguments_of_the_calls_are_what_their_names_say():
    for name, type_ in TYPES.items():
        assert name == f"{type_.dtype}[{','.join(map(str, type_.shape))}]"
    assert {type_.dtype for type_ in TYPES.values()} == {
        jnp.dtype(dtype) for dtype in ("float32", "int32", "float16", "bfloat16")
    }


@pytest.mark.parametrize(
    ("free", "said"),
    [((1.0, 0.9, 1.1), "too short by a factor of 8."), ((7.5, 7.0, 7.9), "The two are not distinguishable.")],
)
def test_blocked_and_not_blocked_are_compared_only_if_they_can_be_told_apart(monkeypatch, free, said):
    written = []
    monkeypatch.setattr(view.charts, "show", lambda *_, **__: None)
    monkeypatch.setattr(view.st, "markdown", written.append)
    blocked = Record("blocked", "steady", 8.0, 7.8, 8.2, size=512)
    view.draw_dispatch([blocked, Record("not blocked", "dispatch", *free, size=512)])
    assert said in written[0] and "At n = 512" in written[0]
