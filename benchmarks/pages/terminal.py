"""A benchmark as a document (plain JSON-able data), as a table for the terminal and as a file.

The document of schema "edgepress-benchmark/3":

    schema      "edgepress-benchmark/3"
    created     when the measurement ended, ISO 8601, UTC
    machine     see compress.evidence.describe; the load average is the one before the measurement
    protocol    runtime, threads, batch, sessions, rounds, turn_ms, warmup_ms, io_binding, level, power
    data        name, fingerprint, split, samples; or null when quality was not measured
    contenders  the file itself first, then the one it is held against, if any; each with
        name        its path as it was given
        made        "as given", or "exported to ONNX for this benchmark" if a checkpoint was given
        input       [channels, height, width]
        classes     number of classes
        parameters  learnt values, batch-norm not yet folded away; null if the file does not tell
        values      numbers stored in the graph
        macs        multiply-accumulates of one image
        size_bytes  of the file that ran
        task        what it was trained for
        metric      the one of its task that stands for all: top1, miou; or null where the task is not measured here
        quality     metric, value, low, high (fractions, 95 % interval), samples, all (every metric by name); or null
        latency_ms  of wall time: median (geometric mean of the sessions' medians), p95, p20, min; sessions, rounds,
                    calls (how many single runs the others rest on); cpu, the median of CPU time, null where that
                    is not counted (more than one thread, or too coarse a clock)
    ratio       the other over the file itself; null without another
        parameters, values, macs, size_bytes    numbers, null where one side is unknown
        latency     of wall time: value, low, high (95 % interval over the sessions), least (the least difference
                    that nine of ten such measurements would see, 0.02: 2 %); cpu, the same of CPU time, or null;
                    verdict (faster, slower, same, unsure) and words, see benchmarks.verdict
        points      the file's quality minus the other's, in percentage points; null when not measured by one metric
        agreement   name, words, value (share of the images, or of their pixels, that both decide alike), samples; null
                    when not measured or without meaning
    warnings    sentences about what makes the numbers doubtful

Those of earlier schemas can still be shown. "edgepress-benchmark/2" has accuracy (top1, low, high, samples) for
quality, no task, metric and agreement, and top1_points for points; "edgepress-benchmark/1" likewise, and has no
sessions, round_ms for turn_ms, resamples for power, and of the ratio of latency value, low, high and unsure (the
interval contains 1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from benchmarks.verdict import interval_text, times
from compress.files import write_text
from compress.text import printable
from exports.parity import share_text

SCHEMA = "edgepress-benchmark/3"
READABLE = ("edgepress-benchmark/1", "edgepress-benchmark/2", SCHEMA)
ANY_WIDTH = 10_000
HEAD = ("file", "params", "MACs", "size", "{}\n[95 %]", "median ms", "p95 ms")
METRICS = {"top1": "top-1 %", "miou": "mIoU %"}

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


def render(document: Document, console: Console) -> Group:
    """The contenders and their ratio, the verdict on latency, how it was measured, and the warnings.

    Args:
        document: A benchmark.
        console: Where it will be printed; one too narrow for a table gets a block of lines for each contender.
    """
    table = _table(document)
    needed = Measurement.get(console, console.options.update(width=ANY_WIDTH), table).minimum
    shown = [table] if needed <= console.width else _blocks(document)
    notes = [Text(line, style="dim") for line in (_protocol(document), *_made(document))]
    warnings = [Text(f"warning: {printable(warning)}", style="yellow") for warning in document["warnings"]]
    verdict = verdict_text(document)
    said = [Text(f"latency: {verdict}")] if verdict else []
    said += [Text(line) for line in _agreement(document)]
    return Group(*shown, *said, *notes, *warnings)


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
    head = [name.format(_metric(document)) for name in HEAD]
    return [head, *contenders, *([_ratio_cells(ratio)] if ratio is not None else [])]


def protocol_text(document: Document) -> str:
    """How it was measured, in a few words."""
    protocol = document["protocol"]
    threads = "1 thread" if protocol["threads"] == 1 else f"{protocol['threads']} threads"
    sessions = f"{protocol['sessions']} sessions, " if "sessions" in protocol else ""
    return f"{protocol['runtime']}, {threads}, batch {protocol['batch']}, {sessions}{protocol['rounds']} rounds"


def verdict_text(document: Document) -> str:
    """What may be said about the ratio of latencies; empty without a ratio, and for a document of the first schema."""
    ratio = document["ratio"]
    return "" if ratio is None else ratio["latency"].get("words", "")


def _table(document: Document) -> Table:
    (first, *others), *rows = cells(document)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column(first, overflow="fold", min_width=10)
    for name in others:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        table.add_row(*map(Text, row), style="bold" if number == len(document["contenders"]) else None)
    return table


def _blocks(document: Document) -> list[Text | Table]:
    """Each row of the table as its name and, below it, a line for each of its cells that is not empty."""
    (_, *names), *rows = cells(document)
    blocks: list[Text | Table] = []
    for name, *values in rows:
        lines = Table.grid(padding=(0, 2, 0, 0))
        lines.add_column(no_wrap=True)
        lines.add_column(overflow="fold")
        for head, value in zip(names, values, strict=True):
            if value:
                lines.add_row(*(Text(f"  {head}".replace("\n", " ")), Text(value.replace("\n", " "))))
        blocks += [Text(name, style="bold"), lines]
    return blocks


def _contender_cells(contender: Mapping[str, Any]) -> list[str]:
    latency = contender["latency_ms"]
    return [
        printable(Path(contender["name"]).name),
        amount(contender["parameters"]),
        amount(contender["macs"]),
        amount(contender["size_bytes"], "B"),
        _quality_text(_quality(contender)),
        _milliseconds(latency["median"]),
        _milliseconds(latency["p95"]),
    ]


def _metric(document: Document) -> str:
    """The words for the metric of the first contender that has one."""
    named = (one.get("metric") for one in document["contenders"])
    return next((METRICS.get(name, f"{name} %") for name in named if name), METRICS["top1"])


def _quality(contender: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The quality of a contender in a document of any schema."""
    if "quality" in contender or contender["accuracy"] is None:
        return contender.get("quality")
    return {**contender["accuracy"], "metric": "top1", "value": contender["accuracy"]["top1"]}


