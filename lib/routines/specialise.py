"""Our own functions as one would write them for one setting alone.

`Specialiser.function` takes a function, and whatever it calls of our own, from its source. What is known of its
arguments is put in: a branch that is never taken, a lookup in a registry, a parameter that is always the same go away.
What is left of the settings are constants. Nothing is run but what depends on settings alone.

It is made for the routines of `lib`, which are pure, and knows the Python that occurs there.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import lru_cache
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lib.routines.typed import parser_lock

OURS = __name__.partition(".")[0]
TRANSFORMS = {"vmap", "grad", "value_and_grad", "jit", "jacfwd", "jacrev", "checkpoint"}
"""Functions of JAX whose result takes the arguments of the function that they are given."""
WITHOUT = {"lru_cache", "cache", "cached_property", "property", "wraps", "written_as"}
"""Decorators that change when something is computed, and not what."""
HOMES = (("jnp", jnp), ("jax.nn", jax.nn), ("jax.lax", jax.lax), ("jax", jax))
"""Where a function of JAX is looked for, to write it."""
MISSING: Any = object()


def written_as(other: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Says of a function which other is to be written for it: of the same parameters, and with the same result."""

    def mark(fun: Callable[..., Any]) -> Callable[..., Any]:
        fun.written_as = other  # type: ignore[attr-defined]
        return fun

    return mark


class CannotWriteError(ValueError):
    """A value that depends on settings and has no form as code."""


class Ref(NamedTuple):
    """A name at the top of one of our modules, or a method, `Class.method`."""

    module: str
    name: str


