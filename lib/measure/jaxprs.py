"""Jaxprs line by line: where each equation comes from, what a transformation added, and how values flow.

References:
    https://docs.jax.dev/en/latest/jaxpr.html
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from functools import cache
from itertools import count, product
from math import prod
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

import jax

from lib.routines import typed

LESSONS = Path(__file__).parents[1] / "lessons"
NOT_FUNCTIONS = ("transforms.py", "levels.py", "measure.py", "view.py")
"""Modules of a lesson that call its functions, and have none to differentiate."""
MAX_EQUATIONS = 1500
MAX_NUMBERS = 2**24
"""Of all values together that a program may compute; 64 MB, were they all kept."""
MAX_NODES = 40

SAME, CHANGED, NEW = "same", "changed", "new"

_HIDDEN = {
    "preferred_element_type", "precision", "out_sharding", "sharding", "in_shardings", "out_shardings", "in_layouts",
    "out_layouts", "donated_invars", "ctx_mesh", "keep_unused", "inline", "compiler_options_kvs", "out_dtype", "policy",
    "prevent_cse", "num_consts", "symbolic_zeros", "accuracy",
}  # fmt: skip


class TooLarge(ValueError):
    """A program that a shared machine had better not run; one sentence that says what to do."""


class EquationLine(NamedTuple):
    """One equation, or the head of a jaxpr inside another.

    Attributes:
        depth: of jaxprs inside jaxprs.
        text: the equation in JAX's notation, long parameters left out.
        source: the line, or the piece of a typed text, that it comes from; may be empty.
        origin: file and line number of it, or empty.
        by: the transformations that it passed through or was added by, as JAX notes them: `vmap(transpose(jvp))`.
        kind: what it is matched by: the primitive and its source.
        shape: all that a transformation may change in an equation that stays.
    """

    depth: int
    text: str
    source: str
    origin: str
    by: str
    kind: tuple
    shape: tuple


def inner_jaxprs(equation: Any) -> list[Any]:
    """The jaxprs among the parameters of an equation."""
    found = []
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)  # closed or not, by the version of JAX
            if hasattr(part, "eqns"):
                found.append(part)
    return found


def equations_of(jaxpr: Any) -> Iterator[Any]:
    """All equations, those of inner jaxprs included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in inner_jaxprs(equation):
            yield from equations_of(inner)


def size_of(jaxpr: Any) -> tuple[int, int]:
    """How many equations there are, and how many numbers they compute; a product of matrices counts for its work."""
    equations = numbers = 0
    for equation in equations_of(jaxpr):
        equations += 1
        numbers += sum(prod(v.aval.shape) for v in equation.outvars if hasattr(v.aval, "shape"))
        if equation.primitive.name == "dot_general":
            (left, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            numbers += prod(equation.outvars[0].aval.shape) * prod(shape[axis] for axis in left) // 16
    return equations, numbers


def check_size(jaxpr: Any) -> None:
    """Turns away what would take too long to compile or too much memory.

    Raises:
        TooLarge: with a sentence for the page.
    """
    equations, numbers = size_of(jaxpr)
    if equations > MAX_EQUATIONS:
        raise TooLarge(
            f"The program has {equations:,} equations, at most {MAX_EQUATIONS:,} are compiled here: take away a level."
        )
    if numbers > MAX_NUMBERS:
        raise TooLarge(
            f"The program computes {numbers:,} numbers in a call, at most {MAX_NUMBERS:,} are allowed on a shared machine: "
            "lower Batch size or take away a level."
        )


def _type(aval: Any) -> str:
    return aval.str_short(short_dtypes=True) if hasattr(aval, "str_short") else str(aval)


def _names() -> Iterator[str]:
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters)


def _source(equation: Any) -> tuple[str, str]:
    """The source of an equation and where it stands."""
    piece = typed.piece_of(str(equation.source_info.name_stack))
    if piece:
        return piece, "the text"
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if place := _place(frame.file_name):
            return linecache.getline(frame.file_name, frame.line_num).strip(), f"{place}:{frame.line_num}"
    return "", ""


@cache
def _place(file_name: str) -> str:
    """Where a file of functions is among the lessons, empty for any other."""
    file = Path(file_name)
    return file.relative_to(LESSONS).as_posix() if LESSONS in file.parents and file.name not in NOT_FUNCTIONS else ""


def _by(equation: Any) -> str:
    words = re.findall(
        r"\b(vmap|transpose|jvp|rematted_computation|checkpoint)\b(?=\()", str(equation.source_info.name_stack)
    )
    return "(".join(words) + ")" * (len(words) - 1)


