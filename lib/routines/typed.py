"""Functions that a visitor types: a closed language, read into the trees of `expressions.py`.

The text is never run. It is scanned, read with `ast.parse`, and every node of Python's tree is either one of the few
that are known here or refused with a sentence.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import re
import threading
from functools import lru_cache
from typing import Any

from lib.routines.expressions import (
    FUNCTIONS,
    MAX_ARGUMENTS,
    OPERATORS,
    Apply,
    Argument,
    Index,
    Node,
    Number,
    TextError,
    TypedFunction,
    check,
    is_condition,
    is_plain,
    piece_of,
)

__all__ = ["FUNCTIONS", "TextError", "TypedFunction", "check", "parse", "parse_shape", "piece_of"]

MAX_LENGTH, MAX_DEPTH, MAX_NODES = 300, 24, 120
MAX_NUMBER, MAX_EXPONENT, MAX_TOKEN = 1e12, 64, 20
MAX_AXES, MAX_SIZE = 3, 64

CONSTANTS = {"pi": math.pi, "e": math.e}
_ARITHMETIC = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@", ast.Mod: "%",
}  # fmt: skip
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_FOLDS: dict[str, Any] = {name: OPERATORS[name] for name in "+-*/%"} | {"**": math.pow}  # which has no complex results
_REFUSED = {
    "_": "Names have letters and digits only; leave the underscore out.",
    "^": "Write ** for a power.",
    "×": "Write * for a product.", "·": "Write * for a product.", "−": "Write the minus sign as -.",
    "÷": "Write / for a quotient.", "²": "Write **2 for a square.", "³": "Write **3 for a cube.",
    "π": "Write pi.", "√": "Write sqrt(x).", '"': "There are no strings here; leave the quotes out.",
    "'": "There are no strings here; leave the quotes out.", ";": "Write one expression, without a semicolon.",
    "#": "Write the expression alone, without a comment.", "\n": "Write the expression in one line.",
    "{": "There are no curly brackets here; write ( and ).", "}": "There are no curly brackets here; write ( and ).",
    ":=": "Nothing can be named here; write the expression alone.", "//": "Write floor(x / y) for x // y.",
    "...": "Write a : for each axis instead of ...", "<<": "There are no shifts here; write * 2**n.",
    ">>": "There are no shifts here; write / 2**n.",
}  # fmt: skip
_KEYWORDS = {
    "and": "Join comparisons with &, each in brackets: (x > 0) & (x < 1).",
    "or": "Join comparisons with |, each in brackets: (x < 0) | (x > 1).",
    "not": "Write ~ before a comparison in brackets: ~(x > 0).",
    "if": "Write where(condition, a, b) for a choice.", "else": "Write where(condition, a, b) for a choice.",
    "lambda": "Write the expression alone, without lambda.", "True": "Write a comparison, such as x > 0.",
    "False": "Write a comparison, such as x < 0.", "for": "There are no loops here; write with whole arrays.",
    "return": "Write the expression alone, without return.", "def": "Write the expression alone, without def.",
}  # fmt: skip
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<name>[A-Za-z][A-Za-z0-9]*)"
    r"|(?P<refused>:=|//|\.\.\.|<<|>>)|(?P<operator>==|!=|<=|>=|\*\*|[-+*/@%()\[\],.:=<>&|~ ])"
)


def _scan(text: str) -> None:
    """Refuses whatever is no piece of the language, before Python's parser sees the text."""
    place = depth = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None or found["refused"]:
            piece = found[0] if found else text[place]
            shown = piece if len(piece) == 1 and is_plain(piece) else f"U+{ord(piece[0]):04X}"
            sentence = _REFUSED.get(piece, f"The character {shown} has no meaning here; leave it out.")
            raise TextError(sentence, text, place, place + len(piece))
        piece, end = found[0], found.end()
        if len(piece) > MAX_TOKEN:
            raise TextError(f"Write names and numbers with at most {MAX_TOKEN} characters.", text, place, end)
        if found["number"] and end < len(text) and (text[end].isalnum() or text[end] in "._"):
            raise TextError(f"Write a * after {piece} if it multiplies what follows.", text, place, end + 1)
        if found["name"] and keyword.iskeyword(piece) and piece != "None":
            sentence = _KEYWORDS.get(piece, f"{piece} has no meaning here; take another name.")
            raise TextError(sentence, text, place, end)
        depth += (piece in "([") - (piece in ")]")
        if depth > MAX_DEPTH:
            raise TextError(f"Nest at most {MAX_DEPTH} brackets.", text, place, end)
        if piece == "=" and depth <= 0:
            raise TextError("Write the expression alone, without a name and = before it.", text, 0, end)
        place = end


parser_lock = threading.Lock()


def expression_tree(text: str) -> ast.expr:
    """Python's tree of an expression. One thread at a time: two at once can make Python 3.11 raise a SystemError."""
    with parser_lock:
        return ast.parse(text, mode="eval").body