class Module:
    """One of our modules: its source, and what its names mean."""

    def __init__(self, name: str) -> None:
        self.module = importlib.import_module(name)
        self.raw = inspect.getsource(self.module).encode()
        with parser_lock:  # two threads in `ast` at once can make Python 3.11 raise a SystemError
            self.tree = ast.parse(self.raw)
        self.starts = [0]
        for line in self.raw.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.definitions: dict[str, ast.stmt] = {}
        self.notes: dict[str, str] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        before: list[str] = []
        for node in self.tree.body:
            names = _bound_by(node)
            self.definitions |= dict.fromkeys(names, node)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                self.notes |= dict.fromkeys(before, str(node.value.value))
            before = names
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, "")
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (node.module or "", alias.name)

    def place(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def span(self, node: Any) -> tuple[int, int]:
        return self.place(node.lineno, node.col_offset), self.place(node.end_lineno, node.end_col_offset)

    def find(self, name: str) -> Any:
        """The node of a definition; of a method, by `Class.method`."""
        outer, _, inner = name.partition(".")
        node: Any = self.definitions[outer]
        return next(part for part in node.body if getattr(part, "name", "") == inner) if inner else node

    def value(self, name: str) -> Any:
        return getattr(self.module, name)


@lru_cache(maxsize=128)
def module_of(name: str) -> Module:
    """A module of ours, parsed once."""
    return Module(name)


def _bound_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    parts = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return [part.id for part in parts if isinstance(part.ctx, ast.Store)]


class Scope(NamedTuple):
    """Where an expression stands.

    Attributes:
        known: the values of names that depend on settings alone.
        local: other names of the function.
    """

    module: Module
    known: Mapping[str, Any]
    local: frozenset[str] = frozenset()

    def without(self, names: set[str]) -> Scope:
        return self._replace(known={k: v for k, v in self.known.items() if k not in names}, local=self.local | names)


class Taken(NamedTuple):
    """What has become of a function.

    Attributes:
        name: in the code that is written.
        params: those that are left.
        gives: the parameter that it returns as it is, if it does nothing else.
    """

    name: str
    params: tuple[str, ...]
    gives: str = ""


class Specialiser:
    """Collects functions, and what they need, in an order that reads from top to bottom.

    Args:
        given: values that are written by a name, and the code that defines it, or the function that it is of.
        reserved: names that the code around it uses.
        pause: the name of what a generator yields where it may be interrupted. Nothing interrupts the code that is written.

    Attributes:
        imports: by the name that is bound: the module, and what is taken of it, if not the whole.
        constants: code by name; `settings` are those that say how it is set.
        notes: on constants.
        parts: the text of each definition, callees first.
    """

    def __init__(
        self,
        given: Sequence[tuple[Any, str, Any]] = (),
        reserved: Sequence[str] = (),
        pause: str = "",
    ) -> None:
        self._pause = pause
        self.imports: dict[str, tuple[str, str]] = {}
        self.constants: dict[str, str] = {}
        self.settings: set[str] = set()
        self.notes: dict[str, str] = {}
        self.parts: list[str] = []
        self._given = {id(value): (value, name, code) for value, name, code in given}
        self._names: dict[str, Any] = dict.fromkeys(reserved, "reserved")
        self._taken: dict[Any, Taken] = {}
        self._kept: list[Any] = []  # what is known by its id must live

    def function(self, fun: Callable[..., Any], name: str = "", /, **known: Any) -> Taken:
        """A function or method of ours, with some of its arguments known.

        Args:
            name: for the code that is written; its own by default.

        Raises:
            CannotWriteError: something in it depends on settings and has no form as code.
        """
        owner = fun.__self__ if isinstance(fun, MethodType) else MISSING
        return self._take(_ref_of(fun), known, owner, name)

    def constant(self, name: str, code: str) -> str:
        """A constant at the head; the name that it got."""
        if self.constants.get(name, code) == code and self._names.get(name, code) == code:
            self.constants[name] = self._names[name] = code
            self.settings.add(name)
            return name
        return code

    def allocate(self, wanted: str, key: Any, about: str = "") -> str:
        """A name that nothing else has.

        Args:
            about: what tells it from others of the same name.
        """
        name, number = wanted, 2
        if about and self._names.get(name, key) != key:
            wanted = name = f"{wanted}_{about}"
        while self._names.get(name, key) != key:
            name, number = f"{wanted}_{number}", number + 1
        self._names[name] = key
        return name

    # Definitions.

    def _take(
        self, ref: Ref, known: Mapping[str, Any], owner: Any = MISSING, name: str = "", whole: bool = False
    ) -> Taken:
        """A function, under a name; `whole` if it is to keep the parameters that it does not use."""
        known = dict(known)
        module = module_of(ref.module)
        node = module.find(ref.name)
        key = (ref, *((param, _identity(value)) for param, value in sorted(known.items())), id(owner), whole)
        if key in self._taken:
            return self._taken[key]
        self._kept += [*known.values(), owner]
        names = [arg.arg for arg in _arguments(node)]
        if owner is not MISSING:
            known[names[0]] = owner
        wanted, about = name or ref.name, ""
        if "." in wanted:  # by its class too: a method's own name is often that of a variable
            wanted = re.sub(r"(?<!^)(?=[A-Z])", "_", wanted).replace("._", "_").replace(".", "_").lower()
        else:
            words = [value for value in known.values() if isinstance(value, str)]
            about = (words or [ref.module.rpartition(".")[2]])[0]
            about = re.sub(r"\W+", "_", about).strip("_").lower()
        taken = Taken(self.allocate(wanted, key, about), tuple(n for n in names if n not in known))
        self._taken[key] = taken
        scope = Scope(module, known, frozenset(_local_names(node)) - set(known))
        body = self._body(node, scope)
        if len(body) == 1 and body[0].removeprefix("return ") in taken.params and body[0].startswith("return "):
            taken = self._taken[key] = taken._replace(gives=body[0].removeprefix("return "))
            del self._names[taken.name]
            return taken
        code = "\n".join(body)
        passed_on = re.fullmatch(r"return (\w+)\(([\w, ]*)\)", code)
        if (
            (known or owner is not MISSING)
            and not whole
            and passed_on
            and any(t.name == passed_on[1] for t in self._taken.values())
        ):
            params = tuple(filter(None, passed_on[2].split(", ")))
            if set(params) <= set(taken.params):  # it does nothing by itself
                del self._names[taken.name]
                self._taken[key] = Taken(passed_on[1], params)
                return self._taken[key]
        if (len(known) or owner is not MISSING) and not whole:
            unused = {p for p in taken.params if not re.search(rf"\b{p}\b", code)}
            taken = self._taken[key] = taken._replace(params=tuple(p for p in taken.params if p not in unused))
        head = f"def {taken.name}({self._signature(node, scope, taken.params)}):"
        decorators = [f"@{self.text(d, scope)}" for d in node.decorator_list if not _left_out(d)]
        lines = [*decorators, head, *([_indented(_summary(node))] if _summary(node) else []), _indented(code or "pass")]
        self.parts.append("\n".join(lines))
        self._companions(module, node)
        return taken

    def _companions(self, module: Module, node: Any) -> None:
        """The rules of a function with a derivative of its own, which stand behind it."""
        for other in module.tree.body:
            for decorator in getattr(other, "decorator_list", ()):
                if isinstance(decorator, ast.Attribute) and getattr(decorator.value, "id", "") == node.name:
                    self._take(Ref(module.module.__name__, other.name), {})  # type: ignore[attr-defined]

    def _class(self, ref: Ref) -> str:
        if ref in self._taken:
            return self._taken[ref].name
        module, name = module_of(ref.module), ref.name
        node = module.find(name)
        about = ref.module.rpartition(".")[2].rstrip("_").title().replace("_", "")
        name = self.allocate(name if self._names.get(name, ref) == ref else f"{about}{name}", ref)
        self._taken[ref] = Taken(name, ())
        scope = Scope(module, {})
        bases = ", ".join(self.text(base, scope) for base in node.bases)
        lines = [f"@{self.text(decorator, scope)}" for decorator in node.decorator_list]
        lines += [f"class {name}({bases}):" if bases else f"class {name}:"]
        lines += [_indented(_summary(node))] if _summary(node) else []
        for part in node.body:
            if isinstance(part, ast.AnnAssign):
                default = f" = {self.text(part.value, scope)}" if part.value is not None else ""
                lines.append(f"    {part.target.id}: {self._import('Any', ('typing', 'Any'))}{default}")  # type: ignore[union-attr]
            elif isinstance(part, ast.FunctionDef):
                inner = scope._replace(known={}, local=frozenset({part.name}))
                kept = [f"@{_last(d)}" for d in part.decorator_list if _last(d) in ("property", "cached_property")]
                if "@cached_property" in kept:
                    self._import("cached_property", ("functools", "cached_property"))
                lines += ["", *_in([*kept, *(self._statement(part, inner, set()) or [])])]
            elif isinstance(part, ast.Assign):
                lines += _in(self._statement(part, scope, set()) or [])
        self.parts.append("\n".join(lines))
        return name

    def _assigned(self, ref: Ref, node: Any) -> str:
        if ref in self._taken:
            return self._taken[ref].name
        module = module_of(ref.module)
        scope = Scope(module, {})
        targets = _bound_by(node)
        before = len(self.parts)
        code = self.text(node.value, scope)
        needs_ours = len(self.parts) > before or any(
            re.search(rf"\b{taken.name}\b", code) for key, taken in self._taken.items() if not self.constants.get(taken.name)
        )  # fmt: skip
        for target in targets:
            self._taken[Ref(ref.module, target)] = Taken(self.allocate(target, Ref(ref.module, target)), ())
        names = [self._taken[Ref(ref.module, target)].name for target in targets]
        if len(targets) == 1 and not needs_ours:
            self.constants[names[0]] = code
            if ref.name in module.notes:
                self.notes[names[0]] = module.notes[ref.name]
        elif len(targets) == 1:
            self.parts.append(f"{names[0]} = {code}")
        else:
            self.parts.append(_clean(module.raw[slice(*module.span(node))].decode()))
        return self._taken[ref].name

    def _import(self, bound: str, where: tuple[str, str]) -> str:
        self.imports[bound] = where
        self._names.setdefault(bound, where)
        return bound

    def reference(self, module: Module, name: str) -> str:
        """A name of a module of ours, wherever it comes from, as it is called in the code that is written."""
        found = _resolve(module, name)
        if found is None:
            return name
        if isinstance(found, tuple) and not isinstance(found, Ref):
            return self._import(name, found)
        node = module_of(found.module).find(found.name)
        if isinstance(node, ast.FunctionDef):
            return self._take(found, {}).name
        if isinstance(node, ast.ClassDef):
            return self._class(found)
        return self._assigned(found, node)

    # Functions.

    def _signature(self, node: Any, scope: Scope, params: tuple[str, ...]) -> str:
        spec, parts = node.args, []
        positional = [*spec.posonlyargs, *spec.args]
        defaults = [None] * (len(positional) - len(spec.defaults)) + spec.defaults
        for arg, default in zip(positional, defaults, strict=True):
            if arg.arg in params:
                parts.append(arg.arg + (f"={self.text(default, scope)}" if default is not None else ""))
        if spec.vararg:
            parts.append(f"*{spec.vararg.arg}")
        for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            if arg.arg in params:
                parts.append(arg.arg + (f"={self.text(default, scope)}" if default is not None else ""))
        if spec.kwarg:
            parts.append(f"**{spec.kwarg.arg}")
        return ", ".join(parts)

    def _body(self, node: Any, scope: Scope) -> list[str]:
        statements = node.body[1:] if ast.get_docstring(node) is not None else node.body
        known = dict(scope.known)
        scope = scope._replace(known=known)
        stores = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
        return self._block(statements, scope, {name for name in stores if stores.count(name) > 1})

    def _block(self, statements: Sequence[ast.stmt], scope: Scope, changed: set[str]) -> list[str]:
        lines: list[str] = []
        for statement in statements:
            texts = self._statement(statement, scope, changed)
            if texts is None:
                continue
            lines += self._comments_before(statement, scope.module) + texts
            if isinstance(statement, ast.If) and texts and texts[-1].startswith(("return", "raise")):
                kept = self._chosen(statement, scope)
                if kept is not MISSING:
                    break  # what follows is never reached
            if isinstance(statement, ast.Return | ast.Raise):
                break
        return lines

    def _chosen(self, statement: Any, scope: Scope) -> Any:
        """Which branch of an `if` is taken, if that is known."""
        test = self._test(statement.test, scope)
        return MISSING if test is MISSING else statement.body if test else statement.orelse

    def _test(self, node: ast.expr, scope: Scope) -> Any:
        """Whether a condition holds, if settings alone decide it: one part may do so."""
        if isinstance(node, ast.BoolOp):
            decisive = isinstance(node.op, ast.Or)
            tests = [self._test(part, scope) for part in node.values]
            if any(test is not MISSING and bool(test) == decisive for test in tests):
                return decisive
        return self.static(node, scope)

    def _comments_before(self, node: ast.stmt, module: Module) -> list[str]:
        lines = module.raw.decode().splitlines()
        found: list[str] = []
        at = node.lineno - 2
        while at >= 0 and lines[at].strip().startswith("#"):
            found.insert(0, lines[at].strip())
            at -= 1
        return found

    def _comment_behind(self, node: ast.stmt, module: Module) -> str:
        line = module.raw.splitlines()[(node.end_lineno or 1) - 1]
        rest = line[node.end_col_offset or 0 :].decode().strip()
        return f"  {rest}" if rest.startswith("#") and not re.match(r"# *(fmt|type|noqa|pragma)", rest) else ""

    def _statement(self, node: Any, scope: Scope, changed: set[str]) -> list[str] | None:
        """The lines of a statement, None if nothing is left of it."""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield) and self._is_pause(node.value.value):
            return None
        if isinstance(node, ast.If):
            branch = self._chosen(node, scope)
            if branch is not MISSING:
                lines = self._block(branch, scope, changed)
                return lines or None
            lines = [f"if {self.text(node.test, scope)}:", *_in(self._block(node.body, scope, changed))]
            if node.orelse:
                lines += ["else:", *_in(self._block(node.orelse, scope, changed))]
            return lines
        if isinstance(node, ast.For):
            head = f"for {self.text(node.target, scope)} in {self.text(node.iter, scope)}:"
            return [head, *_in(self._block(node.body, scope, changed))]
        if isinstance(node, ast.With):
            opened = [
                self.text(item.context_expr, scope)
                + (f" as {self.text(item.optional_vars, scope)}" if item.optional_vars else "")
                for item in node.items
            ]
            return [f"with {', '.join(opened)}:", *_in(self._block(node.body, scope, changed))]
        if isinstance(node, ast.While):
            return [f"while {self.text(node.test, scope)}:", *_in(self._block(node.body, scope, changed))]
        if isinstance(node, ast.FunctionDef):
            inner = scope.without(set(_local_names(node)))
            body = self._block(node.body[1:] if ast.get_docstring(node) else node.body, inner, changed)
            names = tuple(arg.arg for arg in _arguments(node))
            decorators = [f"@{self.text(d, scope)}" for d in node.decorator_list if not _left_out(d)]
            doc = [_indented(_summary(node))] if _summary(node) else []
            return [*decorators, f"def {node.name}({self._signature(node, scope, names)}):", *doc, *_in(body)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if len(targets) == 1 and self._aliases(targets[0], node.value, scope, changed):
                return None
            left = " = ".join(self.text(target, scope) for target in targets)
            value = self.text(node.value, scope)
            if "\n" in value and isinstance(node.value, ast.IfExp | ast.BinOp | ast.BoolOp | ast.Compare):
                value = f"({value})"
            return [f"{left} = {value}{self._comment_behind(node, scope.module)}"]
        first, *others = self._splice(node, scope).split("\n")
        others = [line[min(node.col_offset, len(line) - len(line.lstrip())) :] for line in others]
        return ["\n".join([first, *others]) + self._comment_behind(node, scope.module)]

    def _aliases(self, target: Any, value: Any, scope: Scope, changed: set[str]) -> bool:
        """Whether an assignment only gives names to what is known; then they are known from there on."""
        pairs: list[tuple[Any, Any]] = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Subscript):  # an entry of several things
            entry = self.static(value, scope)
            if (
                isinstance(entry, tuple)
                and not _plain(entry)
                and not {_name(part) for part in target.elts} & {"", *changed}
            ):
                scope.known.update(zip(map(_name, target.elts), entry, strict=True))  # type: ignore[attr-defined]
                return True
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            pairs = list(zip(target.elts, value.elts, strict=True))
        found = {}
        for name, part in pairs:
            if not isinstance(name, ast.Name) or name.id in changed:
                return False
            known = self.static(part, scope)
            while isinstance(part, ast.IfExp) and known is not MISSING:
                part = part.body if self.static(part.test, scope) else part.orelse
            if known is MISSING or not (isinstance(part, ast.Name | ast.Attribute) or not _plain(known)):
                return False
            if _has_arrays(known):
                return False  # the code makes them
            if self._property(part, scope) is not None and not self._can_write(known):
                return False  # a line of its own
            found[name.id] = known
            self._kept.append(known)
        scope.known.update(found)  # type: ignore[attr-defined]
        return True

    # Expressions.

    def text(self, node: Any, scope: Scope) -> str:
        """An expression as code."""
        if isinstance(node, ast.IfExp):
            test = self._test(node.test, scope)
            if test is not MISSING:
                return self.text(node.body if test else node.orelse, scope)
        if isinstance(node, ast.YieldFrom) and self._only_pauses(node, scope.module):
            return self.text(node.value, scope)
        if isinstance(node, ast.BoolOp):
            value = self.static(node, scope)
            if _plain(value):
                return repr(value)
            neutral = isinstance(node.op, ast.And)
            tests = [self._test(part, scope) for part in node.values]
            open_ = [
                part for part, test in zip(node.values, tests, strict=True) if test is MISSING or bool(test) != neutral
            ]
            if len(open_) == 1 and value is MISSING:
                return self.text(open_[0], scope)
        if isinstance(node, ast.Call):
            called = self._call(node, scope)
            if called is not None:
                return called
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call) and not isinstance(
            getattr(node, "ctx", None), ast.Store
        ):
            value = self.static(node, scope)
            code = MISSING if value is MISSING else self._code(value, node, scope)
            if code is not MISSING:
                return str(code)
            owner = self._property(node, scope)
            if value is not MISSING and owner is not None:
                return f"{self._take(Ref(type(owner).__module__, f'{type(owner).__name__}.{node.attr}'), {}, owner).name}()"  # type: ignore[union-attr]
            if isinstance(node, ast.Name) and node.id in scope.known:
                raise CannotWriteError(
                    f"`{node.id}` in {scope.module.module.__name__}, line {node.lineno}, is {value!r:.80}"
                )
            module = _module_in(node, scope) if isinstance(node, ast.Attribute) else None
            if module is not None:
                return self.reference(module, node.attr)  # type: ignore[union-attr]
        if isinstance(node, ast.Name) and node.id not in scope.local and node.id not in scope.known:
            there = getattr(scope.module.module, node.id, None)
            if id(there) in self._given:
                return str(self._code(there, node, scope))
            return self.reference(scope.module, node.id)
        if isinstance(node, ast.Lambda):
            scope = scope.without({arg.arg for arg in _arguments(node)})
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            unrolled = self._unrolled(node, scope)
            if unrolled is not None:
                return unrolled
            scope = scope.without(
                {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
            )
        if isinstance(node, ast.JoinedStr):
            names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
            if any(name in scope.known for name in names):
                return self._formatted(node, scope)
            for name in names:
                if name not in scope.local:
                    self.reference(scope.module, name)
            start, end = scope.module.span(node)
            return scope.module.raw[start:end].decode()
        return self._splice(node, scope)

    def _formatted(self, node: ast.JoinedStr, scope: Scope) -> str:
        """An f-string: in Python 3.11 what stands inside has no place in the source."""
        texts, code = [""], []  # a text before each piece of code, and one behind the last
        for part in node.values:
            if not isinstance(part, ast.FormattedValue):
                texts[-1] += str(part.value)  # type: ignore[attr-defined]
                continue
            names = [name.id for name in ast.walk(part.value) if isinstance(name, ast.Name)]
            spec = ast.unparse(part.format_spec)[2:-1] if part.format_spec is not None else ""
            if not isinstance(part.value, ast.Name) and any(name in scope.known for name in names):
                value = self.static(part.value, scope)
                if not _simple(value):
                    raise CannotWriteError(f"`{ast.unparse(node)}` in {scope.module.module.__name__}")
                texts[-1] += format(value, spec)
                continue
            inner = self.text(part.value, scope) if isinstance(part.value, ast.Name) else ast.unparse(part.value)
            code.append("{" + inner + (f":{spec}" if spec else "") + "}")
            texts.append("")
        if not code:
            return repr(texts[0])
        first, *rest = map(_in_braces, texts)
        out = first + "".join(inner + text for inner, text in zip(code, rest, strict=True))
        return f"f{out!r}" if '"' in out else f'f"{out}"'

    def _splice(self, node: Any, scope: Scope) -> str:
        """The source of a node, each of its children as code."""
        start, end = scope.module.span(node)
        children = sorted(_children(node), key=scope.module.span)
        out, at = [], start
        for child in children:
            from_, to = scope.module.span(child)
            nothing = isinstance(node, ast.Slice) and self.static(child, scope) is None
            out += [scope.module.raw[at:from_].decode(), "" if nothing else self.text(child, scope)]
            at = to
        return _clean("".join(out) + scope.module.raw[at:end].decode())

    def static(self, node: ast.expr, scope: Scope) -> Any:
        """The value of an expression that depends on settings alone, `MISSING` if it does not."""
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is) and self._is_pause(node.comparators[0]):
            return False
        if not self._settings_alone(node, scope):
            return MISSING
        with parser_lock:
            code = compile(ast.fix_missing_locations(ast.Expression(node)), "settings", "eval")
        return eval(code, {**vars(scope.module.module), **scope.known})

    def _is_pause(self, node: Any) -> bool:
        return bool(self._pause) and _is(node, self._pause)

    def _only_pauses(self, node: ast.YieldFrom, module: Module) -> bool:
        """Whether what is yielded from is a call of ours that yields pauses alone: without them it is a plain function."""
        found = _resolve(module, _name(getattr(node.value, "func", None)))
        if not self._pause or not isinstance(found, Ref):
            return False
        there = module_of(found.module)
        return all(
            self._only_pauses(part, there) if isinstance(part, ast.YieldFrom) else self._is_pause(part.value)
            for part in ast.walk(there.find(found.name))
            if isinstance(part, ast.Yield | ast.YieldFrom)
        )

    def _settings_alone(self, node: ast.expr, scope: Scope) -> bool:
        inner = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        vanishes = False
        for part in ast.walk(node):
            if isinstance(part, ast.Lambda | ast.JoinedStr):
                return False
            if isinstance(part, ast.Name) and part.id not in inner:
                if part.id in scope.known or (
                    part.id not in scope.local and _ours(getattr(scope.module.module, part.id, None))
                ):
                    vanishes = True
                elif part.id in scope.local or (
                    not hasattr(scope.module.module, part.id) and not hasattr(builtins, part.id)
                ):
                    return False
            if isinstance(part, ast.Subscript) and _registry(part.value, scope) is not None:
                vanishes = True
            if isinstance(part, ast.Call) and not self._harmless(part.func, scope):
                return False
        return vanishes

    def _harmless(self, func: Any, scope: Scope) -> bool:
        """Whether a call may be made here: it is one of ours, or Python's."""
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Dict):
            return func.attr == "get"
        root = func
        while isinstance(root, ast.Attribute | ast.Subscript | ast.Call):
            root = root.func if isinstance(root, ast.Call) else root.value
        if not isinstance(root, ast.Name):
            return False
        if root.id in scope.known:
            return True
        value = getattr(scope.module.module, root.id, getattr(builtins, root.id, None))
        where = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "") or OURS
        return where.partition(".")[0] in (OURS, "builtins")

    def _code(self, value: Any, node: Any, scope: Scope) -> Any:
        """A known value as code, `MISSING` if it has none."""
        if id(value) in self._given:
            _, name, code = self._given[id(value)]
            if callable(code):
                return self.function(code).name
            if code and code not in self.parts:
                self.parts.append(code)
                for needed, where in (("jnp", ("jax.numpy", "")), ("jax", ("jax", ""))):
                    if re.search(rf"\b{needed}\.", code):
                        self._import(needed, where)
            return name
        if value is None or isinstance(value, bool | str):
            return repr(value)
        if _plain(value):
            hint = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            if not hint:
                looked_up = isinstance(node, ast.Subscript) and _registry(node.value, scope) is not None
                looked_up |= isinstance(node, ast.Call) and isinstance(getattr(node.func, "value", None), ast.Dict)
                return repr(value) if looked_up else MISSING
            return self.constant(hint.lstrip("_").upper(), repr(value))
        if type(value) is tuple or _named_tuple(value):
            parts = [self._code(part, ast.Constant(part), scope) for part in value]
            parts = [
                repr(part) if code is MISSING and _simple(part) else code
                for part, code in zip(value, parts, strict=True)
            ]
            if MISSING in parts:
                return MISSING
            of = self._class(Ref(type(value).__module__, type(value).__name__)) if _named_tuple(value) else ""
            return f"{of}({', '.join(parts)}{',' if len(parts) == 1 and not of else ''})"
        if getattr(value, "__name__", "") == "<lambda>" and _ours_by_module(value):
            return self._lambda(value, node)
        if isinstance(value, MethodType) and _ref_or_none(value):
            return self._take(_ref_of(value), {}, value.__self__, whole=True).name
        if callable(value):
            found = _ref_or_none(value)
            if found is not None:
                return self.reference(module_of(found.module), found.name)
            for home, module in HOMES:
                for name, other in vars(module).items():
                    if other is value and not name.startswith("_"):
                        self._import(home.partition(".")[0], ("jax.numpy", "") if home == "jnp" else ("jax", ""))
                        return f"{home}.{name}"
        return self._entry(value, scope)

    def _lambda(self, value: Any, node: Any) -> Any:
        """A function without a name gets that of the variable that holds it."""
        module = module_of(value.__module__)
        lines = value.__code__.co_firstlineno
        found = [part for part in ast.walk(module.tree) if isinstance(part, ast.Lambda) and part.lineno == lines]
        name = _name(node)
        if len(found) != 1 or value.__closure__ or not name:
            return MISSING
        if value not in self._taken:
            params = tuple(arg.arg for arg in _arguments(found[0]))
            self._taken[value] = Taken(self.allocate(name, value), params)
            body = self.text(found[0].body, Scope(module, {}, frozenset(params)))
            self.parts.append(f"def {self._taken[value].name}({', '.join(params)}):\n    return {body}")
        return self._taken[value].name

    def _entry(self, value: Any, scope: Scope) -> Any:
        """The code of a value that stands in a registry of ours, as a constant."""
        for name, registry in list(vars(scope.module.module).items()):
            if not isinstance(registry, dict) or name.startswith("__"):
                continue
            key = next((key for key, other in registry.items() if other is value), MISSING)
            found = _resolve(scope.module, name) if key is not MISSING else None
            if isinstance(found, Ref):
                module = module_of(found.module)
                table = getattr(module.find(found.name), "value", None)
                for key_node, value_node in zip(getattr(table, "keys", ()), getattr(table, "values", ()), strict=True):
                    if (
                        isinstance(key_node, ast.Constant)
                        and key_node.value == key
                        and type(value).__module__.partition(".")[0] != OURS
                    ):
                        code = self.text(value_node, Scope(module, {}))
                        self._kept.append(value)
                        wanted = name.lstrip("_").removesuffix("S").upper()
                        constant = self.constant(wanted, code)
                        self._given[id(value)] = (value, constant, "")
                        return constant
        return MISSING

    def _property(self, node: Any, scope: Scope) -> Any:
        """The object whose property an expression is, None if it is none."""
        if not isinstance(node, ast.Attribute):
            return None
        owner = self.static(node.value, scope)
        return owner if isinstance(getattr(type(owner), node.attr, None), property) else None

    def _can_write(self, value: Any) -> bool:
        if id(value) in self._given or _simple(value):
            return True
        return callable(value) and (
            _ref_or_none(value) is not None or any(other is value for _, m in HOMES for other in vars(m).values())
        )

    # Calls.

    def _own(self, func: Any, scope: Scope) -> tuple[Ref, Any] | None:
        """The function of ours that an expression stands for, and the object whose method it is."""
        if isinstance(func, ast.Name) and func.id in scope.local and func.id not in scope.known:
            return None
        value = self.static(func, scope) if isinstance(func, ast.Name | ast.Attribute | ast.Subscript) else MISSING
        if value is MISSING and isinstance(func, ast.Name) and func.id not in scope.known:
            value = getattr(scope.module.module, func.id, MISSING)
        if value is MISSING and isinstance(func, ast.Attribute):
            owner = _module_in(func, scope)
            value = owner.value(func.attr) if owner else MISSING
        if id(value) in self._given:
            return None
        if isinstance(value, MethodType):
            return (_ref_of(value), value.__self__) if _ref_or_none(value) else None
        found = _ref_or_none(value) if isinstance(value, FunctionType) or hasattr(value, "__wrapped__") else None
        if found is None or not isinstance(module_of(found.module).find(found.name), ast.FunctionDef):
            return None
        return found, MISSING

    def _call(self, node: ast.Call, scope: Scope) -> str | None:
        """A call of one of our functions, without the arguments that are known; None if it is no such call."""
        if self._left_alone(node.func, scope):
            return self.text(node.args[0], scope)
        if isinstance(node.func, ast.Name) and node.func.id == "partial" and node.args:
            own = self._own(node.args[0], scope)
            if own is None:
                return None
            taken, args = self._bound(own, node.args[1:], node.keywords, scope, whole=False)
            return f"{self.text(node.func, scope)}({', '.join([taken.name, *args])})" if args else taken.name
        made, module = node.func, scope.module
        if isinstance(made, ast.Name) and made.id not in scope.local and made.id not in scope.known:
            found = _resolve(scope.module, made.id)
            if isinstance(found, Ref) and isinstance(module_of(found.module).find(found.name), ast.Assign):
                made, module = module_of(found.module).find(found.name).value, module_of(found.module)
        if isinstance(made, ast.Call) and _last(made.func) in TRANSFORMS and made.args:
            there = scope if module is scope.module else Scope(module, {})
            own = self._own(made.args[0], there)
            if own is None or any(isinstance(arg, ast.Starred) for arg in node.args):
                return None
            params = [arg.arg for arg in _arguments(module_of(own[0].module).find(own[0].name))]
            known = self._statics(own, node.args, node.keywords, scope)
            if not known and made is node.func:
                return None
            taken, args = self._bound(own, node.args, node.keywords, scope)
            options = [self.text(arg, there) for arg in made.args[1:]]
            for keyword in made.keywords:
                value: Any = keyword.value
                if keyword.arg == "in_axes" and isinstance(value, ast.Tuple):
                    kept = [part for part, param in zip(value.elts, params, strict=False) if param in taken.params]
                    options.append(f"in_axes=({', '.join(self.text(part, there) for part in kept)},)")
                else:
                    options.append(f"{keyword.arg}={self.text(value, there)}")
            outer = self.text(made.func, there)
            options = [re.sub(r",\)$", ")", option) if option.count(",") > 1 else option for option in options]
            return f"{outer}({', '.join([taken.name, *options])})({', '.join(args)})"
        own = self._own(node.func, scope)
        if own is None:
            return None
        taken, args = self._bound(own, node.args, node.keywords, scope)
        if taken.gives:
            return args[taken.params.index(taken.gives)]
        return f"{taken.name}({', '.join(args)})"

    def _left_alone(self, func: Any, scope: Scope) -> bool:
        """Whether a function of ours changes when something is computed, and not what."""
        return isinstance(func, ast.Name) and func.id == "in_turn"

    def _statics(
        self, own: tuple[Ref, Any], args: Sequence[Any], keywords: Sequence[Any], scope: Scope
    ) -> dict[str, Any]:
        ref, owner = own
        node = module_of(ref.module).find(ref.name)
        if any(isinstance(arg, ast.Starred) for arg in args) or any(keyword.arg is None for keyword in keywords):
            return {}
        params = [arg.arg for arg in _arguments(node)][owner is not MISSING :]
        given = dict(zip(params, args, strict=False)) | {keyword.arg: keyword.value for keyword in keywords}
        known = {}
        for param, arg in given.items():
            value = arg.value if isinstance(arg, ast.Constant) else self.static(arg, scope)
            if value is MISSING and isinstance(arg, ast.Name) and arg.id not in scope.local:
                value = getattr(scope.module.module, arg.id, MISSING)  # a constant of the module
                value = value if _simple(value) else MISSING
            if value is MISSING or _has_arrays(value):
                continue
            simple = _simple(value)
            if decides(ref, param) if simple else not self._can_write(value):
                known[param] = value
        defaults = dict(zip(reversed([a.arg for a in node.args.args]), reversed(node.args.defaults), strict=False))
        for param, default in defaults.items():
            if param not in given and isinstance(default, ast.Constant) and decides(ref, param):
                known[param] = default.value
        return known

    def _bound(
        self, own: tuple[Ref, Any], args: Sequence[Any], keywords: Sequence[Any], scope: Scope, whole: bool = True
    ) -> tuple[Taken, list[str]]:
        """A function with the arguments known, and the code of the others."""
        ref, owner = own
        known = self._statics(own, args, keywords, scope)
        taken = self._take(ref, known, owner)
        params = [arg.arg for arg in _arguments(module_of(ref.module).find(ref.name))][owner is not MISSING :]
        gone = set(params) - set(taken.params)
        written = [
            self.text(arg, scope)
            for arg, param in zip(args, [*params, *[""] * len(args)], strict=False)
            if isinstance(arg, ast.Starred) or param not in gone
        ]
        for keyword in keywords:
            if keyword.arg is None:
                written.append(f"**{self.text(keyword.value, scope)}")
            elif keyword.arg not in gone:
                written.append(f"{keyword.arg}={self.text(keyword.value, scope)}")
        return taken, written

    def _unrolled(self, node: Any, scope: Scope) -> str | None:
        """A comprehension over settings whose elements are code of their own, written out; else None."""
        generator = node.generators[0]
        values = self.static(generator.iter, scope)
        if values is MISSING and (registry := _registry(generator.iter, scope)) is not None:
            values = list(registry)
        if len(node.generators) > 1 or generator.ifs or values is MISSING or not isinstance(generator.target, ast.Name):
            return None
        name = generator.target.id
        if isinstance(node, ast.GeneratorExp | ast.SetComp) or not _decides(node, name, scope.module):
            return None
        parts = []
        for value in values:
            inner = scope._replace(known={**scope.known, name: value}, local=scope.local - {name})
            if isinstance(node, ast.DictComp):
                parts.append(f"{self.text(node.key, inner)}: {self.text(node.value, inner)}")
            else:
                parts.append(self.text(node.elt, inner))
        return f"{{{', '.join(parts)}}}" if isinstance(node, ast.DictComp) else f"[{', '.join(parts)}]"


