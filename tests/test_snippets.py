"""Code to take away: it is the real functions', and each piece runs as it stands, outside of the repository."""

import importlib
import subprocess
import sys

import pytest
from conftest import ROOT
from jaxtyping import Array, Float

from lib.routines.snippets import WIDTH, printed, source

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