def _read(text: str) -> ast.expr:
    """The tree of a text that was scanned."""
    try:
        return expression_tree(text)
    except SyntaxError as error:
        at = (error.offset or 1) - 1
        sentence = "This is not a whole expression; look for a missing operator or bracket here."
        raise TextError(sentence, text, at, at + 1) from None
    except (RecursionError, MemoryError, ValueError):
        raise TextError("This is nested too deeply; write it shorter.", text) from None


class _Builder:
    """Turns Python's tree into ours, or refuses it."""

    def __init__(self, text: str):
        self.text = text
        self.arguments: dict[str, None] = {}
        self.nodes = 0

    def refuse(self, sentence: str, node: Any) -> TextError:
        return TextError(sentence, self.text, node.col_offset, node.end_col_offset)

    def build(self, node: ast.AST, depth: int = 0) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.refuse(f"This has more than {MAX_NODES} parts; write it shorter.", node)
        if depth > MAX_DEPTH:
            raise self.refuse(f"This is nested more than {MAX_DEPTH} deep; write it flatter.", node)
        match node:
            case ast.Constant(value=bool()) | ast.Constant(value=None):
                raise self.refuse("None stands in an index only, as in x[:, None].", node)
            case ast.Constant(value=int() | float() as value):
                return self.number(float(value), node)
            case ast.Name(id=name):
                return self.name(name, node)
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                name = "&" if isinstance(node.op, ast.BitAnd) else "|"
                return self.logic(name, (self.build(node.left, depth), self.build(node.right, depth + 1)), node)
            case ast.UnaryOp(op=ast.Invert()):
                return self.logic("~", (self.build(node.operand, depth + 1),), node)
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                left, right = self.build(node.left, depth), self.build(node.right, depth + 1)
                return self.arithmetic(_ARITHMETIC[type(node.op)], left, right, node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                operand = self.as_number(self.build(node.operand, depth + 1), node)
                if isinstance(node.op, ast.UAdd):
                    return operand
                return Number(-operand.value) if isinstance(operand, Number) else self.apply("neg", (operand,), node)
            case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
                sides = (self.build(node.left, depth + 1), self.build(node.comparators[0], depth + 1))
                return self.apply(_COMPARISONS[type(op)], tuple(self.as_number(side, node) for side in sides), node)
            case ast.Compare():
                raise self.refuse("Compare two values at a time, and join them: (0 < x) & (x < 1).", node)
            case ast.Call():
                return self.call(node, depth)
            case ast.Subscript(value=value):
                inner = self.as_number(self.build(value, depth + 1), node)
                if isinstance(inner, Number):
                    raise self.refuse("A number has no axes to index; leave the brackets out.", node)
                return Index(inner, self.index(node.slice), node.col_offset, node.end_col_offset or 0)
            case ast.Attribute(attr=attr):
                known = attr in FUNCTIONS or attr in CONSTANTS
                write = f"{attr}(x)" if attr in FUNCTIONS else attr
                raise self.refuse(f"Write {write}, without a dot." if known else f"There is no .{attr} here.", node)
            case ast.Tuple() | ast.List():
                raise self.refuse("One expression gives one result; write stack(a, b) for several values.", node)
        raise self.refuse("This has no meaning here; write arithmetic, comparisons, functions and x[0].", node)

    def apply(self, name: str, args: tuple[Node, ...], node: Any, axis: int | None = None) -> Apply:
        return Apply(name, args, axis, node.col_offset, node.end_col_offset)

    def number(self, value: float, node: Any) -> Number:
        if not math.isfinite(value) or abs(value) > MAX_NUMBER:
            raise self.refuse(f"Numbers go up to {MAX_NUMBER:g} here; take a smaller one.", node)
        return Number(value)

    def name(self, name: str, node: Any) -> Node:
        if name in CONSTANTS:
            return Number(CONSTANTS[name])
        if name in FUNCTIONS:
            raise self.refuse(f"{name} is a function; write {name}(x).", node)
        self.arguments.setdefault(name)
        if len(self.arguments) > MAX_ARGUMENTS:
            raise self.refuse(f"A function takes at most {MAX_ARGUMENTS} arguments; use fewer names.", node)
        return Argument(name)

    def as_number(self, value: Node, node: Any) -> Node:
        """A condition counts as 1 or 0."""
        return self.apply("where", (value, Number(1.0), Number(0.0)), node) if is_condition(value) else value

    def logic(self, name: str, args: tuple[Node, ...], node: Any) -> Node:
        if not all(is_condition(arg) for arg in args):
            example = "~(x > 0)" if name == "~" else f"(x > 0) {name} (x < 1)"
            raise self.refuse(f"Write {name} with comparisons in brackets: {example}.", node)
        return self.apply(name, args, node)

    def arithmetic(self, name: str, left: Node, right: Node, node: Any) -> Node:
        left, right = self.as_number(left, node), self.as_number(right, node)
        if name == "**" and isinstance(right, Number) and abs(right.value) > MAX_EXPONENT:
            raise self.refuse(f"Exponents go up to {MAX_EXPONENT} here; take a smaller one.", node)
        if not (isinstance(left, Number) and isinstance(right, Number) and name in _FOLDS):
            return self.apply(name, (left, right), node)
        try:
            value = float(_FOLDS[name](left.value, right.value))
        except (ArithmeticError, ValueError):
            raise self.refuse("These numbers have no finite real result; change one of them.", node) from None
        return self.number(value, node)

    def call(self, node: ast.Call, depth: int) -> Node:
        if not isinstance(node.func, ast.Name):
            if isinstance(node.func, ast.Attribute):
                self.build(node.func, depth)
            raise self.refuse("Only a function can be called; write a * before the bracket for a product.", node)
        name = node.func.id
        function = FUNCTIONS.get(name)
        if function is None:
            close = difflib.get_close_matches(name, FUNCTIONS, 1)
            hint = f"did you mean {close[0]}?" if close else f"for a product write {name} * (…)."
            raise self.refuse(f"There is no function {name}; {hint}", node.func)
        axis = None
        for given in node.keywords:
            if given.arg != "axis" or not function.takes_axis or axis is not None:
                raise self.refuse(f"{name} does not take {given.arg or '**'} here; leave it out.", node)
            axis = self.integer(given.value)
        if not function.least <= len(node.args) <= function.most:
            wanted = f"{function.least}" if function.least == function.most else f"{function.least} or more"
            noun = "argument" if wanted == "1" else "arguments"
            raise self.refuse(f"{name} takes {wanted} {noun}, not {len(node.args)}.", node)
        args = [self.build(arg, depth + 1) for arg in node.args]
        if name == "where" and not is_condition(args[0]):
            raise self.refuse("where takes a comparison first: where(x > 0, x, 0).", node)
        keep = name == "where"
        return self.apply(
            name, tuple(a if keep and i == 0 else self.as_number(a, node) for i, a in enumerate(args)), node, axis
        )

    def integer(self, node: ast.expr) -> int:
        sign = -1 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1
        inner = node.operand if isinstance(node, ast.UnaryOp) and sign < 0 else node
        if isinstance(inner, ast.Constant) and type(inner.value) is int and inner.value <= MAX_SIZE:
            return sign * inner.value
        raise self.refuse(f"Write a whole number up to {MAX_SIZE} here.", node)

    def index(self, node: ast.expr) -> tuple:
        parts = node.elts if isinstance(node, ast.Tuple) else [node]
        return tuple(self.index_part(part) for part in parts)

    def index_part(self, part: ast.expr) -> Any:
        if isinstance(part, ast.Constant) and part.value is None:
            return None
        if isinstance(part, ast.Slice):
            ends = tuple(end and self.integer(end) for end in (part.lower, part.upper, part.step))
            if ends[2] == 0:
                raise self.refuse("The step of a slice cannot be 0.", part)
            return ends
        return self.integer(part)


def parse(text: str) -> TypedFunction:
    """Reads an expression such as `sin(x) * y**2`; the names in it are the arguments.

    Raises:
        TextError: the text is not in the language; nothing else is raised, whatever the text.
    """
    text = text.strip()
    if not text:
        raise TextError("Write an expression, such as sin(x) * x.", text)
    if len(text) > MAX_LENGTH:
        raise TextError(f"Write at most {MAX_LENGTH} characters; these are {len(text)}.", text, MAX_LENGTH)
    return _parse(re.sub(" +", " ", text))


@lru_cache(maxsize=512)
def _parse(text: str) -> TypedFunction:
    _scan(text)
    builder = _Builder(text)
    tree = builder.build(_read(text))
    if not builder.arguments:
        raise TextError("This is always the same number; use a name such as x in it.", text)
    return TypedFunction(text, tuple(builder.arguments), tree)


def parse_shape(text: str) -> tuple[int, ...]:
    """Reads a shape such as `()`, `5` or `(3, 5)`.

    Raises:
        TextError: it is none, or has more than three axes or an axis of more than 64.
    """
    found = re.fullmatch(r"\(?((?: *[0-9]{1,2} *,)* *(?:[0-9]{1,2} *)?)\)?", text.strip()[:100])
    sizes = tuple(int(size) for size in re.findall("[0-9]+", found[1])) if found else ()
    whole = found is not None and text.strip().startswith("(") == text.strip().endswith(")") and bool(text.strip())
    if not whole or len(sizes) > MAX_AXES or not all(1 <= size <= MAX_SIZE for size in sizes):
        raise TextError(f"Write a shape of at most {MAX_AXES} axes of 1 to {MAX_SIZE}, such as (3, 5) or ().", text)
    return sizes
