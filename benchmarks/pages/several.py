"""A benchmark of many files for the terminal: a row a file in each table, and what is alike for all of them said once.

See `benchmarks.pages.terminal` for the table of one or two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from benchmarks import claims
from benchmarks.claims import line
from benchmarks.document import Document, File, baseline, number, record
from benchmarks.pages import conditions, hurt, tables
from benchmarks.pages.names import SEVERAL, called, said_once, told_of, with_called
from benchmarks.pages.words import amount, milliseconds
from benchmarks.scored import CALIBRATION
from benchmarks.verdict import interval_text, times
from compress.text import counted, printable, share_text

METRICS = {"top1": "top-1 %", "miou": "mIoU %", "map_e_exact": "mAP %"}
AGREEMENTS = ("top1_agreement", "pixel_agreement")
SAME, SAME_SHORT = "no detectable difference; would have seen", "no difference; would see"
TO_BASELINE = "to baseline"
COUNTED = {"params": "parameters", "MACs": "macs"}

Cell = Callable[[File], str]


def is_several(document: Document) -> bool:
    """Whether there are so many files that what they share is said once."""
    return len(document["files"]) >= SEVERAL


def shown(document: Document, console: Console) -> Iterator[RenderableType]:
    """What the files share, and the tables.

    Args:
        document: A benchmark.
        console: Where it will be printed.
    """
    yield from map(Text, _shared(document))
    document = with_called(document)
    files = [*_ordered(document)]
    names = ("file", *(printable(one["name"]) for one in files))
    parts = [_columns(files, head) for head in (_costs(document, files), _times(document), _scores(document, files))]
    yield from tables.drawn(names, parts, console)
    for told in conditions.tables(document):
        first, *columns = zip(told.head, *([_line(cell) for cell in row] for row in told.rows), strict=True)
        yield Text(told.caption)
        yield from tables.drawn(_named_once(first), [columns], console, wordy=told.wordy)


def lines(document: Document) -> Iterator[str]:
    """What the tables do not say: doubts about a latency, whom a file hurts, and why a file was not measured."""
    document = with_called(document)
    files = document["files"]
    held = sum(one["hurt"] is not None for one in files)
    yield from _doubts(files)
    yield from said_once(((one["name"], hurt.hurt_text(one)) for one in files), held)
    yield from said_once(((one["name"], _reason(one)) for one in files), len(files))
    yield from said_once(conditions.unmeasured_of(document), len(files))


def made(document: Document) -> Iterator[str]:
    """How files came to be that are not as they were given."""
    files = [one for one in with_called(document)["files"] if not one["reason"]]
    return said_once(((one["name"], one["made"] if one["made"] != "as given" else "") for one in files), len(files))


def warnings(document: Document) -> Iterator[str]:
    """The warnings, each once."""
    files = document["files"]
    paths = [one["name"] for one in files]
    names = called(paths, document["baseline"]).names
    return told_of(document["warnings"], dict(zip(paths, names, strict=True)))


def claimed(document: Document) -> Iterator[str]:
    """A line for each claim that is not met, one for each file that was not measured, and one for each that is met."""
    met: dict[str, list[str]] = {}
    judged, left_out = claims.judged(with_called(document))
    for one in judged:
        if one["held"] == "met":
            met.setdefault(one["claim"], []).append(one["file"])
        else:
            yield line(one["held"], one["sentence"])
    yield from (line("not shown", f"{name}: {said}") for name, said in left_out)
    for claim, files in met.items():
        bound = next(one["bound"] for one in document["claims"] if one["claim"] == claim)
        yield line("met", f"--{claim} {bound:,.10g}: {', '.join(files)}")


def _shared(document: Document) -> Iterator[str]:
    files, base = document["files"], baseline(document)
    shared = called([one["name"] for one in files], document["baseline"]).shared
    held = f", held against {printable(with_called(document)['files'][document['baseline']]['name'])}" if base else ""
    count = len(files) - 1 if base else len(files)
    yield f"{counted(count, 'file')}{f', {printable(shared)}' if shared else ''}{held}"
    alike = [f"{texts[0]} {head}" for head, texts in _counts(files).items() if _is_alike(texts)]
    if alike:
        yield f"all files: {', '.join(alike)}"


def _ordered(document: Document) -> Iterator[File]:
    """The baseline first."""
    base = baseline(document)
    return iter(sorted(document["files"], key=lambda one: one is not base))


def _columns(files: Sequence[File], cells: Mapping[str, Cell]) -> list[tuple[str, ...]]:
    """Those in which something stands."""
    made = [(head, *(_missing(head) if one["reason"] else cell(one) for one in files)) for head, cell in cells.items()]
    return [column for column in made if any(column[1:])]


def _missing(head: str) -> str:
    """What stands in a column for a file that was not measured."""
    return "not measured" if TO_BASELINE in head else ""


def _costs(document: Document, files: Sequence[File]) -> dict[str, Cell]:
    base = baseline(document)
    differ = [head for head, texts in _counts(files).items() if not _is_alike(texts)]
    counts: dict[str, Cell] = {head: partial(_count, head=head) for head in differ}
    return {
        **counts,
        "size": lambda file: amount(number(file, "size"), "B"),
        f"size\n{TO_BASELINE}": lambda file: "" if base is None else _size_text(file, base),
    }


def _times(document: Document) -> dict[str, Cell]:
    base = baseline(document)
    return {
        "median ms": lambda file: milliseconds(number(file, "latency")),
        "p95 ms": lambda file: milliseconds(number(file, "latency_p95")),
        "p99 ms": lambda file: milliseconds(number(file, "latency_p99")),
        f"latency\n{TO_BASELINE} [95 %]": lambda file: "" if file is base else _latency_text(file),
    }


def _scores(document: Document, files: Sequence[File]) -> dict[str, Cell]:
    if document["data"] is None:
        return {}
    metric = next((METRICS.get(one["metric"], f"{one['metric']} %") for one in files if one.get("metric")), "score %")
    return {
        f"{metric}\n[95 %]": lambda file: _percent(record(file, file["metric"]), ends=True),
        "drop,\npoints": _drop,
        "decided\nalike": _alike,
        "lost\n/ won": _flips,
        "calib.\nerror %": lambda file: _percent(record(file, CALIBRATION)),
    }


def _counts(files: Sequence[File]) -> dict[str, list[str]]:
    """What is counted, of each file that was measured."""
    measured = [one for one in files if not one["reason"]]
    return {head: [_count(one, head) for one in measured] for head in COUNTED}


def _count(file: File, head: str) -> str:
    return amount(number(file, COUNTED[head]))


def _is_alike(texts: Sequence[str]) -> bool:
    return len(set(texts)) == 1


def _size_text(file: File, base: File) -> str:
    own, other = number(file, "size"), number(base, "size")
    if file is base or not own or not other:
        return ""
    return "the same" if own == other else f"{times(other / own)} {'smaller' if own < other else 'larger'}"


def _latency_text(file: File) -> str:
    verdict, found = file["verdict"], record(file, "speedup")
    if verdict is None or found is None:
        return ""
    if verdict["kind"] in ("unsure", "noisy"):
        return "unsure" if verdict["kind"] == "unsure" else conditions.NOISY
    if verdict["kind"] == "same":
        return _line(str(verdict["words"]))
    word = "faster" if found["value"] > 1 else "slower"
    return f"{times(found['value'])} {word} {interval_text(found['low'], found['high'])}"


def _percent(found: Mapping[str, Any] | None, *, ends: bool = False) -> str:
    if found is None or found["value"] is None:
        return ""
    value, low, high = (f"{100 * found[key]:.2f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if ends else value


def _drop(file: File) -> str:
    drop = number(file, "drop")
    return "" if drop is None else f"{drop:+.2f}"


def _flips(file: File) -> str:
    lost, won = (number(file, f"images_{end}") for end in ("lost", "won"))
    return "" if lost is None or won is None else f"{lost:,.0f} / {won:,.0f}"


def _alike(file: File) -> str:
    found = next((number(file, one) for one in AGREEMENTS if record(file, one) is not None), None)
    return "" if found is None else share_text(found)


def _doubts(files: Sequence[File]) -> Iterator[str]:
    """Why a latency was not judged, a line a file, and what to do about it."""
    doubtful = [one for one in files if one["verdict"] and one["verdict"]["kind"] in ("unsure", "noisy")]
    split = [(one["name"], one["verdict"]["words"].rpartition("; ")) for one in doubtful]
    yield from (f"latency of {printable(name)}: {fact}" for name, (fact, _, _) in split)
    yield from dict.fromkeys(f"what to do about it: {advice}" for _, (_, _, advice) in split)


def _reason(file: File) -> str:
    return f"not measured: {printable(file['reason'])}" if file["reason"] else ""


def _named_once(column: Sequence[str]) -> list[str]:
    """The column without the names that stand in the row above already."""
    return [name if at == 0 or name != column[at - 1] else "" for at, name in enumerate(column)]


def _line(cell: str) -> str:
    """A cell in one line, and no longer than it has to be."""
    return "unsure" if cell.startswith("unsure: ") else cell.replace("\n", " ").replace(SAME, SAME_SHORT)
