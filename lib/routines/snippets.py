"""Code to take away: the real functions as one would write them alone, and what a piece of code prints."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
from collections.abc import Callable
from typing import Any

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
