"""A stack of transformations level by level: what each is, what it compiles to, and whether its value is right."""

from __future__ import annotations

import threading
import time
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from lib.lessons.composition import transforms
from lib.lessons.composition.routine import ExampleFunction, bounded_trace
from lib.lessons.composition.transforms import Signature, Stack
from lib.measure import jaxprs
from lib.measure.stages import Stages, cut, fresh, placed, stages_of
from lib.routines.mistakes import without_paths

MAX_EVALUATIONS = 4000
"""Of the plain function, to check one value: some 50 ms of NumPy."""
NUMBERS_A_CALL = 1000
"""So many may be computed in an evaluation before it counts as several."""
MAX_TRACE_S = 0.4
"""Of a processor, to trace a level that another is put upon, which takes up to ten times as long. It is four times what
the dearest stack of the page's own functions takes; Python's lock is held all the while."""
MAX_LINES = 250
MAX_PROGRAMS, MAX_PROGRAM_EQUATIONS = 64, 4000
"""So many programs are kept, and of so many equations together: one of a thousand takes 20 MB."""
MAX_KEPT = 4096
"""Numbers of a value that are kept for comparison with another stack's."""

REFUSALS = (TypeError, ValueError, IndexError, NotImplementedError)
"""What JAX raises when a transformation does not fit."""


class NoDerivative(ValueError):
    """What JAX lets pass although there is no derivative; one sentence that says what to do."""


class Traced(NamedTuple):
    """A prefix of a stack, traced.

    Attributes:
        signature: None if JAX refused the level.
        inputs: of the level, whether or not it was refused.
        lines, marks: the jaxpr, and what of it is new against the level below; of a long one the beginning.
        equations: how many lines there are.
        head: its first and last line.
        flowchart: in Mermaid; `collapsed` if equations of one source line are drawn as one.
        error: the type of JAX's exception, empty if there was none; then `text` is what it says.
        explanation: why, and what to do.
    """

    stack: Stack
    signature: Signature | None
    names: tuple[str, ...]
    inputs: tuple[Any, ...]
    lines: list[jaxprs.EquationLine]
    marks: list[str]
    equations: int
    head: tuple[str, str] = ("", "")
    flowchart: str = ""
    collapsed: bool = False
    error: str = ""
    text: str = ""
    explanation: str = ""


def _array_names(names: tuple[str, ...], inputs: tuple[Any, ...]) -> tuple[str, ...]:
    counts = [len(transforms.leaves_of(tree)) for tree in inputs]
    return tuple(
        name if count == 1 else f"{name}[{i}]" for name, count in zip(names, counts, strict=True) for i in range(count)
    )


def trace_levels(function: ExampleFunction, stack: Stack, batch_size: int) -> tuple[Traced, ...]:
    """Every prefix of a stack, the function itself first, up to the first one that is refused. Computes nothing."""
    below = function.signature()
    found: list[Traced] = []
    before: list[jaxprs.EquationLine] | None = None
    spent_s = 0.0
    for length in range(len(stack) + 1):
        prefix = stack[:length]
        names, inputs = below.names, below.inputs
        if length:
            names, inputs = transforms.inputs_after(prefix[-1], below, batch_size)
        try:
            if spent_s > MAX_TRACE_S:
                raise jaxprs.TooLarge(
                    f"To trace the level below took {spent_s:.1f} s of a processor that all visitors share, and this one "
                    "takes several times as long: leave a level out, or shorten f."
                )
            begun = time.thread_time()
            closed = bounded_trace(function, prefix, inputs)
            spent_s = time.thread_time() - begun
            if length and (reason := transforms.without_derivative(prefix[-1], below)):
                raise NoDerivative(reason)
        except REFUSALS as error:
            ours = isinstance(error, jaxprs.TooLarge | NoDerivative)
            found.append(
                Traced(
                    prefix, None, names, inputs, [], [], 0, error="" if ours else type(error).__name__,
                    text="" if ours else _brief(str(error)),
                    explanation=str(error) if ours else transforms.explain(prefix[-1], below),
                )
            )  # fmt: skip
            return tuple(found)
        signature = transforms.after(prefix[-1], below, batch_size) if length else below
        arrays = _array_names(names, inputs)
        lines = jaxprs.lines(closed, arrays)
        flowchart, collapsed = jaxprs.graph(closed, arrays)
        marks = [jaxprs.SAME] * len(lines) if before is None else jaxprs.marks(before, lines)
        kept = slice(MAX_LINES)
        found.append(
            Traced(
                prefix, signature, names, inputs, lines[kept], marks[kept], len(lines), jaxprs.head(closed, arrays), flowchart,
                collapsed,
            )
        )  # fmt: skip
        below, before = signature, lines
    return tuple(found)


def _brief(text: str, limit: int = 4000) -> str:
    """A long message without its middle: what is wrong stands at the beginning, what to do at the end."""
    text = without_paths(text)
    return text if len(text) <= limit else f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"


class Check(NamedTuple):
    """A value against the same computed without JAX.

    Attributes:
        batch_size: at which they were compared; less than asked for where loops and differences would take too long.
        evaluations: of the plain function.
        error: the largest difference, as a part of the largest number; NaN if one is NaN and the other is not.
        skipped: why there is no comparison, or empty.
    """

    batch_size: int
    evaluations: int
    error: float
    skipped: str = ""


class LevelReport(NamedTuple):
    """A prefix of a stack, compiled and run.

    Attributes:
        value: as text.
        numbers: all numbers of the value in order, float32, or None if they are many.
    """

    stages: Stages
    value: str
    numbers: np.ndarray | None
    check: Check


