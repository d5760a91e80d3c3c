"""What a benchmark measured besides one call at rest, as tables of text: other batches, from pixels, starts, long runs.

A page or a terminal draws them; a table that nothing was measured for is not there, and neither is such a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.document import Document, File, record
from benchmarks.pages.words import amount, milliseconds
from compress.text import printable

AGAINST = "against the baseline"
NOISY = "too noisy to judge"

RESTS = "Between frames the core rests, so that its clock and caches may be slower than in the rounds, call upon call."

Cells = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Told:
    """A table.

    Attributes:
        caption: What it is about, a sentence.
        head: Of its columns, the first of which names the file.
        rows: Their cells; some have two lines.
        wordy: The column, if any, whose cells are sentences.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    wordy: str = ""


def tables(document: Document) -> list[Told]:
    """Those that something was measured for.

    Args:
        document: A benchmark, its files called as they are to be called.
    """
    found = [_batches(document), _starts(document), _long_run(document)]
    return [one for one in found if one is not None]


def unmeasured(document: Document) -> Iterator[str]:
    """A line for what could not be measured of a file that was measured otherwise; names as of `tables`."""
    for name, sentence in unmeasured_of(document):
        yield f"{printable(name)}: {sentence}"


def unmeasured_of(document: Document) -> Iterator[tuple[str, str]]:
    """The same, as the name of the file and what is said of it."""
    for file in document["files"]:
        for one in file["records"]:
            if one["reason"]:
                yield file["name"], f"{one['quantity']}: not measured: {printable(one['reason'])}"


def _batches(document: Document) -> Told | None:
    first, *others = document["protocol"]["batches"]
    if not others:
        return None
    rows = []
    for file in _measured(document):
        for size in (first, *others):
            of = "" if size == first else f" batch {size}"
            if record(file, f"latency{of}") is not None:
                verdict = file["verdict"] if size == first else file.get("verdicts", {}).get(str(size))
                cells = [_cell(file, f"latency{of}", _ms), _cell(file, f"throughput{of}", _count)]
                rows.append([_name(file), str(size), *cells, _short(verdict)])
    head = ("file", "batch", "median ms", "images/s", AGAINST)
    return Told("Calls of several images.", head, rows, AGAINST)


def _starts(document: Document) -> Told | None:
    columns: Mapping[str, tuple[str, Cells]] = {
        "median ms": ("latency", _ms),
        "with\npreprocessing": ("latency_with_preprocessing", _ms),
        "cold\nstart ms": ("cold_start", _ms),
        "peak\nmemory": ("peak_memory", _bytes),
    }
    said = "From pixels, and in a fresh process: opening the file and its first answer, and the memory for it."
    return _by_columns(document, said, columns, needed=("latency_with_preprocessing", "cold_start"))


def _long_run(document: Document) -> Told | None:
    protocol = document["protocol"]
    columns: Mapping[str, tuple[str, Cells]] = {
        "median ms": ("sustained_latency", _ms),
        "p99 ms": ("sustained_p99", _ms),
        "drift": ("drift", _ratio),
        "longest\nstall ms": ("longest_stall", _ms),
        "frames\nlate": ("deadline_misses", _frames),
        "share\nlate": ("deadline_miss_share", _share),
    }
    pace = f"at {protocol['fps']:g} frames a second" if protocol["fps"] else "back to back"
    said = f"Each file on and on for {protocol['minutes']:g} minutes, {pace}; drift: the last fifth over the first."
    said += f" {RESTS}" if protocol["fps"] else ""
    return _by_columns(document, said, columns, needed=("sustained_latency",))


def _by_columns(
    document: Document, caption: str, columns: Mapping[str, tuple[str, Cells]], *, needed: Sequence[str]
) -> Told | None:
    files = list(_measured(document))
    there = {head: one for head, one in columns.items() if any(record(file, one[0]) for file in files)}
    if not any(record(file, name) for file in files for name in needed):
        return None
    rows = [[_name(file), *(_cell(file, *one) for one in there.values())] for file in files]
    return Told(caption, ("file", *there), rows)


def _measured(document: Document) -> Iterator[File]:
    return (file for file in document["files"] if not file["reason"])


def _name(file: File) -> str:
    return printable(file["name"])


def _cell(file: File, quantity: str, words: Cells) -> str:
    found = record(file, quantity)
    return "" if found is None else "not measured" if found["value"] is None else words(found)


def _ms(found: Mapping[str, Any]) -> str:
    ends = "" if found["low"] is None else f"\n[{milliseconds(found['low'])}, {milliseconds(found['high'])}]"
    return f"{milliseconds(found['value'])}{ends}"


def _short(verdict: Mapping[str, str] | None) -> str:
    if verdict is None:
        return ""
    return NOISY if verdict["kind"] == "noisy" else verdict["words"]


def _count(found: Mapping[str, Any]) -> str:
    return amount(found["value"])


def _bytes(found: Mapping[str, Any]) -> str:
    return amount(found["value"], "B")


def _ratio(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f}x\n[{found['low']:.3f}, {found['high']:.3f}]"


def _frames(found: Mapping[str, Any]) -> str:
    return f"{found['value']:,}\nof {found['n']:,}"


def _share(found: Mapping[str, Any]) -> str:
    return f"{100 * found['value']:.2f} %\n[{100 * found['low']:.2f}, {100 * found['high']:.2f}]"
