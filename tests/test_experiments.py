"""`lib/lessons/composition/measure.py`: which records there are; no absolute time is asserted."""

import pytest

from lib.lessons.composition import measure as experiments
from lib.lessons.composition import view
from lib.lessons.composition.routine import FUNCTIONS, typed_function
from lib.lessons.composition.transforms import parse
from lib.live.devices import devices
from lib.measure.timing import once, records_of
from lib.ui import charts

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
    records = records_of(experiments.stack_times(CPU, function, tuple(map(parse, texts)), 4, 0))
    names = ("f", "grad(f)", "jit(grad(f))", "jit(vmap(grad(f)))", "vmap(jit(f))")
    eager = {"f", "grad(f)", "vmap(jit(f))"}
    assert [(record.label, record.phase) for record in records] == [
        *((f"{name}, compile", "compile") for name in names),
        *(
            pair for name in names
            for pair in [(f"{name}, under jit", "steady"), (f"{name}, as it stands", "eager")][: 1 + (name in eager)]
        ),
    ]  # fmt: skip
    assert {record.more["function"] for record in records} == {function.name}
    assert all(0 < record.low_ms <= record.median_ms <= record.high_ms for record in records)
    ms = {record.label: record.median_ms for record in records}
    for name in ("grad(f)", "vmap(jit(f))"):  # differentiated, or mapped, anew at each call
        assert ms[f"{name}, as it stands"] > ms[f"{name}, under jit"]


def test_stacks_that_differ_in_their_keywords_alone_are_told_apart() -> None:
    stacks = tuple(parse(f"jit(vmap(f, in_axes=({axes})))") for axes in ("None, 0, 0", "0, None, None"))
    records = records_of(experiments.stack_times(CPU, FUNCTIONS["squared loss"], stacks, 4, 0))
    assert {record.label for record in records if record.phase == "steady"} == {
        "jit(vmap(f, in_axes=(None, 0, 0))), under jit", "jit(vmap(f, in_axes=(0, None, None))), under jit",
    }  # fmt: skip


def test_timings_keep_their_names_when_the_stack_on_the_page_has_become_shorter(monkeypatch) -> None:
    records = [once(f"{name}, compile", "compile", 1.0, function="f") for name in ("f", "grad(f)", "jit(grad(f))")]
    drawn = []
    monkeypatch.setattr(charts, "timings", lambda title, records: drawn.extend(records))
    monkeypatch.setattr(charts, "show", lambda chart: None)
    view.draw_times([*records, once("f, as it stands", "eager", 1.0), once("f, under jit", "steady", 1.0)])
    assert [record.label for record in drawn] == [
        "f, compile", "grad(f), compile", "jit(grad(f)), compile", "f, under jit", "f, as it stands",
    ]  # fmt: skip


def test_each_measurement_compiles_from_nothing(monkeypatch) -> None:
    compiled = []
    original = experiments.take_stages
    monkeypatch.setattr(experiments, "take_stages", lambda fun, *args: compiled.append(fun) or original(fun, *args))
    for _ in range(2):
        records_of(experiments.stack_times(CPU, FUNCTIONS["growing wave"], (parse("jit(f)"),), 1, 0))
    assert len(set(map(id, compiled))) == 2