def level_signature(function: ExampleFunction, stack: Stack, batch_size: int) -> Signature:
    """The type of a stack that JAX takes."""
    signature = function.signature()
    for level in stack:
        signature = transforms.after(level, signature, batch_size)
    return signature


def level_arguments(function: ExampleFunction, stack: Stack, batch_size: int, seed: int) -> tuple[Any, ...]:
    """Values to call a stack with, NumPy arrays."""
    signature = level_signature(function, stack, batch_size)
    return transforms.draw(signature.names, signature.inputs, seed, function.positive)


_programs: dict[Any, tuple[Any, Stages]] = {}
"""The least recently used first."""
_lock = threading.Lock()


def _compiled(function: ExampleFunction, stack: Stack, batch_size: int, device: jax.Device) -> tuple[Any, Stages]:
    """A stack jitted, and what it compiles to: the same for every seed, which changes the numbers alone."""
    key = (function, stack, batch_size, device)
    with _lock:
        found = _programs.get(key)
    if found is None:
        signature = level_signature(function, stack, batch_size)
        jitted = fresh(transforms.apply(function.fun, stack))
        stages = stages_of(jitted, *placed(transforms.shapes_of(signature.inputs), device))
        found = jitted, stages._replace(jaxpr=cut(stages.jaxpr), stablehlo=cut(stages.stablehlo), hlo=cut(stages.hlo))
    with _lock:
        _programs.pop(key, None)
        _programs[key] = found
        while len(_programs) > MAX_PROGRAMS or (
            len(_programs) > 1 and sum(stages.equations for _, stages in _programs.values()) > MAX_PROGRAM_EQUATIONS
        ):
            del _programs[next(iter(_programs))]
    return found


def report_level(function: ExampleFunction, stack: Stack, batch_size: int, seed: int) -> LevelReport:
    """Compiles a stack that JAX takes, runs it, and checks its value."""
    args, device = _on_default_device(level_arguments(function, stack, batch_size, seed))
    jitted, stages = _compiled(function, stack, batch_size, device)
    value = jax.device_get(jitted(*args))
    leaves = jax.tree.leaves(value)
    numbers = np.concatenate([np.ravel(leaf) for leaf in leaves]) if leaves else np.empty(0)
    return LevelReport(
        stages, value_text(value), numbers.astype(np.float32) if len(numbers) <= MAX_KEPT else None,
        check_value(function, stack, batch_size, seed, value),
    )  # fmt: skip


def _on_default_device(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], jax.Device]:
    """Arguments on the device that this thread computes on, and which one that is."""
    (device,) = jax.device_put(np.float32(0)).devices()
    return jax.device_put(args, device), device


def check_value(function: ExampleFunction, stack: Stack, batch_size: int, seed: int, value: Any) -> Check:
    """Compares the value of a stack with loops and finite differences of the plain function, in float64.

    Where these would take too long, both are computed for a smaller batch.
    """
    each = 1 + _numbers(function) // NUMBERS_A_CALL
    for size in dict.fromkeys(min(batch_size, size) for size in (batch_size, 4, 2, 1)):
        evaluations = plain_evaluations(function, stack, size)
        if evaluations * each <= MAX_EVALUATIONS:
            break
    else:
        large = f" of {_numbers(function):,} numbers each" if each > 1 else ""
        return Check(batch_size, evaluations, 0.0, f"the differences would take {evaluations:,} evaluations{large}")
    args = level_arguments(function, stack, size, seed)
    if size < batch_size:
        there, device = _on_default_device(args)
        value = jax.device_get(_compiled(function, stack, size, device)[0](*there))
    with np.errstate(all="ignore"):
        oracle = transforms.plain(function.numpy, stack)(*jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), args))
        return Check(size, evaluations, relative_error(value, oracle))


@lru_cache(maxsize=MAX_PROGRAMS)
def _numbers(function: ExampleFunction) -> int:
    """How many numbers one example computes."""
    shapes = (jax.ShapeDtypeStruct(shape, "float32") for _, shape in function.arguments)
    return jaxprs.size_of(jaxprs.trace(function.fun, tuple(shapes)).jaxpr)[1]


def plain_evaluations(function: ExampleFunction, stack: Stack, batch_size: int) -> int:
    """How often the plain form of a stack calls the function itself."""
    count, signature = 1, function.signature()
    for level in stack:
        count *= transforms.TRANSFORMS[level.name].evaluations(level, signature, batch_size)
        signature = transforms.after(level, signature, batch_size)
    return count


def relative_error(value: Any, oracle: Any) -> float:
    """The largest difference of two trees of the same structure, as a part of the largest number, at least 1."""
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(
        jax.tree.leaves(value), jax.tree.leaves(oracle), strict=True
    )]  # fmt: skip
    if any(a.shape != b.shape for a, b in pairs):
        return float("nan")
    scale = max([1.0, *(np.abs(b[np.isfinite(b)]).max(initial=0.0) for _, b in pairs)])
    worst = 0.0
    for a, b in pairs:
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        worst = max(worst, float(apart.max(initial=0.0)))  # NaN wins neither way, so it is looked for
        if np.isnan(apart).any():
            return float("nan")
    return worst / float(scale)


def value_text(value: Any) -> str:
    """The arrays of a tree, each behind its place in it."""
    lines = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(value):
        shown = np.array2string(np.asarray(leaf), precision=5, threshold=60, edgeitems=3)
        place = jax.tree_util.keystr(path)
        lines.append(f"{place} =\n{shown}" if place else shown)
    return "\n".join(lines)
