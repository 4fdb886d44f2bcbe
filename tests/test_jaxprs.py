"""`lib/measure/jaxprs.py`: equations with their sources, what a transformation added, and the graph."""

import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lib.lessons.composition import routine as composition
from lib.lessons.composition import transforms
from lib.lessons.composition.levels import level_signature
from lib.lessons.composition.routine import COMPARISONS, FUNCTIONS, typed_function
from lib.lessons.composition.transforms import parse
from lib.measure import jaxprs
from lib.measure.jaxprs import CHANGED, MAX_EQUATIONS, MAX_NODES, MAX_NUMBERS, NEW, SAME, TooLarge

BATCH_SIZE = 2


def traced(function, text: str):
    """The jaxpr of a stack, given as text."""
    signature = level_signature(function, parse(text), BATCH_SIZE)
    shapes = [
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree, is_leaf=transforms.is_leaf)
        for tree in signature.inputs
    ]
    return jaxprs.trace(transforms.apply(function.fun, parse(text)), tuple(shapes)), signature.names


def lines_of(function, text: str):
    closed, names = traced(function, text)
    return jaxprs.lines(closed, names)


def mapped(function) -> str:
    return transforms.expression(composition.with_default_axes(function, ("vmap",)))


def primitives(lines) -> list[str]:
    return [line.kind[0] for line in lines]


# Lines.


def test_the_equations_of_a_small_function() -> None:
    closed = jaxprs.trace(lambda x, y: jnp.sin(x) * y + 1.0, (np.float32(0), np.float32(0)))
    assert [line.text for line in jaxprs.lines(closed, ("x", "y"))] == [
        "a:f32[] = sin x",
        "b:f32[] = mul a y",
        "c:f32[] = add b 1.0",
    ]
    assert jaxprs.head(closed, ("x", "y")) == ("lambda x:f32[] y:f32[]", "in f32[]")


def test_a_result_is_never_named_as_an_input_is() -> None:
    closed = jaxprs.trace(lambda b, a: jnp.sin(b) * a, (np.float32(0), np.float32(0)))
    assert [line.text for line in jaxprs.lines(closed, ("b", "a"))] == ["c:f32[] = sin b", "d:f32[] = mul c a"]


def test_after_z_comes_aa() -> None:
    def long(x):
        for _ in range(28):
            x = jnp.sin(x)
        return x

    found = [line.text.split(":")[0] for line in jaxprs.lines(jaxprs.trace(long, (np.float32(0),)), ("x",))]
    assert found[-5:] == ["y", "z", "aa", "ab", "ac"] and "x" not in found and len(set(found)) == 28


def test_jaxprs_inside_are_indented_and_inputs_keep_their_names_there() -> None:
    lines = lines_of(FUNCTIONS["growing wave"], "jit(jit(f))")
    assert [line.depth for line in lines] == [0, 1, 2, 2]
    assert [line.text for line in lines[2:]] == ["c:f32[] = sin x", "d:f32[] = mul x c"]


def test_inner_equations_are_counted() -> None:
    closed, _ = traced(FUNCTIONS["growing wave"], "jit(f)")
    assert len(list(jaxprs.equations_of(closed.jaxpr))) == 3
    assert [len(jaxprs.inner_jaxprs(equation)) for equation in closed.jaxpr.eqns] == [1]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("stack", ["f", "jit(f)", "jvp(f)", "vjp(f)"])
def test_the_origin_is_a_line_of_the_function_itself(name: str, stack: str) -> None:
    function = FUNCTIONS[name]
    source, begin = inspect.getsourcelines(function.fun)
    file = Path(composition.__file__).read_text().splitlines()
    found = [line for line in lines_of(function, stack) if line.origin]
    assert found
    for line in found:
        file_name, _, number = line.origin.partition(":")
        assert file_name == "composition/routine.py" and begin < int(number) < begin + len(source)
        assert line.source == file[int(number) - 1].strip()


def test_the_source_of_a_typed_function_is_the_piece_of_the_text() -> None:
    function = typed_function("sin(x) * x**2 + 3", ((),), (), False)
    found = {line.kind[0]: line for line in lines_of(function, "f")}
    sources = {"integer_pow" if name == "square" else name: line.source for name, line in found.items()}
    assert sources == {
        "sin": "sin(x)", "integer_pow": "x**2", "mul": "sin(x) * x**2", "add": "sin(x) * x**2 + 3"
    }  # fmt: skip
    assert {line.origin for line in found.values()} == {"the text"}
    assert {line.source for line in lines_of(function, "grad(f)")} <= {
        "sin(x)", "x**2", "sin(x) * x**2", "sin(x) * x**2 + 3"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stack", "expected"),
    [("f", {""}), ("vmap(f)", {"vmap"}), ("jvp(f)", {"jvp"}), ("vmap(jvp(f))", {"vmap(jvp)"}),
     ("grad(f)", {"jvp", "transpose(jvp)"}), ("vmap(grad(f))", {"vmap(jvp)", "vmap(transpose(jvp))"})],
)  # fmt: skip
def test_each_equation_names_the_transformations_it_passed(stack: str, expected: set[str]) -> None:
    for function in (FUNCTIONS["growing wave"], typed_function("sin(x) * x", ((),), (), False)):
        assert {line.by for line in lines_of(function, stack)} == expected