# What the source says.


@lru_cache(maxsize=1024)
def decides(ref: Ref, param: str) -> bool:
    """Whether a parameter says what a function does: by it branches are taken, or entries of a registry."""
    module = module_of(ref.module)
    return _decides(module.find(ref.name), param, module)


_deciding: set[tuple[int, str]] = set()


def _decides(node: Any, param: str, module: Module) -> bool:
    key = (id(node), param)
    if key in _deciding:
        return False
    _deciding.add(key)
    try:
        return any(_says(part, param, module) for part in ast.walk(node))
    finally:
        _deciding.discard(key)


def _says(part: Any, param: str, module: Module) -> bool:
    if isinstance(part, ast.If | ast.IfExp | ast.While):
        return _names(part.test, param)
    if isinstance(part, ast.BoolOp):
        return any(_is(value, param) for value in part.values)
    if isinstance(part, ast.ListComp | ast.DictComp):
        over = part.generators[0]
        return _is(over.iter, param) and _decides(part, _name(over.target), module)
    if isinstance(part, ast.Subscript):
        return _is(part.slice, param) and _registry(part.value, Scope(module, {})) is not None
    if not isinstance(part, ast.Call):
        return False
    if isinstance(part.func, ast.Attribute) and part.func.attr == "get" and part.args and _is(part.args[0], param):
        return True
    func, args = part.func, part.args
    if isinstance(func, ast.Name) and func.id == "partial" and args:
        func, args = args[0], args[1:]
    if isinstance(func, ast.Name):
        found = _resolve(module, func.id)
        if isinstance(found, Ref) and isinstance(module_of(found.module).find(found.name), ast.Assign):
            func, module = module_of(found.module).find(found.name).value, module_of(found.module)
    if isinstance(func, ast.Call) and _last(func.func) in TRANSFORMS and func.args:
        func = func.args[0]
    if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Subscript):  # a registry may hold anything
        return _registry(func.value.value, Scope(module, {})) is not None and any(_is(arg, param) for arg in args)
    owner = _module_in(func, Scope(module, {})) if isinstance(func, ast.Attribute) else module
    if owner is None or not isinstance(func, ast.Name | ast.Attribute):
        return False
    found = _resolve(owner, _last(func))
    if not isinstance(found, Ref):
        return False
    if is_dataclass(module_of(found.module).value(found.name)):
        return any(_names(arg, param) for arg in args)  # settings that are made of others
    if not isinstance(module_of(found.module).find(found.name), ast.FunctionDef):
        return False
    names = [arg.arg for arg in _arguments(module_of(found.module).find(found.name))]
    given = [*zip(names, args, strict=False), *((keyword.arg, keyword.value) for keyword in part.keywords)]
    return any(_is(arg, param) and name and decides(found, name) for name, arg in given)


