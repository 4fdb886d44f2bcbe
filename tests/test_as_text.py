"""What a visitor types or uploads is shown as it is: markup, formulas and links in it are text."""

from html.parser import HTMLParser

import numpy as np
import pytest
import streamlit as st
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest
from test_pages import TIMEOUT_S, open_page, settle

from lib.lessons.jit_grad.functions import TypedScalarFunction
from lib.lessons.jit_vmap.routine import Mapped
from lib.lessons.jit_vmap.view import rows_html
from lib.measure.jaxprs import EquationLine
from lib.measure.questions import described
from lib.ui.jaxpr_table import jaxpr_html
from lib.ui.style import literal, stats_html

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "**bold** _it_ ~~out~~", "[a](http://b.c)",
    "![a](http://b.c/d.png)", "$\\frac{1}{0}$", "$$x$$", "`code`", ":red[a] :material/bolt: :smile:", "http://b.c www.b.c a@b.c",
    "# a", "a | b", "\\", "x*y*x", "'\"><b>",
]  # fmt: skip


def shown(markdown: str) -> str:
    """The text of a paragraph of Markdown, for which it may have nothing but text."""
    paragraph, inline, end = MarkdownIt("commonmark").parse(markdown)
    assert (paragraph.type, end.type) == ("paragraph_open", "paragraph_close")
    assert {token.type for token in inline.children or []} <= {"text", "text_special"}, markdown
    return "".join(token.content for token in inline.children or [])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_in_markdown_stays_text(text: str) -> None:
    assert shown(f"Column {literal(text)} is empty.") == f"Column {text} is empty."
    bare = literal(text).replace("\\\\", "")
    assert "www." not in bare
    for sign in "$:@":  # of formulas, colours, icons and links, which Streamlit adds to Markdown
        assert bare.count(sign) == bare.count(f"\\{sign}")


class Read(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_in_html_stays_text(text: str) -> None:
    line = EquationLine(0, text, text, text, text, (), ())
    mapped = Mapped(((text, np.zeros(2), 0),), (np.zeros(2), 0))
    for html in (jaxpr_html([line], [""], (text, text)), stats_html({text: text}), rows_html(mapped, [text, text])):
        read = Read(html)
        assert text in read.text and not {"script", "img"} & read.tags


@pytest.mark.parametrize("head", [" ".join(HOSTILE[:6]), " ".join(HOSTILE[6:11])])
def test_the_sentence_about_an_uploaded_file_is_text(head: str, monkeypatch) -> None:
    class Uploaded:
        file_id, name = "1", f"{head}.csv"

        def getvalue(self) -> bytes:
            cell = head.replace('"', '""')
            return f'"{cell}",b\n"{cell}",1\n1,2\n2,3\n3,4\n'.encode()

    monkeypatch.setattr(st, "file_uploader", lambda *args, **options: Uploaded())

    def script() -> None:
        from lib.lessons.training.view import _own_data

        _own_data(0)

    app = AppTest.from_function(script, default_timeout=TIMEOUT_S).run()
    assert not app.exception
    (error,) = app.error
    said = shown(error.value)
    assert said.startswith(f"Row 2, column '{head}' holds '{head[:30]}'"), said


def test_a_number_of_a_level_that_is_none_is_quoted_as_text() -> None:
    app = open_page("composition")
    app.session_state["composition_panel"] = "Levels"
    settle(app.run())
    box = next(box for box in app.text_input if box.label == "in_axes")
    settle(box.set_value("**[a](http://b.c)** $x$").run())
    assert "got '**[a](http://b.c)** $x$'." in shown(app.error[0].value)


def test_a_typed_function_is_described_whole() -> None:
    assert described({"function": TypedScalarFunction("x*y*x / 2", ("x",), (-1.0, 1.0))}) == "function x*y*x / 2"
