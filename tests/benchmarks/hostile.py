"""Hostile and random texts, through the parser and the check of what it lets pass.

`python tests/benchmarks/hostile.py [CASES]` exits with 1 on any exception but TextError, on a case that takes longer
than a second, and on any event of Python's audit that reading a formula has no business with.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
from report import Figure, at_most, table

from lib.routines.expressions import FUNCTIONS
from lib.routines.typed import TextError, check, parse

CASES = 100_000
TOKENS = [
    *"xyab0129()[]{}+-*/%@&|~<>=,.:;!?#$_\\'\"`^", "**", "//", ":=", "==", "...", "->", "lambda", "for", "in", "if", "else",
    "and", "or", "not", "None", "True", "import", "yield", "await", "__import__", "__class__", "np.", ".T", "axis=", " ",
    "f'", "b'", '"""', "\\\n", "\n", "\t", "\0", "\u202e", "\u200b", "\ud800", "ｓ", "٣", "é", "9" * 25, "1e400", "1e12", "10**9",
    "(((((((", ")))))))", *FUNCTIONS,
]  # fmt: skip
VALID = [
    "sin(x) * x**2 - 1/x", "where((x > 0) & (y < 1), x, sum(y, axis=-1))", "x[:, None] * y[1, ::2]", "softmax(w @ x + b)",
    "(1 - x)**2 + 100 * (y - x**2)**2", "exp(-x**2 / 2) / sqrt(2 * pi)", "stack(x * y, x - y, norm(x))",
]  # fmt: skip
HOSTILE = [
    "__import__('os').system('id')",
    "().__class__.__bases__[0]",
    "9**9**9",
    "(lambda: 0)()",
    "open('/etc/passwd')",
]
SHAPES: list[tuple[int, ...]] = [(), (3,), (3, 3), (64, 64)]


def soup(rng: random.Random) -> str:
    return "".join(rng.choices(TOKENS, k=rng.randint(1, 40)))


def damaged(rng: random.Random) -> str:
    text = rng.choice([*VALID, *HOSTILE])
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(["", *TOKENS]) + text[at + rng.randint(0, 3) :]
    return text


def deep(rng: random.Random) -> str:
    count = rng.choice([5, 20, 60, 150, 1_000, 100_000])
    opened, closed = rng.choice(
        [("(", ")"), ("[", "]"), ("-", ""), ("~", ""), ("sin(", ")"), ("x[", "]"), ("x**", ""), ("2**", "")]
    )
    return opened * count + "x" + closed * rng.choice([count, count - 1, 0])


def noise(rng: random.Random) -> str:
    tops = rng.choices([0x7F, 0xFF, 0x7FF, 0xFFFF, 0x10FFFF], k=rng.randint(0, 60))
    return "".join(chr(rng.randint(0, top)) for top in tops)


def expression(rng: random.Random, depth: int = 0) -> str:
    """Of the grammar, with numbers that are far too large, and names of any function."""
    if depth > 4 or rng.random() < 0.2:
        return rng.choice(
            ["x", "y", "z", "x", "y", "1", "0", "2", "64", "1e12", "1e308", "9" * 19, "1e-300", "pi", "e"]
        )
    one, two = expression(rng, depth + 1), expression(rng, depth + 1)
    name = rng.choice(list(FUNCTIONS))
    given = ", ".join([one, two, one][: max(1, FUNCTIONS[name].least)])
    return rng.choice([
        f"({one}) {rng.choice(['+', '-', '*', '/', '**', '@', '%', '<', '=='])} ({two})", f"{name}({given})",
        f"{name}({one}, axis={rng.randint(-3, 3)})", f"where({one} > {two}, {one}, {two})", f"({one})**{rng.randint(-70, 70)}",
        f"({one})[{rng.choice(['0', '-1', ':', '::2', 'None, :', '64', ':, 0', 'x'])}]", f"outer({one}, {two})", f"-({one})",
    ])  # fmt: skip


STRATEGIES: dict[str, Callable[[random.Random], str]] = {
    "token soup": soup, "damaged texts": damaged, "deep nesting": deep, "noise": noise, "expressions": expression,
}  # fmt: skip
events: Counter[str] = Counter()
watching = False
FORBIDDEN = (
    "open",
    "import",
    "exec",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "shutil.",
    "marshal.",
    "pickle.",
    "code.",
)


JAX_HOME = str(Path(jax.__file__).parent)


def watch(event: str, args: tuple) -> None:
    if not watching:
        return
    own_source = event == "open" and args[1] == "r" and str(args[0]).startswith(JAX_HOME)  # for JAX's error messages
    if (event.startswith(FORBIDDEN) and not own_source) or (event == "compile" and args[1] != "<unknown>"):
        events[event] += 1


def run(cases: int = CASES) -> list[Figure]:
    """Rows of the report; those without a target count what happened."""
    global watching
    for text in VALID:  # what JAX imports when it is first used, it imports now
        read(text, random.Random(0))
    sys.addaudithook(watch)
    rng, outcomes, slowest, worst = random.Random(0), Counter[str](), 0.0, ""
    watching = True
    for number in range(cases):
        text = list(STRATEGIES.values())[number % len(STRATEGIES)](rng)
        begun = time.perf_counter()
        try:
            outcome = read(text, rng)
        except Exception as error:
            outcome = "escaped"
            print(f"{type(error).__name__} from {text[:200]!r}: {error}", file=sys.stderr)
        took = time.perf_counter() - begun
        outcomes[outcome] += 1
        if took > slowest:
            slowest, worst = took, text
    watching = False
    return [
        Figure("texts", f"{cases:,}"),
        Figure("refused by the parser", f"{outcomes['refused']:,}"),
        Figure("refused for their shapes", f"{outcomes['misfit']:,}"),
        Figure("accepted", f"{outcomes['accepted']:,}"),
        at_most("exceptions other than TextError", outcomes["escaped"], 0, ""),
        at_most(f"events of the audit {dict(events) or ''}".strip(), sum(events.values()), 0, ""),
        at_most(f"slowest text, {ascii(worst[:40]).replace('|', '/')}", slowest * 1e3, 1000, "ms"),
    ]


def read(text: str, rng: random.Random) -> str:
    try:
        function = parse(text)
    except TextError as error:
        error.pointer().encode()
        return "refused"
    try:
        check(function, [rng.choice(SHAPES) for _ in function.arguments], rng.choice([1, 4096]))
    except TextError:
        return "misfit"
    return "accepted"


if __name__ == "__main__":
    figures = run(int(sys.argv[1]) if len(sys.argv) > 1 else CASES)
    print(table("hostile", figures))
    sys.exit(any(figure.met is False for figure in figures))
