"""A benchmark as a document (plain JSON-able data), as a table for the terminal and as a file.

The document of schema "edgepress-benchmark/1":

    schema      "edgepress-benchmark/1"
    created     when the measurement ended, ISO 8601, UTC
    machine     see compress.evidence.describe; the load average is the one before the measurement
    protocol    runtime, threads, batch, rounds, round_ms, warmup_ms, io_binding, resamples, level
    data        name, fingerprint, split, samples; or null when accuracy was not measured
    contenders  the file itself first, then the one it is held against, if any; each with
        name        its path as it was given
        made        "as given", or "exported to ONNX for this benchmark" if a checkpoint was given
        input       [channels, height, width]
        classes     number of classes
        parameters  learnt values, batch-norm not yet folded away; null if the file does not tell
        values      numbers stored in the graph
        macs        multiply-accumulates of one image
        size_bytes  of the file that ran
        accuracy    top1, low, high (fractions, 95 % Wilson interval), samples; or null
        latency_ms  median, p95, p20, min, rounds, calls (how many single runs the others rest on)
    ratio       the other over the file itself; null without another
        parameters, values, macs, size_bytes    numbers, null where one side is unknown
        latency     value, low, high (95 % bootstrap interval over rounds), unsure (the interval contains 1)
        top1_points the file's top-1 minus the other's, in percentage points; null when not measured
    warnings    sentences about what makes the numbers doubtful
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from compress.files import write_whole

SCHEMA = "edgepress-benchmark/1"
HEAD = ("file", "params", "MACs", "size", "top-1 %\n[95 %]", "median ms", "p95 ms")

Document = Mapping[str, Any]


def save(document: Document, path: Path, *, force: bool = False) -> Path:
    """`path`, holding the document as indented JSON.

    Args:
        document: A benchmark.
        path: The target file.
        force: Allow a file that already exists to be replaced.

    Raises:
        OutputError: The target may not or cannot be written.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return write_text(path, text, force=force)


def write_text(path: Path, text: str, *, force: bool = False) -> Path:
    """`path`, holding `text` in UTF-8, whole.

    Raises:
        OutputError: The target may not or cannot be written.
    """

    def write(staged: Path) -> None:
        staged.write_text(text, encoding="utf-8")

    return write_whole(path, write, force=force)


def render(document: Document) -> Group:
    """The table of the contenders, the ratio below it, how it was measured, and the warnings; for a rich console."""
    lines = [Text(line, style="dim") for line in (_protocol(document), *_made(document))]
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in document["warnings"]]
    return Group(_table(document), *lines, *warnings)


def amount(value: float | None, unit: str = "") -> str:
    """`value` in three digits with a decimal prefix: "61.6 k", "11.2 M"; "?" if unknown."""
    if value is None:
        return "?"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def cells(document: Document) -> list[list[str]]:
    """The table as text: its head, each contender, and the ratio if there is one; some cells have two lines."""
    ratio = document["ratio"]
    contenders = [_contender_cells(contender) for contender in document["contenders"]]
    return [list(HEAD), *contenders, *([_ratio_cells(ratio)] if ratio is not None else [])]


def protocol_text(document: Document) -> str:
    """How it was measured, in a few words."""
    protocol = document["protocol"]
    threads = "1 thread" if protocol["threads"] == 1 else f"{protocol['threads']} threads"
    return f"{protocol['runtime']}, {threads}, batch {protocol['batch']}, {protocol['rounds']} rounds"


def _table(document: Document) -> Table:
    (first, *others), *rows = cells(document)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column(first, overflow="fold", min_width=10)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        table.add_row(*row, style="bold" if number == len(document["contenders"]) else None)
    return table


def _contender_cells(contender: Mapping[str, Any]) -> list[str]:
    latency = contender["latency_ms"]
    return [
        Path(contender["name"]).name,
        amount(contender["parameters"]),
        amount(contender["macs"]),
        amount(contender["size_bytes"], "B"),
        _accuracy_text(contender["accuracy"]),
        _milliseconds(latency["median"]),
        _milliseconds(latency["p95"]),
    ]


def _accuracy_text(accuracy: Mapping[str, Any] | None) -> str:
    if accuracy is None:
        return "not measured"
    top1, low, high = (100 * accuracy[key] for key in ("top1", "low", "high"))
    return f"{top1:.2f}\n[{low:.2f}, {high:.2f}]"


def _ratio_cells(ratio: Mapping[str, Any]) -> list[str]:
    points, latency = ratio["top1_points"], ratio["latency"]
    faster = f"{latency['value']:.3g}x faster\n[{latency['low']:.3g}, {latency['high']:.3g}]"
    return [
        "ratio",
        _times(ratio["parameters"], "fewer"),
        _times(ratio["macs"], "fewer"),
        _times(ratio["size_bytes"], "smaller"),
        "" if points is None else f"{points:+.2f}\npoints",
        f"{faster}\nunsure: spans 1" if latency["unsure"] else faster,
        "",
    ]


def _times(value: float | None, word: str) -> str:
    return "?" if value is None else f"{value:.3g}x\n{word}"


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _protocol(document: Document) -> str:
    machine = document["machine"]
    load = "unknown" if machine["load_average"] is None else machine["load_average"][0]
    where = f"{machine['cpu']} ({machine['cores_usable']} cores, load {load})"
    return f"{protocol_text(document)} in turn, on {where}"


def _made(document: Document) -> list[str]:
    return [f"{one['name']}: {one['made']}" for one in document["contenders"] if one["made"] != "as given"]