def _quality_text(quality: Mapping[str, Any] | None) -> str:
    if quality is None:
        return "not measured"
    value, low, high = (100 * quality[key] for key in ("value", "low", "high"))
    return f"{value:.2f}\n[{low:.2f}, {high:.2f}]"


def _agreement(document: Document) -> list[str]:
    """A line about the share of images, or pixels, that both contenders decide alike, where it was measured."""
    ratio = document["ratio"]
    found = ratio.get("agreement") if ratio else None
    if found is None:
        return []
    other = printable(Path(document["contenders"][1]["name"]).name)
    return [f"{found['words']} with {other}: {share_text(found['value'])} ({found['samples']:,} images)"]


def _ratio_cells(ratio: Mapping[str, Any]) -> list[str]:
    points = ratio["points"] if "points" in ratio else ratio["top1_points"]
    return [
        "ratio",
        _times(ratio["parameters"], "fewer", "more"),
        _times(ratio["macs"], "fewer", "more"),
        _times(ratio["size_bytes"], "smaller", "larger"),
        "" if points is None else f"{points:+.2f}\npoints",
        _latency_cell(ratio["latency"]),
        "",
    ]


def _latency_cell(latency: Mapping[str, Any]) -> str:
    if _is_unsure(latency):
        return "unsure"
    if latency.get("verdict") == "same":
        return "no difference\ndetected"
    word = "faster" if latency["value"] > 1 else "slower"
    return f"{times(latency['value'])} {word}\n{interval_text(latency['low'], latency['high'])}"


def _is_unsure(latency: Mapping[str, Any]) -> bool:
    return latency["verdict"] == "unsure" if "verdict" in latency else bool(latency["unsure"])


def _times(value: float | None, less: str, more: str) -> str:
    """The other's count over the file's own, in words that hold for the file: "2x fewer", "1.01x more"."""
    if value is None:
        return "?"
    if value == 1:
        return "the same"
    return f"{times(value)}\n{less if value > 1 else more}"


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _protocol(document: Document) -> str:
    machine = document["machine"]
    load = "unknown" if machine["load_average"] is None else machine["load_average"][0]
    where = f"{printable(str(machine['cpu']))} ({machine['cores_usable']} cores, load {load})"
    return f"{protocol_text(document)} in turn, on {where}"


def _made(document: Document) -> list[str]:
    return [f"{printable(one['name'])}: {one['made']}" for one in document["contenders"] if one["made"] != "as given"]
