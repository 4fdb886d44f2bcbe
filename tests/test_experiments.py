"""`lib/lessons/composition/measure.py`: which records there are; no absolute time is asserted."""

import pytest

from lib.lessons.composition import measure as experiments
from lib.lessons.composition.routine import FUNCTIONS, typed_function
from lib.lessons.composition.transforms import parse
from lib.live.devices import devices

CPU = devices()["cpu:0"]


@pytest.mark.parametrize(
    "function", [FUNCTIONS["squared loss"], typed_function("(w @ x - y)**2", ((3,), (3,), ()), ("w",), False)]
)
def test_every_stack_is_compiled_and_timed_and_those_without_jit_as_they_stand_too(function) -> None:
    texts = (
        "f",
        "grad(f)",
        "jit(grad(f))",
        "jit(vmap(grad(f), in_axes=(None, 0, 0)))",
        "vmap(jit(f), in_axes=(None, 0, 0))",
    )
    rows = list(experiments.stack_times(CPU, function, tuple(map(parse, texts)), 4, 0))
    assert [(row["stack"], row["phase"]) for row in rows] == [
        (0, "compile"), (1, "compile"), (2, "compile"), (3, "compile"), (4, "compile"),
        (0, "steady"), (0, "first run"), (1, "steady"), (1, "first run"), (2, "steady"), (3, "steady"),
        (4, "steady"), (4, "first run"),
    ]  # fmt: skip
    assert all(0 < row["low"] <= row["ms"] <= row["high"] for row in rows)
    steady = {row["stack"]: row["ms"] for row in rows if row["phase"] == "steady"}
    python = {row["stack"]: row["ms"] for row in rows if row["phase"] == "first run"}
    assert all(python[place] > steady[place] for place in (1, 4))  # differentiated, or mapped, anew at each call


def test_each_measurement_compiles_from_nothing(monkeypatch) -> None:
    compiled = []
    original = experiments.take_stages
    monkeypatch.setattr(experiments, "take_stages", lambda fun, *args: compiled.append(fun) or original(fun, *args))
    for _ in range(2):
        list(experiments.stack_times(CPU, FUNCTIONS["growing wave"], (parse("jit(f)"),), 1, 0))
    assert len(set(map(id, compiled))) == 2
