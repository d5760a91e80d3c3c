"""Text and tables as HTML; every text that comes from a document passes through `text` here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compress.text import printable


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        inner: HTML.
        key: What a column is sorted by: a number, a text, or None where there is nothing.
    """

    inner: str
    key: float | str | None = None


def text(value: object) -> str:
    """A text as HTML that shows exactly it, control characters as their escapes."""
    return html.escape(printable(str(value)))


def command(typed: str) -> str:
    """A command as HTML, which is broken between its words and not behind a hyphen."""
    return " ".join(f'<span class="word">{text(one)}</span>' if "-" in one else text(one) for one in typed.split(" "))


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, kind: str = "") -> str:
    """A table whose rows are led by their first cell; on a narrow screen each row is a block of its own.

    Its roles are said, because a row that is drawn as a block would lose them.

    Args:
        caption: HTML.
        heads: HTML of the columns.
        rows: Their cells.
        kind: Further classes of it: "sortable".
    """
    top = "".join(f'<th scope="col" role="columnheader">{head}</th>' for head in heads)
    body = "".join(f'<tr role="row">{_row(row, heads)}</tr>\n' for row in rows)
    return (
        f'<div class="wide"><table class="stack {kind}" role="table"><caption>{caption}</caption>\n'
        f'<thead role="rowgroup"><tr role="row">{top}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}</tbody></table></div>\n'
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of terms (text), each with what is said of it (HTML)."""
    rows = "".join(f"<div><dt>{text(term)}</dt><dd>{said}</dd></div>" for term, said in pairs)
    return f'<dl class="facts">{rows}</dl>\n'


def section(name: str, title: str, inner: str) -> str:
    """A part of the page under a heading.

    Args:
        name: Its address in the page.
        title: HTML.
        inner: HTML.
    """
    head = f'<h2 id="{name}-title">{title}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{head}\n{inner}</section>\n'


def signed(value: float, places: int = 2) -> str:
    """A number with its sign, a minus as wide as a plus: "+0.74", "\u22120.74"."""
    return f"{value + 0.0:+.{places}f}".replace("-", "\u2212")


def _row(row: Sequence[Cell], heads: Sequence[str]) -> str:
    first, *others = row
    cells = [f'<th scope="row" role="rowheader"{_sorted_by(first)}>{first.inner}</th>']
    for head, cell in zip(heads[1:], others, strict=True):
        cells.append(f'<td role="cell" data-label="{_plain(head)}"{_sorted_by(cell)}><div>{cell.inner}</div></td>')
    return "".join(cells)


def _sorted_by(cell: Cell) -> str:
    return "" if cell.key is None else f' data-key="{text(cell.key)}"'


def _plain(head: str) -> str:
    """The text of HTML that has no more than tags and escapes in it."""
    return " ".join(filter(None, (part.rpartition(">")[2] for part in head.split("<"))))
