"""`lib/measure/stages.py`: ahead-of-time compilation, by stages."""

import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lib.lessons.compilation import routine as compilation
from lib.lessons.training.routine import Training
from lib.live.devices import devices
from lib.measure import compile_log
from lib.measure.jaxprs import equations_of
from lib.measure.stages import (
    MAX_TEXT,
    Cost,
    Phases,
    compile_in_stages,
    cost_of,
    cut,
    hlo_operations,
    placed,
    stablehlo_operations,
    stages_made,
    stages_of,
)
from lib.routines.networks import Network


def matmul(a, b):
    return a @ b


def arrays(n, device=None):
    made = np.random.default_rng(0).normal(size=(2, n, n)).astype(np.float32)
    return tuple(jax.device_put(a, device) for a in made)


def test_the_compiled_program_computes_what_the_function_does():
    a, b = arrays(8)
    compiled, phases = compile_in_stages(jax.jit(lambda a, b: matmul(a, b)), a, b)
    np.testing.assert_allclose(compiled(a, b), np.asarray(a, float) @ np.asarray(b, float), rtol=1e-4, atol=1e-5)
    assert all(phase > 0 for phase in phases)
    assert phases.total_ms == pytest.approx(phases.trace_ms + phases.lower_ms + phases.compile_ms)


def test_the_phases_are_in_milliseconds(monkeypatch):
    seconds, here = iter([0.0, 1.0, 3.0, 7.0]), threading.get_ident()

    def clock():  # what an earlier test has begun may still compile in another thread
        return next(seconds) if threading.get_ident() == here else 0.0

    monkeypatch.setattr("lib.measure.stages.time", SimpleNamespace(perf_counter=clock))
    _, phases = compile_in_stages(jax.jit(lambda x: x), jnp.float32(1))
    assert phases == Phases(trace_ms=1000.0, lower_ms=2000.0, compile_ms=4000.0) and phases.total_ms == 7000.0


def test_shapes_are_enough_to_compile():
    shapes = (jax.ShapeDtypeStruct((4, 4), jnp.float32),) * 2
    compiled, _ = compile_in_stages(jax.jit(lambda a, b: a @ b), *shapes)
    a, b = arrays(4)
    np.testing.assert_allclose(compiled(a, b), a @ b, rtol=1e-4, atol=1e-5)


def test_static_arguments_are_built_in():
    jitted = jax.jit(lambda x, power: x**power, static_argnames="power")
    compiled, _ = compile_in_stages(jitted, jnp.float32(3), power=4)
    assert float(compiled(jnp.float32(3))) == 81


def test_the_jitted_function_finds_the_program_later():
    jitted = jax.jit(lambda x: jnp.sin(x) * 2)
    x = jax.device_put(np.ones(5, np.float32))
    compile_in_stages(jitted, x)
    before = compile_log.compilations()
    jitted(x)
    assert compile_log.compilations() == before


def test_the_cost_of_a_matrix_product_is_known():
    n = 32
    compiled, _ = compile_in_stages(jax.jit(lambda a, b: a @ b), *arrays(n))
    cost = cost_of(compiled)
    assert cost.flops == pytest.approx(2 * n**3, rel=0.05)
    assert cost.size_bytes == pytest.approx(3 * 4 * n**2, rel=0.5)
    assert cost.peak_memory_bytes >= 3 * 4 * n**2


def test_peak_memory_has_the_temporaries_and_counts_a_donated_argument_once(on_cpu):
    n = 128
    size = 4 * n**2

    def twice(a):  # the first product has to be kept for the second
        return a @ a @ a

    assert cost_of(jax.jit(twice).lower(jnp.ones((n, n))).compile()).peak_memory_bytes == 3 * size
    kept, donated = (
        cost_of(jax.jit(lambda a: a + 1, donate_argnums=donate).lower(jnp.ones((n, n))).compile())
        for donate in ((), (0,))
    )
    assert kept.peak_memory_bytes == 2 * size and donated.peak_memory_bytes == size


@pytest.mark.parametrize("analysis", [None, {}, [], [{"flops": 7.0, "bytes accessed": 8.0}]])
def test_the_cost_is_none_where_the_backend_gives_none(analysis):
    class Compiled(jax.stages.Compiled):
        def __init__(self):
            pass

        def cost_analysis(self):
            return analysis

        def memory_analysis(self):
            return None

    assert cost_of(Compiled()) == (Cost(7.0, 8.0, None) if analysis else Cost(None, None, None))


@pytest.mark.parametrize("name", list(devices()))
def test_placed_shapes_compile_for_their_device(name):
    device = devices()[name]
    tree = {"x": np.ones((2, 3), np.float32), "n": np.int32(4)}
    shapes = placed(tree, device)
    assert shapes["x"].shape == (2, 3) and shapes["x"].dtype == np.float32 and shapes["n"].dtype == np.int32
    compiled, _ = compile_in_stages(jax.jit(lambda t: t["x"] * t["n"]), shapes)
    result = compiled(jax.device_put(tree, device))
    assert result.devices() == {device}
    np.testing.assert_array_equal(result, np.full((2, 3), 4.0))


def sine_times(x):
    return jnp.sin(x) * x


def test_the_stages_of_a_small_function_are_counted():
    stages = stages_of(jax.jit(sine_times), np.ones(4, np.float32))
    assert stages.equations == 2
    assert stages.stablehlo_ops == {"sine": 1, "multiply": 1}
    assert stages.hlo_ops["sine"] == stages.hlo_ops["multiply"] == stages.hlo_ops["fusion"] == stages.fusions == 1
    assert "sin a" in stages.jaxpr and "stablehlo.sine" in stages.stablehlo and "sine(" in stages.hlo
    assert all(phase > 0 for phase in stages.phases)
    assert stages.cost.flops == 4  # the sines count as transcendental


