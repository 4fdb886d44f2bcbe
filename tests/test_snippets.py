"""Code to take away: it is the real functions', and each piece runs as it stands, outside of the repository."""

import importlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from jaxtyping import Array, Float

from lib.routines.snippets import WIDTH, printed, source, written
from lib.routines.typed import parse

MODULES = {
    file.parent.name: f"lib.lessons.{file.parent.name}.snippet"
    for file in sorted(ROOT.glob("lib/lessons/*/snippet.py"))
}
EXAMPLES = [(lesson, name) for lesson, module in MODULES.items() for name in importlib.import_module(module).examples()]


def typed(
    x: Float[Array, " features"], *rest: int, y: dict[str, int] | None = None, **more: str
) -> tuple[Float[Array, " features"], str]:
    """Has every kind of annotation -> and a string with an arrow."""
    inner: int = 3  # stays: it is no parameter

    def nested(z: Array | None = None) -> Array:
        return z

    return nested(x), rest, y, more, inner


def test_the_source_of_a_function_has_no_types_and_all_the_rest():
    text = source(typed)
    assert text.startswith("def typed(x, *rest, y=None, **more):\n")
    assert "def nested(z=None):" in text
    assert 'an arrow."""' in text and "inner: int = 3" in text
    namespace = {}
    exec(text, namespace)
    assert namespace["typed"](1, 2, b="c") == typed(1, 2, b="c")


def test_what_is_printed_is_what_the_code_prints_and_nothing_of_it_stays():
    assert printed("x = 2\nprint(x, x**10, sep=' to ')") == "2 to 1024"
    with pytest.raises(NameError):
        printed("print(x)")


@pytest.mark.parametrize(("lesson", "name"), EXAMPLES)
def test_a_piece_of_code_runs_when_pasted_and_prints_what_the_page_shows(lesson, name, tmp_path):
    code = importlib.import_module(MODULES[lesson]).examples()[name]
    assert "lib." not in code and "jaxtyping" not in code
    assert max(map(len, code.splitlines())) <= WIDTH
    file = tmp_path / "pasted.py"
    file.write_text(code, encoding="utf-8")
    ran = subprocess.run([sys.executable, "-I", str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip(), "it prints nothing"
    assert ran.stdout.rstrip() == printed(code)


WRITTEN = {
    "sin(3 * x) + x**2 / 4": "jnp.sin(3.0 * x) + x**2 / 4.0",
    "a * (x - y) ** -2": "a * (x - y)**-2",
    "-x ** 2 - (y - x)": "-x**2 - (y - x)",
    "(-x) ** 2": "(-x)**2",
    "x ** y ** 2": "x ** (y**2)",
    "(x ** y) ** 2": "(x ** y)**2",
    "2 ** -x + (-2) ** 2 * x": "2.0 ** (-x) + 4.0 * x",
    "x / (y / 2) / 3 - -x": "x / (y / 2.0) / 3.0 - -x",
    "where((x > 0) & ~(y < 1), x, -1)": "jnp.where(jnp.logical_and(x > 0.0, jnp.logical_not(y < 1.0)), x, -1.0)",
    "(x > 1) * 2 + (x + y > 0)": "jnp.where(x > 1.0, 1.0, 0.0) * 2.0 + jnp.where(x + y > 0.0, 1.0, 0.0)",
    "softplus(x) * erf(y) + cos(pi * x) * e": "jax.nn.softplus(x) * jax.scipy.special.erf(y) + jnp.cos(jnp.pi * x) * jnp.e",
    "x % 2 - y % (x + 3)": "x % 2.0 - y % (x + 3.0)",
    "sum(w @ x, axis=0) + w[0, 1:, None][0]": "jnp.sum(w @ x, axis=0) + w[0, 1:, None][0]",
    "norm(stack(w[0], w[1] ** 0.5), axis=1)[::2]": "jnp.linalg.norm(jnp.stack([w[0], w[1] ** 0.5]), axis=1)[::2]",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_typed_function_is_written_as_code_that_computes_the_same(text):
    function = parse(text)
    code = written(function, tuple(reversed(function.arguments)))
    head, body = code.split("\n    return ")
    assert body == WRITTEN[text] and head == f"def f({', '.join(reversed(function.arguments))}):"
    namespace = {"jax": jax, "jnp": jnp}
    exec(code, namespace)
    rng = np.random.default_rng(0)
    shapes = {"w": (2, 3), "x": (3,)} if "w" in function.arguments else {}
    for _ in range(5):
        values = {a: jnp.float32(rng.uniform(0.1, 2, shapes.get(a, ()))) for a in function.arguments}
        np.testing.assert_allclose(jax.jit(namespace["f"])(**values), jax.jit(function)(*values.values()), rtol=1e-6)


def test_an_argument_never_hides_what_the_code_around_it_uses():
    assert written(parse("sin(jnp) * f")) == "def f(jnp_, f_):\n    return jnp.sin(jnp_) * f_"
