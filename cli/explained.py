"""What `edgepress benchmark --explain` says: where the time of each file goes, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from compress.text import printable

SUM = "sum"

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def explanation(document: Mapping[str, Any], console: Console) -> Iterator[RenderableType]:
    """A table with a row for each layer or operator and a column for each file, and advice on each; or nothing.

    Args:
        document: A benchmark.
        console: Where it will be printed.
    """
    from rich.text import Text

    from benchmarks.pages.names import said_once, with_called

    files = [file for file in with_called(document)["files"] if file.get("explained")]
    profiled = [file for file in files if not file["explained"]["reason"]]
    if profiled:
        yield Text(
            "Where the time goes, in ms and as a share of the sum, by ONNX Runtime's profile; to take it costs time of "
            "its own at each layer, so that the sum is above the latency."
        )
        yield from _tables(profiled, console)
    found = [(file["name"], file["explained"]) for file in files]
    said = ((name, one) for name, told in found for one in ([told["reason"]] if told["reason"] else told["advice"]))
    yield from map(Text, said_once(said, len(files)))


def _tables(files: list[Mapping[str, Any]], console: Console) -> list[RenderableType]:
    from benchmarks.pages import tables

    times = [{one["quantity"]: one["value"] for one in file["explained"]["records"]} for file in files]
    names = [*dict.fromkeys(name for taken in times for name in taken)]
    columns = []
    for file, taken in zip(files, times, strict=True):
        whole = sum(taken.values())
        cells = (_cell(taken.get(name), whole) for name in names)
        columns.append([printable(file["name"]), *cells, _cell(whole, whole)])
    layers = ["layer or operator", *(name.partition(" ")[2] for name in names), SUM]
    return [*tables.drawn(layers, [columns], console, strong=SUM)]


def _cell(value: float | None, whole: float) -> str:
    return "" if value is None else f"{value:.4f}  {100 * value / whole:3.0f} %"
