"""A benchmark as a table for the terminal, with all that has to be said of it; see `benchmarks.document`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from benchmarks import claims
from benchmarks.document import Document, File, baseline, number, record
from benchmarks.pages import conditions, hurt, several, tables
from benchmarks.pages.names import with_called
from benchmarks.pages.several import METRICS
from benchmarks.pages.words import amount, milliseconds
from benchmarks.verdict import interval_text, times
from compress.text import counted, printable, share_text

HEAD = ("file", "params", "MACs", "size", "{}\n[95 %]", "median ms", "p95 ms", "p99 ms")
RATIO = "ratio"
AGREEMENTS = {"top1_agreement": "top-1 agreement", "pixel_agreement": "pixel agreement"}


def render(document: Document, console: Console) -> Group:
    """The files and their ratios to the baseline, the verdicts on latency, how it was measured, and the warnings.

    Args:
        document: A benchmark.
        console: Where it will be printed; one too narrow for a table gets further tables, or of one or two files a
            block of lines for each.
    """
    many = several.is_several(document)
    shown = [*(several.shown(document, console) if many else _tables(document, console))]
    about = several.lines(document) if many else _about(with_called(document))
    said = [Text(line) for line in (*about, *_noise(document))]
    notes = [Text(line, style="dim") for line in (_protocol(document), *several.made(document))]
    told = several.warnings(document)
    warnings = [Text(f"warning: {printable(warning)}", style="yellow") for warning in told]
    return Group(*shown, *said, *notes, *warnings)


def claim_lines(document: Document) -> list[str]:
    """What became of the claims: a line for each, or of many files one for those that are met.

    Of a file that could not be measured there is one line for all of its claims.
    """
    if several.is_several(document):
        return [*several.claimed(document)]
    found, left_out = claims.judged(with_called(document))
    return [
        *(claims.line(one["held"], one["sentence"]) for one in found),
        *(claims.line("not shown", f"{name}: {said}") for name, said in left_out),
    ]


def cells(document: Document) -> list[list[str]]:
    """The table of one or two files as text: its head, they, and their ratio; some cells have two lines."""
    head = [name.format(_metric(document)) for name in HEAD]
    return [head, *_rows(with_called(document))]


def protocol_text(document: Document) -> str:
    """How it was measured, in a few words."""
    protocol = document["protocol"]
    threads = counted(protocol["threads"], "thread")
    sessions = counted(protocol["sessions"], "session")
    pinned = f", on CPU {' and '.join(map(str, protocol['pin']))}" if protocol["pin"] else ""
    counts = f"{sessions}, {counted(protocol['rounds'], 'round')}"
    return f"{protocol['runtime']}, {threads}{pinned}, batch {protocol['batch']}, {counts}"


def _tables(document: Document, console: Console) -> Iterator[RenderableType]:
    first, *columns = zip(*cells(document), strict=True)
    yield from tables.drawn(first, [columns[:3], columns[3:4], columns[4:]], console, strong=RATIO)
    for told in conditions.tables(with_called(document)):
        first, *columns = zip(told.head, *told.rows, strict=True)
        yield Text(told.caption)
        yield from tables.drawn(first, [columns], console, wordy=told.wordy)


def _rows(document: Document) -> Iterator[list[str]]:
    base, files = baseline(document), document["files"]
    yield from map(_file_cells, files)
    for file in files:
        if base is not None and file is not base and not file["reason"]:
            yield _ratio_cells(file, base)


def _file_cells(file: File) -> list[str]:
    name = printable(file["name"])
    if file["reason"]:
        return [name, *[""] * (len(HEAD) - 1)]
    return [
        name,
        amount(number(file, "parameters")),
        amount(number(file, "macs")),
        amount(number(file, "size"), "B"),
        _quality_text(record(file, file["metric"]) if file["metric"] else None),
        milliseconds(number(file, "latency")),
        milliseconds(number(file, "latency_p95")),
        milliseconds(number(file, "latency_p99")),
    ]


def _metric(document: Document) -> str:
    """The words for the metric of the first file that has one."""
    named = (one.get("metric") for one in document["files"])
    return next((METRICS.get(name, f"{name} %") for name in named if name), METRICS["top1"])


def _quality_text(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    value, low, high = (100 * found[key] for key in ("value", "low", "high"))
    return f"{value:.2f}\n[{low:.2f}, {high:.2f}]"


def _about(document: Document) -> Iterator[str]:
    """What may be said of each latency, why a file was not measured, and what else was found."""
    for file in document["files"]:
        if file["verdict"]:
            yield f"latency: {file['verdict']['words']}"
        if file["reason"]:
            yield f"{printable(file['name'])}: not measured: {printable(file['reason'])}"
    yield from _agreements(document)
    yield from hurt.lines(document)
    yield from conditions.unmeasured(document)


def _agreements(document: Document) -> Iterator[str]:
    """A line about the share of images, or pixels, that a file and the baseline decide alike, where it was measured."""
    base = baseline(document)
    for file in document["files"]:
        for quantity, words in AGREEMENTS.items():
            found = record(file, quantity)
            if base is not None and found is not None:
                share = share_text(found["value"])
                yield f"{words} with {printable(base['name'])}: {share} ({counted(found['n'], 'image')})"


def _noise(document: Document) -> list[str]:
    return [f"noise floor: {document['noise']['words']}"] if document["noise"] else []


def _ratio_cells(file: File, base: File) -> list[str]:
    drop = number(file, "drop")
    return [
        RATIO,
        _times(file, base, "parameters", "fewer", "more"),
        _times(file, base, "macs", "fewer", "more"),
        _times(file, base, "size", "smaller", "larger"),
        "" if drop is None else f"drop {drop:+.2f}\npoints",
        _latency_cell(file),
        "",
        "",
    ]


def _latency_cell(file: File) -> str:
    kind, found = file["verdict"]["kind"], record(file, "speedup")
    assert found is not None
    if kind in ("unsure", "noisy"):
        return "unsure" if kind == "unsure" else "too noisy\nto judge"
    if kind == "same":
        return "no difference\ndetected"
    word = "faster" if found["value"] > 1 else "slower"
    return f"{times(found['value'])} {word}\n{interval_text(found['low'], found['high'])}"


def _times(file: File, base: File, count: str, less: str, more: str) -> str:
    """The baseline's count over the file's own, in words that hold for the file: "2x fewer", "1.01x more"."""
    own, other = number(file, count), number(base, count)
    if not own or not other:
        return "?"
    if own == other:
        return "the same"
    return f"{times(other / own)}\n{less if other > own else more}"


def _protocol(document: Document) -> str:
    machine = document["machine"]
    load = "unknown" if machine["load_average"] is None else machine["load_average"][0]
    where = f"{printable(str(machine['cpu']))} ({machine['cores_usable']} cores, load {load})"
    return f"{protocol_text(document)} in turn, on {where}; latency is of the network alone, its input scaled before"
