"""Code to take away: the real functions as one would write them alone, and what a piece of code prints."""

from __future__ import annotations

import ast
import inspect
import io
import math
import re
import textwrap
from collections.abc import Callable
from typing import Any

from lib.routines.expressions import FUNCTIONS, Apply, Argument, Index, Node, Number, TypedFunction
from lib.routines.typed import parser_lock

WIDTH = 88
"""Characters of a line, at the most: of what the formatters of the field keep to."""


def source(*functions: Callable[..., Any]) -> str:
    """The source of functions, two empty lines between them, without the annotations of types.

    Raises:
        OSError: a function was not read from a file.
    """
    return "\n\n\n".join(
        _without_annotations(textwrap.dedent(inspect.getsource(function)).rstrip()) for function in functions
    )


def _without_annotations(text: str) -> str:
    with parser_lock:  # two threads in `ast` at once can make Python 3.11 raise a SystemError
        tree = ast.parse(text)
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw = text.encode()  # columns of `ast` count bytes

    def place(line: int, column: int) -> int:
        return starts[line - 1] + column

    cuts: list[tuple[int, int, bytes]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            name_end = place(node.lineno, node.col_offset) + len(node.arg.encode())
            end = place(node.annotation.end_lineno or 0, node.annotation.end_col_offset or 0)
            equals = re.match(rb"\s*=\s*", raw[end:])
            cuts.append((name_end, end + len(equals[0]), b"=") if equals else (name_end, end, b""))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            arrow = raw.rindex(b"->", 0, place(node.returns.lineno, node.returns.col_offset))
            end = place(node.returns.end_lineno or 0, node.returns.end_col_offset or 0)
            cuts.append((len(raw[:arrow].rstrip()), end, b""))
    for start, end, instead in sorted(cuts, reverse=True):
        raw = raw[:start] + instead + raw[end:]
    return re.sub(r"^( *def \w+\()\n\s+([^\n]*?),?\n\s*\):", _in_one_line, raw.decode(), flags=re.MULTILINE)


def _in_one_line(signature: re.Match) -> str:
    """A signature that needs no line of its own for its parameters, now that they are shorter."""
    joined = f"{signature[1]}{signature[2]}):"
    return joined if len(joined) <= WIDTH else signature[0]


def printed(code: str) -> str:
    """Runs a piece of our own code in a namespace of its own and returns what it prints.

    Never give it what a visitor has typed, but for a number, or a text that `typed` has read and written anew.
    """
    out = io.StringIO()

    def to_page(*values: Any, **options: Any) -> None:
        print(*values, **{"file": out, **options})

    exec(compile(code, "snippet.py", "exec"), {"__name__": "__main__", "print": to_page})
    return out.getvalue().rstrip()


_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "@": 2, "neg": 3, "**": 4}
"""How tightly operators bind; comparisons bind least, names and calls most."""
_LOOSE, _TIGHT = 0, 5
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_LOGIC = {"&": "logical_and", "|": "logical_or", "~": "logical_not"}
_MODULES = dict.fromkeys(("softmax", "logsumexp", "sigmoid", "relu", "softplus", "silu"), "jax.nn") | {
    "norm": "jnp.linalg",
    "erf": "jax.scipy.special",
}
"""Where a function of the language is, if not in `jnp`."""
RESERVED = ("jax", "jnp", "np", "f", "print", "range", "len", "zip", "step", "gradient", "grads", "batched", "result")
"""Names that code around a typed function uses."""


def written(function: TypedFunction, arguments: tuple[str, ...] | None = None, name: str = "f") -> str:
    """A typed function as one would write it in JAX, from its tree: nothing of the visitor's text is in it as it came.

    Args:
        arguments: its own in another order.
    """
    names = ", ".join(map(named, arguments or function.arguments))
    return f"def {name}({names}):\n    return {_expression(function.tree)[0]}"


def named(argument: str) -> str:
    """What an argument of a typed function is called in code, where some names have another meaning."""
    return f"{argument}_" if argument in RESERVED else argument


def _expression(node: Node) -> tuple[str, int]:
    """The code of a node, and how tightly its outermost operator binds."""
    match node:
        case Number(value):
            constant = {math.pi: "jnp.pi", math.e: "jnp.e"}.get(abs(value), repr(abs(value)))
            return (f"-{constant}", _BINDS["neg"]) if math.copysign(1, value) < 0 else (constant, _TIGHT)
        case Argument(name):
            return named(name), _TIGHT
        case Index():
            return f"{_bound(node.value, _TIGHT)}[{', '.join(map(_index_part, node.index))}]", _TIGHT
        case Apply("**", (base, Number(power))) if power.is_integer():
            return f"{_bound(base, _TIGHT)}**{int(power)}", _BINDS["**"]
        case Apply("**", (base, power)):
            return f"{_bound(base, _TIGHT)} ** {_bound(power, _TIGHT)}", _BINDS["**"]
        case Apply("neg", (operand,)):
            return f"-{_bound(operand, _BINDS['**'])}", _BINDS["neg"]
        case Apply(name, (left, right)) if name in _BINDS:
            binds = _BINDS[name]
            return f"{_bound(left, binds)} {name} {_bound(right, binds + 1)}", binds
        case Apply(name, (left, right)) if name in _COMPARISONS:
            return f"{_bound(left, _LOOSE + 1)} {name} {_bound(right, _LOOSE + 1)}", _LOOSE
        case Apply(name, args, axis):
            values = ", ".join(_expression(arg)[0] for arg in args)
            if name in _LOGIC:
                return f"jnp.{_LOGIC[name]}({values})", _TIGHT
            assert name in FUNCTIONS
            if name == "stack":
                values = f"[{values}]"
            keyword = "" if axis is None else f", axis={axis}"
            return f"{_MODULES.get(name, 'jnp')}.{name}({values}{keyword})", _TIGHT
    raise TypeError(node)


def _bound(node: Node, binds: int) -> str:
    """The code of a node, in brackets if its operator binds less tightly than this."""
    code, own = _expression(node)
    return code if own >= binds else f"({code})"


def _index_part(part: int | tuple[int | None, int | None, int | None] | None) -> str:
    if not isinstance(part, tuple):
        return str(part)
    start, stop, step = ("" if end is None else str(end) for end in part)
    return f"{start}:{stop}" + (f":{step}" if step else "")
