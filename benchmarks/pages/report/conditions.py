"""What was measured besides one call at rest, as tables; see `benchmarks.pages.conditions`."""

from __future__ import annotations

from benchmarks.pages import conditions
from benchmarks.pages.names import with_called
from benchmarks.pages.report import longrun
from benchmarks.pages.report.markup import Cell, section, table, text
from benchmarks.pages.report.view import View


def draw(view: View) -> str:
    """The section; "" where nothing more was measured."""
    document = with_called(view.document)
    tables = [_table(told) for told in conditions.tables(document)]
    lost = "".join(f"<li>{text(line)}</li>" for line in conditions.unmeasured(document))
    figure = longrun.draw(view)
    drawn = f'<div class="grid">{figure}</div>\n' if figure else ""
    inner = "".join(tables) + (f"<ul>{lost}</ul>\n" if lost else "") + drawn
    return section("conditions", "Under other conditions", inner) if inner else ""


def _table(told: conditions.Told) -> str:
    heads = [text(head.replace("-\n", "").replace("\n", " ")) for head in told.head]
    return table(text(told.caption), heads, [[_cell(cell) for cell in row] for row in told.rows])


def _cell(words: str) -> Cell:
    first, _, small = words.partition("\n")
    return Cell(f"{text(first)}<small>{text(small)}</small>" if small else text(first))
