"""What `edgepress benchmark --explain` says: where the time of each file goes, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from compress.text import printable

if TYPE_CHECKING:
    from rich.table import Table


def explanation(document: Mapping[str, Any]) -> Iterator[Table | str]:
    """A table with a row for each layer or operator and a column for each file, and advice on each; or nothing."""
    from benchmarks.document import with_short_names

    files = [file for file in with_short_names(document)["files"] if file.get("explained")]
    profiled = [file for file in files if not file["explained"]["reason"]]
    if profiled:
        yield _table(profiled)
    for file in files:
        name, found = printable(file["name"]), file["explained"]
        for sentence in [found["reason"]] if found["reason"] else found["advice"]:
            yield f"{name}: {sentence}"


def _table(files: list[Mapping[str, Any]]) -> Table:
    from cli import say

    times = [{one["quantity"]: one["value"] for one in file["explained"]["records"]} for file in files]
    sums = [sum(taken.values()) for taken in times]
    rows = [
        (name.partition(" ")[2], *(_cell(taken.get(name), whole) for taken, whole in zip(times, sums, strict=True)))
        for name in dict.fromkeys(name for taken in times for name in taken)
    ]
    rows.append(("sum", *(f"{whole:.4f}" for whole in sums)))
    head = ("layer or operator", *(f"{printable(file['name'])}, ms" for file in files))
    return say.table(head, rows, title="where the time goes, by ONNX Runtime's profile")


def _cell(value: float | None, whole: float) -> str:
    return "" if value is None else f"{value:.4f}  {100 * value / whole:3.0f} %"