def test_no_line_shows_how_python_prints_a_number_of_numpy() -> None:
    assert not any("np." in line.text for line in lines_of(FUNCTIONS["network loss"], "hessian(f)"))


# Marks.


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("stack", ["f", "jvp(f)", "vjp(f)", "jacrev(f)"])
def test_against_itself_everything_is_the_same(name: str, stack: str) -> None:
    lines = lines_of(FUNCTIONS[name], stack)
    assert jaxprs.marks(lines, lines_of(FUNCTIONS[name], stack)) == [SAME] * len(lines)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("stack", ["f", "vjp(f)", "jacfwd(f)"])
def test_jit_adds_one_line_and_leaves_the_rest(name: str, stack: str) -> None:
    before, now = lines_of(FUNCTIONS[name], stack), lines_of(FUNCTIONS[name], f"jit({stack})")
    assert jaxprs.marks(before, now) == [NEW] + [SAME] * len(before)
    assert primitives(now)[0] in ("jit", "pjit")


@pytest.mark.parametrize("name", ["growing wave", "squared loss", "network loss"])
def test_vmap_of_a_function_adds_no_line_and_changes_shapes(name: str) -> None:
    function = FUNCTIONS[name]
    before, now = lines_of(function, "f"), lines_of(function, mapped(function))
    assert primitives(before) == primitives(now)
    assert jaxprs.marks(before, now) == [CHANGED] * len(now)


@pytest.mark.parametrize("name", ["growing wave", "squared loss", "network loss"])
def test_what_grad_adds_are_derivatives_and_the_way_back(name: str) -> None:
    function = FUNCTIONS[name]
    before, now = lines_of(function, "f"), lines_of(function, "grad(f)")
    marks = jaxprs.marks(before, now)
    kept = [primitive for primitive, mark in zip(primitives(now), marks, strict=True) if mark != NEW]
    assert kept == [p for p in primitives(before) if p in kept] and SAME in marks and CHANGED not in marks
    added = [line for line, mark in zip(now, marks, strict=True) if mark == NEW]
    assert all("jvp" in line.by for line in added)
    back = [mark for line, mark in zip(now, marks, strict=True) if "transpose" in line.by]
    assert back and set(back) == {NEW}


# Size.


def test_too_many_equations_are_turned_away_with_a_sentence() -> None:
    def long(count):
        def fun(x):
            for _ in range(count):
                x = jnp.sin(x)
            return x

        return jaxprs.trace(fun, (np.float32(0),)).jaxpr

    jaxprs.check_size(long(MAX_EQUATIONS))
    with pytest.raises(TooLarge, match=rf"^The program has {MAX_EQUATIONS + 1:,} equations, [^.]*\.$"):
        jaxprs.check_size(long(MAX_EQUATIONS + 1))


def test_too_many_numbers_are_turned_away_with_a_sentence() -> None:
    def size(numbers):
        return jaxprs.trace(jnp.sin, (jax.ShapeDtypeStruct((numbers,), jnp.float32),)).jaxpr

    jaxprs.check_size(size(MAX_NUMBERS))
    with pytest.raises(TooLarge, match=rf"^The program computes {MAX_NUMBERS + 1:,} numbers [^.]*\.$"):
        jaxprs.check_size(size(MAX_NUMBERS + 1))


def test_a_product_of_matrices_counts_its_multiplications() -> None:
    def product(side):
        shape = jax.ShapeDtypeStruct((side, side), jnp.float32)
        return jaxprs.trace(lambda a, b: jnp.dot(a, b), (shape, shape)).jaxpr

    small, large = 512, 1024  # of the large one the numbers are few, but the products are 2**30
    assert small**2 + small**3 // 16 <= MAX_NUMBERS < large**2 + large**3 // 16
    jaxprs.check_size(product(small))
    with pytest.raises(TooLarge, match="numbers"):
        jaxprs.check_size(product(large))


def test_what_is_inside_a_call_counts_too() -> None:
    closed = jaxprs.trace(jax.jit(lambda x: jnp.sin(jnp.cos(x))), (jax.ShapeDtypeStruct((MAX_NUMBERS,), jnp.float32),))
    with pytest.raises(TooLarge, match=f"{3 * MAX_NUMBERS:,} numbers"):
        jaxprs.check_size(closed.jaxpr)


# The graph.

NODE = re.compile(r'  (\w+)(?:\(\["([^"]*)"\]\)|\["([^"]*)"\])(?::::(\w+))?')
EDGE = re.compile(r'  (\w+) -->\|"([^"]*)"\| (\w+)')
CLASS = re.compile(r"  classDef (\w+) [\w#:,-]+")


