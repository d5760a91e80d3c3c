"""Tables for the terminal: numbers one below the other and names whole; what is too wide goes on in a further table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from compress.text import printable

ANY_WIDTH = 10_000

Column = Sequence[str]
Fits = Callable[[Sequence[Column]], bool]


def drawn(
    name: Column, parts: Iterable[Sequence[Column]], console: Console, *, wordy: str = "", strong: str = ""
) -> list[Table | Text]:
    """One table, or one below the other, each with the names; blocks of lines where even one column is too wide.

    Args:
        name: The column that says what a row is about: its head, and a cell for each row.
        parts: Columns that belong together, likewise; they stay together where that is possible.
        console: Where it will be printed.
        wordy: The head of a column, if any, whose cells are sentences.
        strong: The name of rows, if any, that stand out.
    """

    def made(columns: Sequence[Column]) -> Table:
        return _table(name, columns, wordy, strong)

    def fits(columns: Sequence[Column]) -> bool:
        wide = console.options.update(width=ANY_WIDTH)
        return Measurement.get(console, wide, made(columns)).minimum <= console.width

    columns = [[*part] for part in parts if part]
    pieces = [*_pieces(columns, fits)]
    if all(map(fits, pieces)):
        return [made(piece) for piece in pieces]
    head, *rows = zip(name, *(column for part in columns for column in part), strict=True)
    return _blocks(head, rows)


def _table(name: Column, columns: Sequence[Column], wordy: str, strong: str) -> Table:
    """One table, of which no cell is broken but those of sentences."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    for at, column in enumerate((name, *columns)):
        whole = max(cell_len(line) for cell in column for line in _printed(cell).split("\n"))
        made.add_column(
            Text(column[0]),
            justify="right" if at else "left",
            no_wrap=column[0] != wordy,
            min_width=None if column[0] == wordy else whole,
        )
    for row in zip(name[1:], *(column[1:] for column in columns), strict=True):
        style = "bold" if strong and row[0] == strong else None
        made.add_row(*(Text(_printed(cell)) for cell in row), style=style)
    return made


def _blocks(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[Table | Text]:
    """Each row of a table as its name and, below it, a line for each of its cells that is not empty."""
    _, *names = head
    made: list[Table | Text] = []
    for name, *values in rows:
        lines = Table.grid(padding=(0, 2, 0, 0))
        lines.add_column(no_wrap=True)
        lines.add_column(overflow="fold")
        for head, value in zip(names, values, strict=True):
            if value:
                lines.add_row(*(Text(_printed(part).replace("\n", " ")) for part in (f"  {head}", value)))
        made += [Text(_printed(name), style="bold"), lines]
    return made


def _printed(cell: str) -> str:
    """A cell of one or several lines, its control characters escaped."""
    return "\n".join(map(printable, cell.split("\n")))


def _pieces(parts: Iterable[Sequence[Column]], fits: Fits) -> Iterator[list[Column]]:
    """The columns of each table."""
    taken: list[Column] = []
    for part in parts:
        if fits([*taken, *part]):
            taken += part
            continue
        if taken:
            yield taken
        if fits(part) or len(part) == 1:
            taken = [*part]
        else:
            *done, taken = _pieces([[column] for column in part], fits)
            yield from done
    if taken:
        yield taken
