"""A study as a table of text: a row for each place of the grid, a column for whatever differs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADS = {"student": "student", "depth": "depth", "fraction": "data", "ratio": "ratio", "epochs": "epochs"}
METRICS = {
    "top1": "top-1",
    "map_e_paper": "mAP e",
    "map_c_paper": "mAP c",
    "map_e_exact": "mAP e (exact)",
    "map_c_exact": "mAP c (exact)",
    "miou": "mIoU",
}
UNKNOWN = "–"

Cell = Mapping[str, Any]
Document = Mapping[str, Any]


def headings(document: Document) -> list[str]:
    """What the table is about, and what all of its rows have in common."""
    cells = document["summary"]
    same = [f"{HEADS[key]} {_value(key, cells[0][key])}" for key in _places(cells, differ=False)] if cells else []
    settings = f"; {document['settings']}" if document["settings"] else ""
    return [
        f"{document['teacher']['name']} teaches on {document['data']}: {', '.join(same)}{settings}",
        "percent on the test split, mean and standard deviation over the seeds; [95 % interval], paired by seed",
    ]


def table_cells(document: Document, *, most: int = 1) -> list[list[str]]:
    """The table: its head, and a row for each place of the grid.

    Args:
        document: Of a study.
        most: Scores to show.
    """
    cells, baseline = document["summary"], document["baseline"]
    places, scores = _places(cells, differ=True), scores_of(cells)[:most]
    equal = any(cell["control"] for cell in cells)
    head = ["method", *(HEADS[key] for key in places), "seeds"]
    for name in scores:
        head += [METRICS.get(name, name), f"to {baseline}", *(["at its epochs"] if equal else [])]
    body = []
    for cell in cells:
        line = [_method(cell), *(_value(key, cell[key]) for key in places), _seeds(cell)]
        for name in scores:
            line += [_score(cell["scores"].get(name)), _difference(cell["differences"].get(name))]
            line += [_difference(cell["differences_equal_epochs"].get(name))] if equal else []
        body.append([*line, UNKNOWN if cell["cpu_s"] is None else f"{cell['cpu_s']:,.0f}"])
    return [[*head, "CPU-s"], *body]


def scores_of(cells: Sequence[Cell]) -> list[str]:
    """The names of the scores that any cell has: those that are known first."""
    there = list(dict.fromkeys(name for cell in cells for name in cell["scores"]))
    return [name for name in METRICS if name in there] + [name for name in there if name not in METRICS]


def _places(cells: Sequence[Cell], *, differ: bool) -> list[str]:
    """Where the cells stand, as far as they differ, or do not, in it; what no cell says is left out."""
    values = {key: {cell[key] for cell in cells} for key in HEADS}
    return [key for key, found in values.items() if found != {None} and (len(found) > 1) == differ]


def _method(cell: Cell) -> str:
    return f"{cell['method']}, epochs of {cell['control']}" if cell["control"] else str(cell["method"])


def _value(key: str, value: Any) -> str:
    if value is None:
        return UNKNOWN
    return f"{100 * value:g} %" if key == "fraction" else f"{value:g}" if isinstance(value, float) else str(value)


def _seeds(cell: Cell) -> str:
    return f"{len(cell['seeds'])}" + (f", {len(cell['failed'])} failed" if cell["failed"] else "")


def _score(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return UNKNOWN
    return f"{100 * spread['mean']:.2f}" + ("" if spread["sd"] is None else f" ±{100 * spread['sd']:.2f}")


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None or found["mean"] is None:
        return UNKNOWN
    interval = "" if found["low"] is None else f" [{100 * found['low']:+.2f}, {100 * found['high']:+.2f}]"
    return f"{100 * found['mean']:+.2f}{interval}"
