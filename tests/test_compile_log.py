"""`lib/measure/compile_log.py`: what was compiled, and why."""

import logging
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lib.measure import compile_log

ONES = np.ones(3, np.float32)


def test_a_first_call_is_logged_in_its_three_stages():
    @jax.jit
    def a_function_of_this_test(x):
        return x * 2

    begun, before = time.time(), compile_log.compilations()
    a_function_of_this_test(ONES)
    entries = [entry for entry in compile_log.entries() if entry.fun_name == "a_function_of_this_test"]
    assert [entry.stage for entry in entries] == ["trace", "lower", "compile"]
    assert all(entry.elapsed_ms > 0 and begun - 1 <= entry.at <= time.time() for entry in entries)
    assert compile_log.compilations() == before + 1


def test_a_second_call_compiles_nothing_and_another_shape_once():
    jitted = jax.jit(lambda x: x * 3)
    jitted(ONES)
    before = compile_log.compilations()
    jitted(ONES + 1)
    assert compile_log.compilations() == before
    jitted(np.ones(4, np.float32))
    assert compile_log.compilations() == before + 1


def test_the_log_is_bounded_and_newest_last():
    for i in range(compile_log.LENGTH + 50):
        compile_log._listen("/jax/core/compile/jaxpr_trace_duration", float(i), fun_name="jit(many)")
    entries = compile_log.entries()
    assert len(entries) == compile_log.LENGTH
    assert entries[-1].elapsed_ms == 1e3 * (compile_log.LENGTH + 49)
    assert entries[-1].fun_name == "many"
    assert [entry.elapsed_ms for entry in entries] == sorted(entry.elapsed_ms for entry in entries)


def test_only_compilations_are_counted_as_such():
    before = compile_log.compilations()
    compile_log._listen("/jax/core/compile/jaxpr_trace_duration", 1.0, fun_name="f")
    compile_log._listen("/jax/some/other/event", 1.0, fun_name="f")
    assert compile_log.compilations() == before
    compile_log._listen("/jax/core/compile/backend_compile_duration", 1.0)
    assert compile_log.compilations() == before + 1
    assert compile_log.entries()[-1].fun_name == "?"


def test_the_entries_are_a_copy():
    entries = compile_log.entries()
    entries.clear()
    jax.jit(lambda x: x * 4)(ONES)
    assert compile_log.entries()


@jax.jit
def explained(x, power=2):
    return x**power


def test_the_reason_for_another_shape_names_both():
    explained(np.ones(4, np.float32))
    with compile_log.reasons("explained") as said:
        explained(np.ones(9, np.float32))
    assert len(said) == 1
    assert "f32[9]" in said[0] and "f32[4]" in said[0]
    assert ".py" not in said[0], "file names are left out"


def test_there_is_no_reason_when_nothing_is_traced():
    explained(np.ones(5, np.float32))
    with compile_log.reasons("explained") as said:
        explained(np.ones(5, np.float32))
    assert said == []


def test_reasons_for_other_functions_are_left_out():
    other = jax.jit(lambda x: x + 1)
    other(np.ones(2, np.float32))
    with compile_log.reasons("explained") as said:
        other(np.ones(6, np.float32))
    assert said == []


def test_a_thread_gets_its_own_reasons_only():
    explained(np.ones(10, np.float32))
    found = {}
    inside = threading.Barrier(2, timeout=30)

    def work(name, size):
        with compile_log.reasons("explained") as said:
            inside.wait()
            if size:
                explained(np.ones(size, np.float32))
            inside.wait()
        found[name] = said

    threads = [threading.Thread(target=work, args=args) for args in (("traces", 11), ("waits", None))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found["traces"]) == 1 and found["waits"] == []


def test_reasons_survive_an_error_inside():
    with pytest.raises(ValueError), compile_log.reasons("explained"):
        raise ValueError
    assert compile_log._reasons.here.said is None
    assert not jax.config.jax_explain_cache_misses


class Heard(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def test_reasons_that_were_asked_for_are_not_printed_as_warnings():
    """JAX's own handler writes to the server's log: a page's question must not appear there."""
    explained(jnp.ones(12))
    printed = [handler for handler in logging.getLogger("jax").handlers if isinstance(handler, logging.StreamHandler)]
    heard = []
    streams = [(handler, handler.stream) for handler in printed]

    class Stream:
        def write(self, text):
            heard.append(text)

        def flush(self):
            pass

    for handler in printed:
        handler.stream = Stream()
    try:
        with compile_log.reasons("explained") as said:
            explained(np.ones(13, np.float32))
    finally:
        for handler, stream in streams:
            handler.stream = stream
    assert said and not [text for text in heard if "CACHE MISS" in text]
