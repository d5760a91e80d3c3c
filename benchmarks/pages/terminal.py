"""A benchmark as a table for the terminal, with all that has to be said of it; see `benchmarks.document`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from benchmarks.document import Document, File, baseline, number, record, with_short_names
from benchmarks.pages import conditions, hurt
from benchmarks.pages.words import amount, milliseconds
from benchmarks.verdict import interval_text, times
from compress.text import printable
from exports.parity import share_text

ANY_WIDTH = 10_000
HEAD = ("file", "params", "MACs", "size", "{}\n[95 %]", "median ms", "p95 ms")
METRICS = {"top1": "top-1 %", "miou": "mIoU %", "map_e_exact": "mAP %"}
AGREEMENTS = {"top1_agreement": "top-1 agreement", "pixel_agreement": "pixel agreement"}


def render(document: Document, console: Console) -> Group:
    """The files and their ratios to the baseline, the verdicts on latency, how it was measured, and the warnings.

    Args:
        document: A benchmark.
        console: Where it will be printed; one too narrow for a table gets a block of lines for each file.
    """
    made = _made(document)
    document = with_short_names(document)
    table = _table(document)
    head, *rows = cells(document)
    shown = [table] if _fits(table, console) else _blocks(head, rows)
    for told in conditions.tables(document):
        table = _told(told)
        shown += [Text(told.caption), *([table] if _fits(table, console) else _blocks(told.head, told.rows))]
    notes = [Text(line, style="dim") for line in (_protocol(document), *made)]
    about = (*_verdicts(document), *_agreements(document), *hurt.lines(document))
    lines = (*about, *_noise(document), *conditions.unmeasured(document))
    said = [Text(line) for line in lines]
    warnings = [Text(f"warning: {printable(warning)}", style="yellow") for warning in document["warnings"]]
    return Group(*shown, *said, *notes, *warnings)


def cells(document: Document) -> list[list[str]]:
    """The table as text: its head, each file, and below it its ratio to the baseline; some cells have two lines."""
    head = [name.format(_metric(document)) for name in HEAD]
    return [head, *(row for row, _ in _rows(with_short_names(document)))]


def protocol_text(document: Document) -> str:
    """How it was measured, in a few words."""
    protocol = document["protocol"]
    threads = "1 thread" if protocol["threads"] == 1 else f"{protocol['threads']} threads"
    sessions = f"{protocol['sessions']} sessions"
    pinned = f", on CPU {' and '.join(map(str, protocol['pin']))}" if protocol["pin"] else ""
    counts = f"{sessions}, {protocol['rounds']} rounds"
    return f"{protocol['runtime']}, {threads}{pinned}, batch {protocol['batch']}, {counts}"


def _rows(document: Document) -> Iterator[tuple[list[str], bool]]:
    """Each row, and whether it is a ratio; the baseline comes first where several files are held against it."""
    base, files = baseline(document), document["files"]
    for file in sorted(files, key=lambda one: one is not base) if len(files) > 2 else files:
        yield _file_cells(file), False
        if base is not None and file is not base and len(files) > 2 and not file["reason"]:
            yield _ratio_cells(file, base), True
    if base is not None and len(files) == 2:
        other = next(file for file in files if file is not base)
        if not other["reason"]:
            yield _ratio_cells(other, base), True


def _table(document: Document) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    first, *others = cells(document)[0]
    table.add_column(first, overflow="fold", min_width=10)
    for name in others:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row, is_ratio in _rows(document):
        table.add_row(*map(Text, row), style="bold" if is_ratio else None)
    return table


def _told(told: conditions.Told) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    first, *others = told.head
    table.add_column(first, overflow="fold", min_width=10)
    for name in others:
        table.add_column(Text(name), justify="right", no_wrap=name != told.wordy)
    for row in told.rows:
        table.add_row(*map(Text, row))
    return table


def _fits(table: Table, console: Console) -> bool:
    return Measurement.get(console, console.options.update(width=ANY_WIDTH), table).minimum <= console.width


def _blocks(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[Text | Table]:
    """Each row of the table as its name and, below it, a line for each of its cells that is not empty."""
    _, *names = head
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


def _verdicts(document: Document) -> Iterator[str]:
    """What may be said of each latency, and why a file was not measured."""
    several = len(document["files"]) > 2
    for file in document["files"]:
        name = printable(file["name"])
        if file["verdict"]:
            yield f"latency{f' of {name}' if several else ''}: {file['verdict']['words']}"
        if file["reason"]:
            yield f"{name}: not measured: {printable(file['reason'])}"


def _agreements(document: Document) -> Iterator[str]:
    """A line about the share of images, or pixels, that a file and the baseline decide alike, where it was measured."""
    base = baseline(document)
    for file in document["files"]:
        for quantity, words in AGREEMENTS.items():
            found = record(file, quantity)
            if base is not None and found is not None:
                other, of = (printable(one["name"]) for one in (base, file))
                named = f" of {of}" if len(document["files"]) > 2 else ""
                yield f"{words}{named} with {other}: {share_text(found['value'])} ({found['n']:,} images)"


def _noise(document: Document) -> list[str]:
    return [f"noise floor: {document['noise']['words']}"] if document["noise"] else []


def _ratio_cells(file: File, base: File) -> list[str]:
    drop = number(file, "drop")
    return [
        "ratio",
        _times(file, base, "parameters", "fewer", "more"),
        _times(file, base, "macs", "fewer", "more"),
        _times(file, base, "size", "smaller", "larger"),
        "" if drop is None else f"{0.0 - drop:+.2f}\npoints",
        _latency_cell(file),
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


def _made(document: Document) -> list[str]:
    made = [one for one in document["files"] if not one["reason"]]
    return [f"{printable(one['name'])}: {one['made']}" for one in made if one["made"] != "as given"]
