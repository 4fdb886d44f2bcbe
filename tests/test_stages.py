"""`lib/measure/stages.py`: ahead-of-time compilation, by stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lib.live.devices import devices
from lib.measure import compile_log
from lib.measure.stages import Cost, Phases, compile_in_stages, cost_of, placed


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


def test_the_phases_are_in_milliseconds():
    def slow_to_trace(x):
        import time

        time.sleep(0.05)
        return x

    _, phases = compile_in_stages(jax.jit(slow_to_trace), jnp.float32(1))
    assert phases.trace_ms >= 50 and phases.trace_ms > phases.lower_ms
    assert Phases(1.0, 2.0, 3.0).total_ms == 6.0


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
    assert cost.peak_memory_bytes is None or cost.peak_memory_bytes >= 4 * n**2


@pytest.mark.parametrize("analysis", [None, {}, [], [{"flops": 7.0, "bytes accessed": 8.0}]])
def test_the_cost_is_none_where_the_backend_gives_none(analysis):
    class Compiled:
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
