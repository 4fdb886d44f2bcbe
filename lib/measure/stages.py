"""The way of a function to machine code, stage by stage: trace (to a jaxpr), lower (to StableHLO), compile.

References:
    https://docs.jax.dev/en/latest/aot.html
"""

from __future__ import annotations

import functools
import re
import time
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import numpy as np

from lib.measure.jaxprs import equations_of

MAX_TEXT = 60_000
"""Characters of one stage's text that are kept for a page."""
NO_OPERATIONS = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")
"""Opcodes of HLO that name or regroup data: nothing is computed or moved."""


class Phases(NamedTuple):
    """What it took to get a program, in milliseconds."""

    trace_ms: float
    lower_ms: float
    compile_ms: float

    @property
    def total_ms(self) -> float:
        """All of it."""
        return sum(self)


class Cost(NamedTuple):
    """The compiler's own estimate for one call. `None` where the backend gives none.

    Attributes:
        size_bytes: read and written by all operations.
        peak_memory_bytes: of the arguments, the results and all temporaries; results in the place of arguments count once.
    """

    flops: float | None
    size_bytes: float | None
    peak_memory_bytes: int | None


class Stages(NamedTuple):
    """What a function is at each stage, and how much of it there is.

    Attributes:
        jaxpr, stablehlo, hlo: as text; the last one is optimised by the compiler, for its backend.
        equations: of the jaxpr and of those inside it.
        stablehlo_ops: how often each operation occurs; calls and returns are none.
        hlo_ops: how often each opcode occurs, in all computations.
        fusions: operations of HLO that are several in one.
    """

    jaxpr: str
    stablehlo: str
    hlo: str
    phases: Phases
    cost: Cost
    equations: int
    stablehlo_ops: dict[str, int]
    hlo_ops: dict[str, int]
    fusions: int


def take_stages(jitted: Any, *args: Any, **static: Any) -> tuple[Any, jax.stages.Lowered, jax.stages.Compiled, Phases]:
    """Ahead-of-time compilation, each stage under the clock. A `pmap` traces while it lowers: it is its own `traced`."""
    start = time.perf_counter()
    traced = jitted.trace(*args, **static) if hasattr(jitted, "trace") else jitted
    after_trace = time.perf_counter()
    lowered = traced.lower() if traced is not jitted else jitted.lower(*args, **static)
    after_lower = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()
    ms = [1e3 * (b - a) for a, b in ((start, after_trace), (after_trace, after_lower), (after_lower, end))]
    return traced, lowered, compiled, Phases(*ms)


def compile_in_stages(jitted: Any, *args: Any, **static: Any) -> tuple[jax.stages.Compiled, Phases]:
    """Compiles ahead of time for these arguments, arrays or `jax.ShapeDtypeStruct`s.

    The jitted function, called with such arguments later, finds the program and does not compile again.
    """
    _, _, compiled, phases = take_stages(jitted, *args, **static)
    return compiled, phases


def fresh(fun: Callable[..., Any]) -> Any:
    """Jitted through a new function object: nothing that JAX keeps for another applies to it."""
    return jax.jit(functools.wraps(fun)(lambda *args: fun(*args)))


def stages_of(jitted: Any, *args: Any) -> Stages:
    """Takes a jitted function through all stages, for arrays or `jax.ShapeDtypeStruct`s."""
    traced, lowered, compiled, phases = take_stages(jitted, *args)
    stablehlo, hlo = lowered.as_text(), compiled.as_text() or ""
    # The tables of source files and frames that precede the program say where the server keeps its files.
    hlo = re.sub(r"\n(?:FileNames|FunctionNames|FileLocations|StackFrames)\n(?:.+\n)*", "", hlo)
    hlo = re.sub(r" stack_frame_id=\d+", "", hlo)
    hlo_ops = hlo_operations(hlo)
    return Stages(
        jaxpr=str(traced.jaxpr), stablehlo=stablehlo, hlo=hlo, phases=phases, cost=cost_of(compiled),
        equations=sum(1 for _ in equations_of(traced.jaxpr.jaxpr)), stablehlo_ops=stablehlo_operations(stablehlo), hlo_ops=hlo_ops,
        fusions=hlo_ops.get("fusion", 0),
    )  # fmt: skip


def stages_made(make: Callable[..., tuple[Callable[..., Any], tuple]], *args: Hashable) -> Stages:
    """The stages of a function that `make(*args)` gives along with its arguments, the texts cut to `MAX_TEXT`."""
    return stages_and_value(make, *args)[0]


def stages_and_value(make: Callable[..., tuple[Callable[..., Any], tuple]], *args: Hashable) -> tuple[Stages, str]:
    """As `stages_made`, and the value of a call as text, leaf by leaf."""
    fun, arrays = make(*args)
    jitted = fresh(fun)  # or "Compiled in" would tell what it took to find the program
    stages = stages_of(jitted, *arrays)
    stages = stages._replace(jaxpr=cut(stages.jaxpr), stablehlo=cut(stages.stablehlo), hlo=cut(stages.hlo))
    leaves = jax.tree_util.tree_leaves_with_path(jitted(*arrays))  # finds the program
    values = []
    for path, leaf in leaves:
        shown = np.array2string(np.asarray(leaf), precision=4, threshold=24, edgeitems=3)
        values.append(f"result{jax.tree_util.keystr(path)}: {leaf.dtype}{list(leaf.shape)}\n{shown}\n")
    return stages, cut("\n".join(values))


def cut(text: str) -> str:
    """A text that is not too long for a page; if it was, its last line says so."""
    if len(text) <= MAX_TEXT:
        return text
    kept = text[:MAX_TEXT].rpartition("\n")[0]
    return f"{kept}\n... Cut here: {len(text) - len(kept):,} of {len(text):,} characters are left out."


def stablehlo_operations(text: str) -> dict[str, int]:
    """How often each operation occurs. An operation of another dialect than `stablehlo` keeps its prefix."""
    # Pretty `%0 = stablehlo.add ...` or generic `%0 = "stablehlo.sort"(...`; `applies stablehlo.add` is part of a reduce.
    found = re.findall(r'^\s*(?:%[^=]*= )?"?(?:stablehlo\.|(?=chlo\.))([\w.]+)', text, re.MULTILINE)
    return dict(Counter(name for name in found if name != "return"))


def hlo_operations(text: str) -> dict[str, int]:
    """How often each opcode occurs, bookkeeping such as `parameter` included."""
    # `ROOT %name = type opcode(...`, where the type of several results is `(type, type)`.
    found = re.findall(r"^\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([a-z][\w\-]*)\(", text, re.MULTILINE)
    return dict(Counter(found))


def cost_of(compiled: jax.stages.Compiled) -> Cost:
    """Flops, bytes and peak memory of a compiled program, as far as the backend tells."""
    analysis = compiled.cost_analysis() or {}
    if isinstance(analysis, list):  # one dict a partition on some backends
        analysis = analysis[0] if analysis else {}
    return Cost(analysis.get("flops"), analysis.get("bytes accessed"), peak_memory_of(compiled.memory_analysis()))


def peak_memory_of(memory: Any) -> int | None:
    """Bytes that a call takes, of a compiled program's `memory_analysis()`.

    Its own `peak_memory_in_bytes` leaves the temporaries out on the CPU, however many there are.
    """
    if memory is None:
        return None
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return int(held - memory.alias_size_in_bytes)


def placed(tree: Any, device: jax.Device) -> Any:
    """The shapes and dtypes of a tree's leaves, each with its place on the device."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