def read_graph(text: str):
    """Nodes and edges of a flowchart; fails on a line that is neither."""
    first, *rest = text.split("\n")
    assert first == "flowchart TD"
    nodes, edges, styles, used = {}, [], set(), set()
    for line in rest:
        if node := NODE.fullmatch(line):
            assert node[1] not in nodes
            nodes[node[1]] = node[2] or node[3]
            used |= {node[4]} - {None}
        elif edge := EDGE.fullmatch(line):
            edges.append(edge.groups())
        else:
            style = CLASS.fullmatch(line)
            assert style, line
            styles.add(style[1])
    assert used <= styles
    assert {end for a, _, b in edges for end in (a, b)} <= set(nodes)
    return nodes, edges


def many_stacks():
    for name, function in FUNCTIONS.items():
        for stack in ("f", mapped(function), "jit(f)", "jvp(f)", "vjp(f)", "jacfwd(f)", "grad(sum(f))", "hessian(f)"):
            yield name, stack
    for comparison in COMPARISONS.values():
        yield comparison.function, comparison.one
        yield comparison.function, comparison.other


@pytest.mark.parametrize(("name", "stack"), dict.fromkeys(many_stacks()))
def test_every_graph_is_well_formed(name: str, stack: str) -> None:
    closed, names = traced(FUNCTIONS[name], stack)
    text, collapsed = jaxprs.graph(closed, names)
    nodes, _ = read_graph(text)
    jaxpr = closed.jaxpr
    while [equation.primitive.name for equation in jaxpr.eqns] in (["jit"], ["pjit"]):
        (jaxpr,) = jaxprs.inner_jaxprs(jaxpr.eqns[0])
    equations = [node for node in nodes if node.startswith("e")]
    assert collapsed == (len(jaxpr.eqns) > MAX_NODES)
    assert len(equations) < len(jaxpr.eqns) if collapsed else len(equations) == len(jaxpr.eqns)
    assert len(nodes) == len(equations) + len(jaxpr.invars) + len(jaxpr.outvars)
    if collapsed:
        assert sum(int(nodes[e].rpartition("<br/>")[2].split()[0]) for e in equations) == len(jaxpr.eqns)


def test_the_graph_of_a_small_function() -> None:
    closed, names = traced(FUNCTIONS["squared loss"], "f")
    nodes, edges = read_graph(jaxprs.graph(closed, names)[0])
    assert {(nodes[a], label, nodes[b]) for a, label, b in edges} == {
        ("w", "f32[3]", "dot_general"),
        ("x", "f32[3]", "dot_general"),
        ("dot_general", "f32[]", "sub"),
        ("y", "f32[]", "sub"),
        ("sub", "f32[]", "integer_pow"),
        ("integer_pow", "f32[]", "result"),
    }


def test_an_argument_returned_as_it_is_has_an_edge_to_the_result() -> None:
    closed = jaxprs.trace(lambda x: x, (np.float32(0),))
    nodes, edges = read_graph(jaxprs.graph(closed, ("x",))[0])
    assert [(nodes[a], label, nodes[b]) for a, label, b in edges] == [("x", "f32[]", "result")]


def test_the_way_back_is_marked() -> None:
    text, _ = jaxprs.graph(*traced(FUNCTIONS["squared loss"], "grad(f)"))
    back = [line for line in lines_of(FUNCTIONS["squared loss"], "grad(f)") if "transpose" in line.by]
    assert text.count("]:::backward") == len(back) > 0


def test_quotes_and_brackets_in_a_text_do_not_end_a_label() -> None:
    closed = jaxprs.trace(lambda x: x, (np.float32(0),))
    text, _ = jaxprs.graph(closed, ('"<b>"]) & x',))
    nodes, _ = read_graph(text)
    assert nodes["in0"] == "#quot;#lt;b#gt;#quot;]) #amp; x"
    function = typed_function("sum(where(x[0] > 0, x, -x) * y) < 3", ((3,), (3,)), (), False)
    nodes, _ = read_graph(jaxprs.graph(*traced(function, "vmap(f)"))[0])
    assert len(nodes) > 3


def test_of_a_long_program_equations_of_one_line_are_one_node() -> None:
    """Those without a source line stay apart by their primitive."""

    def long(x):
        for _ in range(MAX_NODES):
            x = jnp.sin(x)
        return jnp.cos(x)

    nodes, _ = read_graph(jaxprs.graph(jaxprs.trace(long, (np.float32(0),)), ("x",))[0])
    assert list(nodes.values()) == ["x", f"sin<br/>{MAX_NODES} equations", "cos<br/>1 equations", "result"]
    closed, names = traced(FUNCTIONS["network loss"], "hessian(f)")
    text, collapsed = jaxprs.graph(closed, names)
    assert collapsed and "hidden = jnp.tanh(w @ x)" in text