def lines(closed: Any, names: tuple[str, ...] = ()) -> list[EquationLine]:
    """A jaxpr line by line, inner jaxprs indented.

    Args:
        names: of the inputs, one for each array; JAX itself calls them a, b, c, ..., as everything else.
    """
    fresh = (name for name in _names() if name not in names)
    called: dict[Any, str] = dict(zip(closed.jaxpr.invars, names, strict=False))

    def name(var: Any) -> str:
        if hasattr(var, "val"):  # a literal
            return f"{var.val}"
        if type(var).__name__ == "DropVar":
            return "_"
        if var not in called:
            called[var] = next(fresh)
        return called[var]

    def walk(jaxpr: Any, depth: int) -> Iterator[EquationLine]:
        for equation in jaxpr.eqns:
            inners = inner_jaxprs(equation)
            inputs = " ".join(name(var) for var in equation.invars)
            outputs = " ".join(f"{name(var)}:{_type(var.aval)}" for var in equation.outvars)
            shown = {
                key: re.sub(r"np\.int64\((\d+)\)", r"\1", str(value))
                for key, value in equation.params.items()
                if key not in _HIDDEN and value is not None and not callable(value) and len(str(value)) < 60
            }
            parameters = " ".join(f"{key}={value}" for key, value in shown.items())
            source, origin = _source(equation)
            by = _by(equation)
            yield EquationLine(
                depth,
                f"{outputs} = {equation.primitive.name}{f'[{parameters}]' if parameters else ''} {inputs}".rstrip(),
                source, origin, by,
                (equation.primitive.name, origin, source, "transpose" in by),
                (tuple(_type(var.aval) for var in (*equation.invars, *equation.outvars)), parameters),
            )  # fmt: skip
            for inner in inners:
                if len(inner.invars) == len(equation.invars):  # a call: inside, values keep their names
                    called.update({var: name(arg) for var, arg in zip(inner.invars, equation.invars, strict=True)})
                yield from walk(inner, depth + 1)

    for var in closed.jaxpr.invars:
        name(var)
    return list(walk(closed.jaxpr, 0))


def head(closed: Any, names: tuple[str, ...]) -> tuple[str, str]:
    """The first and the last line of a jaxpr: what it takes, by name, and what it gives."""
    inputs = " ".join(f"{name}:{_type(var.aval)}" for var, name in zip(closed.jaxpr.invars, names, strict=True))
    outputs = ", ".join(_type(var.aval) for var in closed.jaxpr.outvars)
    return f"lambda {inputs}", f"in {outputs}"


def marks(before: list[EquationLine], now: list[EquationLine]) -> list[str]:
    """For each line whether it was there before, the same or in another shape, or is new."""
    found = [NEW] * len(now)
    matcher = SequenceMatcher(None, [line.kind for line in before], [line.kind for line in now], autojunk=False)
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            same = before[block.a + i].shape == now[block.b + i].shape
            found[block.b + i] = SAME if same else CHANGED
    return found


# The graph.


def _body(jaxpr: Any) -> Any:
    """A jaxpr without the calls that it consists of alone: the graph of `jit(f)` is that of `f`."""
    while (
        len(jaxpr.eqns) == 1
        and len(inner_jaxprs(jaxpr.eqns[0])) == 1
        and jaxpr.eqns[0].primitive.name in ("jit", "pjit")
    ):
        jaxpr = inner_jaxprs(jaxpr.eqns[0])[0]
    return jaxpr


def graph(closed: Any, names: tuple[str, ...]) -> tuple[str, bool]:
    """The jaxpr as a Mermaid flowchart, and whether equations of one source line had to be drawn as one.

    Args:
        names: of the inputs, one for each array.
    """
    jaxpr = _body(closed.jaxpr)
    collapsed = len(jaxpr.eqns) > MAX_NODES
    group: Callable[[int], Any] = (lambda i: _group(jaxpr.eqns[i])) if collapsed else (lambda i: i)
    made_by: dict[Any, str] = {}
    nodes: dict[str, str] = {}
    sizes: dict[str, int] = {}
    edges: dict[tuple[str, str], str] = {}
    for place, var in enumerate(jaxpr.invars):
        made_by[var] = f"in{place}"
        nodes[f"in{place}"] = f'(["{_quoted(names[place] if place < len(names) else "input")}"]):::input'
    idents: dict[Any, str] = {}
    for place, equation in enumerate(jaxpr.eqns):
        ident = idents.setdefault(group(place), f"e{len(idents)}")
        sizes[ident] = sizes.get(ident, 0) + 1
        inner = sum(1 for part in inner_jaxprs(equation) for _ in equations_of(part))
        label = equation.primitive.name + (f"<br/>{inner} equations inside" if inner else "")
        if collapsed:
            label = f"{_quoted(_group(equation)[0])}<br/>{sizes[ident]} equations"
        nodes[ident] = f'["{label}"]' + (":::backward" if "transpose" in _by(equation) else "")
        for var in equation.invars:
            if not hasattr(var, "val") and made_by.get(var, ident) != ident:
                edges[made_by[var], ident] = _type(var.aval)
        for var in equation.outvars:
            made_by[var] = ident
    for place, var in enumerate(jaxpr.outvars):
        nodes[f"out{place}"] = '(["result"]):::output'
        if not hasattr(var, "val") and var in made_by:
            edges[made_by[var], f"out{place}"] = _type(var.aval)
    text = ["flowchart TD"]
    text += [f"  {ident}{label}" for ident, label in nodes.items()]
    text += [f'  {a} -->|"{label}"| {b}' for (a, b), label in edges.items()]
    text += [
        "  classDef input fill:#1F6FA8,color:#fff,stroke:none",
        "  classDef output fill:#00795A,color:#fff,stroke:none",
        "  classDef backward stroke:#D55E00,stroke-width:3px",
    ]
    return "\n".join(text), collapsed


def _group(equation: Any) -> tuple[str, bool]:
    return _source(equation)[0] or equation.primitive.name, "transpose" in _by(equation)


def _quoted(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


def trace(fun: Callable, args: tuple[Any, ...]) -> Any:
    """The jaxpr of a function at arguments of these shapes; through a new function, so that each trace is its own."""
    return jax.make_jaxpr(lambda *args: fun(*args))(*args)
