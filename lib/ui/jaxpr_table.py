"""A jaxpr as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lib.measure.jaxprs import CHANGED, NEW, EquationLine

SIGNS = {NEW: "+", CHANGED: "~"}


def jaxpr_html(
    lines: Sequence[EquationLine],
    marks: Sequence[str],
    head: tuple[str, str] = ("equation", ""),
    more: int = 0,
    sources: bool = True,
    origins: bool = False,
) -> str:
    """Equations as an HTML table.

    Args:
        marks: one for each line, which sets it off: `new`, `changed`, `bad` or any other for none.
        head: what stands above the equations and below them.
        more: how many equations are left out at the end.
        sources: whether the source line of each equation is shown.
        origins: whether the transformations that each equation passed through are shown.
    """

    def row(cells: Sequence[str], mark: str = "", cell: str = "td") -> str:
        shown = cells[: 2 + sources + origins]
        return f"<tr class='{mark}'>{''.join(f'<{cell}{text}</{cell}>' for text in shown)}</tr>"

    rows = [row((">", f">{escape(head[0])}", ">comes from", ">went through"), cell="th")]
    for line, mark in zip(lines, marks, strict=True):
        indent = f" style='padding-left:{0.3 + 1.2 * line.depth}rem'"
        source = f" title='{escape(line.origin)}'>{escape(line.source)}"
        rows.append(
            row((f">{SIGNS.get(mark, '&nbsp;')}", f"{indent}>{escape(line.text)}", source, f">{escape(line.by)}"), mark)
        )
    if more:
        rows.append(row((">", f">… {more} more", ">", ">")))
    if head[1]:
        rows.append(row((">", f">{escape(head[1])}", ">", ">"), cell="th"))
    return f"<div class='scroll'><table class='jaxpr'>{''.join(rows)}</table></div>"