def _is(node: Any, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _names(node: Any, name: str) -> bool:
    return any(_is(part, name) for part in ast.walk(node))


def _name(node: Any) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _last(node: Any) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _resolve(module: Module, name: str) -> Any:
    """What a name at the top of a module means: a `Ref` of ours, or from where it is imported; None if it is Python's."""
    if name in module.definitions:
        value: Any = getattr(module.module, name, None)
        return _ref_of(value) if hasattr(value, "written_as") else Ref(module.module.__name__, name)
    if name not in module.imports:
        return None
    where, what = module.imports[name]
    if where.partition(".")[0] != OURS:
        return where, what
    if f"{where}.{what}" in sys.modules:
        return None
    return _resolve(module_of(where), what)


def _module_in(node: ast.Attribute, scope: Scope) -> Module | None:
    """The module of ours that an attribute is taken of."""
    if not isinstance(node.value, ast.Name) or (node.value.id in scope.local and node.value.id not in scope.known):
        return None
    value = scope.known.get(node.value.id, getattr(scope.module.module, node.value.id, None))
    ours = isinstance(value, ModuleType) and value.__name__.partition(".")[0] == OURS
    return module_of(value.__name__) if ours else None


def _registry(node: Any, scope: Scope) -> dict | None:
    """A dictionary at the top of this module, or of another of ours whose attribute it is."""
    owner = _module_in(node, scope) if isinstance(node, ast.Attribute) else None
    if isinstance(node, ast.Name) and node.id not in scope.local:
        owner = scope.module
    value = getattr(owner.module, _last(node), None) if owner is not None else None
    return value if isinstance(value, dict) else None


def _ref_or_none(value: Any) -> Ref | None:
    other = getattr(value, "written_as", None)
    if other is not None:
        return Ref(other.__module__, other.__qualname__)
    module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", None) or ""
    if isinstance(value, MethodType):
        return Ref(module, name) if module.partition(".")[0] == OURS else None
    if module.partition(".")[0] != OURS or "." in name or not name:
        return None
    return Ref(module, name) if getattr(sys.modules.get(module), name, None) is value else None


def _ref_of(fun: Callable[..., Any]) -> Ref:
    found = _ref_or_none(fun)
    if found is None:
        raise CannotWriteError(f"{fun!r} stands at the top of no module of ours")
    return found


def _ours(value: Any) -> bool:
    """Whether a value is an object of a class of ours that is a setting."""
    return is_dataclass(value) and not isinstance(value, type) and type(value).__module__.partition(".")[0] == OURS


def _ours_by_module(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == OURS


def _named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields") and _ours_by_module(type(value))


def _simple(value: Any) -> bool:
    return _plain(value) or value is None or isinstance(value, bool | str)


def _plain(value: Any) -> bool:
    """Whether a value is a number, or a tuple of such; then its `repr` is code."""
    if isinstance(value, tuple):
        return type(value) is tuple and all(_plain(part) or part is None or isinstance(part, str) for part in value)
    return type(value) in (int, float)


def _identity(value: Any) -> Any:
    return (type(value), value) if _simple(value) else id(value)


def _arguments(node: Any) -> list[ast.arg]:
    spec = node.args
    rest = [arg for arg in (spec.vararg, spec.kwarg) if arg]
    return [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *rest]


def _local_names(node: Any) -> Iterator[str]:
    """Every name that is bound inside a function."""
    yield from (arg.arg for part in ast.walk(node) if hasattr(part, "args") and isinstance(part.args, ast.arguments)
                for arg in _arguments(part))  # fmt: skip
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.FunctionDef) and part is not node:
            yield part.name
        elif isinstance(part, ast.alias):
            yield part.asname or part.name.partition(".")[0]


def _children(node: Any) -> Iterator[Any]:
    """The nearest nodes below one that have a place in the source, but for names of parameters and their types."""
    if isinstance(node, ast.JoinedStr) and sys.version_info < (3, 12):
        return  # what stands inside has no right place there
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.arg):
            continue
        if isinstance(child, ast.expr | ast.stmt | ast.ExceptHandler):
            yield child
        else:
            yield from _children(child)


def _left_out(decorator: Any) -> bool:
    return _last(decorator.func if isinstance(decorator, ast.Call) else decorator) in WITHOUT


def _summary(node: Any) -> str:
    """The docstring, without what it says of single parameters."""
    doc = ast.get_docstring(node)
    if not doc:
        return ""
    text = re.split(r"\n\s*(?:Args|Attributes|Returns|Raises):", doc)[0].strip()
    return f'"""{text}"""' if "\n" not in text else f'"""{text}\n"""'


def _in_braces(text: str) -> str:
    """A text inside of an f-string."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("{", "{{").replace("}", "}}")


def _has_arrays(value: Any) -> bool:
    return any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(value))


def _clean(code: str) -> str:
    """Without what is said to tools."""
    return re.sub(r"  # *(?:fmt|type|noqa)\b.*", "", code)


def _in(lines: Sequence[str]) -> list[str]:
    return [_indented(line) for line in lines] or ["    pass"]


def _indented(code: str) -> str:
    return textwrap.indent(code, "    ")