def test_the_text_of_the_program_names_no_file_of_the_server():
    stages = stages_of(jax.jit(sine_times), np.ones(4, np.float32))
    assert __file__ not in stages.hlo and "FileNames" not in stages.hlo and "ENTRY" in stages.hlo


def test_equations_inside_equations_count():
    def equations(closed):
        return sum(1 for _ in equations_of(closed.jaxpr))

    def looped(x):
        return jax.lax.fori_loop(0, 3, lambda i, c: jax.lax.cond(c > 0, jnp.sin, jnp.cos, c), x)

    inside = 1 + 1 + 1 + 2  # the step's counter, c > 0, its conversion to an index, sin and cos
    inside += 1  # cond
    assert equations(jax.make_jaxpr(looped)(1.0)) == 1 + inside
    assert equations(jax.make_jaxpr(jax.jit(sine_times))(1.0)) == 1 + 2
    assert equations(jax.make_jaxpr(lambda x: x)(1.0)) == 0


def test_operations_of_stablehlo_are_counted_in_both_notations():
    text = """
  func.func public @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {
    %0:2 = stablehlo.while(%iterArg = %c, %iterArg_0 = %arg0) : tensor<i32>, tensor<4xf32>
    %1 = stablehlo.reduce(%arg0 init: %cst) applies stablehlo.add across dimensions = [0] : ...
    %2 = "stablehlo.sort"(%arg0) <{dimension = 0 : i64}> ({
      stablehlo.return %9 : tensor<i1>
    %3 = func.call @f(%2) : (tensor<4xf32>) -> tensor<4xf32>
    %4 = chlo.erf %3 : tensor<4xf32> -> tensor<4xf32>
    stablehlo.custom_call @print(%4) : ...
    %5 = stablehlo.add %4, %4 : tensor<4xf32>
    %6 = stablehlo.add %5, %4 : tensor<4xf32>
    return %6 : tensor<4xf32>
"""
    expected = {"while": 1, "reduce": 1, "sort": 1, "chlo.erf": 1, "custom_call": 1, "add": 2}
    assert stablehlo_operations(text) == expected


def test_opcodes_of_hlo_are_counted_whatever_their_type():
    text = """HloModule jit_f, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%fused (param_0.1: f32[4]) -> f32[4] {
  %param_0.1 = f32[4]{0} parameter(0)
  ROOT %sin.0 = f32[4]{0:T(8,128)S(1)} sine(%param_0.1), metadata={op_name="jit(f)/sin = cos(x)"}
}

ENTRY %main (x.1: f32[4]) -> (f32[4], s32[]) {
  %x.1 = f32[4]{0} parameter(0)
  %call.4 = (s32[], f32[4,4]{1,0:T(8,128)}, /*index=2*/(f32[10]{0}, pred[])) call(%x.1), to_apply=%g
  %dynamic-update-slice.3 = f32[4]{0} dynamic-update-slice(%x.1, %x.1), metadata={}
  ROOT %tuple = (f32[4]{0}, s32[]) tuple(%call.4)
}
"""
    assert hlo_operations(text) == {"parameter": 2, "sine": 1, "call": 1, "dynamic-update-slice": 1, "tuple": 1}


def test_a_long_text_is_cut_at_a_line_and_says_so():
    text = "a line\n" * MAX_TEXT
    kept = cut(text)
    assert len(kept) < MAX_TEXT + 100 and kept.splitlines()[-2] == "a line"
    assert f"of {len(text):,} characters are left out" in kept.splitlines()[-1]
    assert cut("short") == "short"


@pytest.mark.parametrize(
    ("make", "args", "operation"),
    [
        (compilation.gradient, ("Rosenbrock",), "multiply"),
        (compilation.gradient, ("squared difference",), "multiply"),
        (compilation.batching.mapped, ("affine(w, b, x)", 4), "dot_general"),
        (compilation.batch_gradient, (2048,), "dot_general"),
        (compilation.training_step, (Training(Network(2, 1), 2, "surface", "Adam", 8),), "tanh"),
        (compilation.training_step, (Training(Network(8, 10), 10, "digits", "SGD", 1),), "exponential"),
    ],
)
def test_the_lessons_functions_pass_through_all_stages(make, args, operation):
    stages = stages_made(make, *args)
    assert stages.stablehlo_ops[operation] > 0 and stages.equations > 0 and sum(stages.hlo_ops.values()) > 0


def test_the_stages_made_are_those_of_the_composition():
    fun, args = compilation.gradient("Rosenbrock")
    x, y = -1.0, 1.5  # the closed form of the gradient
    np.testing.assert_allclose(jax.jit(fun)(*args), [-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)], rtol=1e-5)
    fun, (w, inputs, targets) = compilation.batch_gradient(16)
    expected = 2 * inputs.T @ (inputs @ w - targets) / 16  # of the mean
    np.testing.assert_allclose(jax.jit(fun)(w, inputs, targets), expected, rtol=1e-4)


def test_what_it_took_to_compile_is_never_what_it_took_to_find():
    def fun(x):
        traces.append(1)
        return x

    traces = []
    jax.jit(fun)(1.0)
    for _ in range(2):
        stages_made(lambda: (fun, (1.0,)))
    assert len(traces) == 3
