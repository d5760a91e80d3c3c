"""What a page is about: the files of a benchmark in the order and by the numbers and names in which it shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.document import Document, File, number, record
from benchmarks.pages.names import SEVERAL, called
from benchmarks.raw import Counts, Raw
from benchmarks.scored import class_name

SCORES: Mapping[str, str] = {"top1": "top-1 accuracy", "miou": "mean IoU", "map_e_exact": "mAP"}


@dataclass(frozen=True)
class Entry:
    """A file.

    Attributes:
        place: In the document, from 0.
        number: In the page, from 1; the baseline is the first.
        name: See `benchmarks.pages.names.called`.
        file: In the document.
        raw: Its raw samples, if it could be measured.
        base: Whether the others are held against it.
    """

    place: int
    number: int
    name: str
    file: File
    raw: Raw | None
    base: bool

    def value(self, quantity: str) -> float | None:
        """Of a record, None where there is none."""
        return number(self.file, quantity)

    def record(self, quantity: str) -> Mapping[str, Any] | None:
        """Of that quantity; None where there is none."""
        return record(self.file, quantity)

    @property
    def metric(self) -> str:
        """The one that stands for all of its task; "" where there is none."""
        return self.file.get("metric") or ""


@dataclass(frozen=True)
class View:
    """A benchmark, as it is shown.

    Attributes:
        document: The benchmark.
        entries: Every file, the baseline first.
        classes: The names of what images are told apart as; empty where they are not.
        shared: What the paths of several files begin with, the baseline's apart, and their names do not say.
    """

    document: Document
    entries: tuple[Entry, ...]
    classes: tuple[str, ...]
    shared: str

    @property
    def base(self) -> Entry | None:
        """What the others are held against."""
        return next((one for one in self.entries if one.base), None)

    @property
    def measured(self) -> list[Entry]:
        """Those that could be measured."""
        return [one for one in self.entries if one.raw is not None]

    @property
    def score(self) -> str:
        """The words for the metric of the first file that has one."""
        named = next((one.metric for one in self.entries if one.metric), "top1")
        return SCORES.get(named, named)


def view(document: Document, raws: Mapping[int, Raw]) -> View:
    """A benchmark and its raw samples, by the place of the file, as a page shows them."""
    files, place = document["files"], document["baseline"]
    found = called([file["name"] for file in files], place)
    order = sorted(range(len(files)), key=lambda at: at != place)
    entries = tuple(
        Entry(at, count, found.names[at], files[at], raws.get(at), at == place)
        for count, at in enumerate(order, start=1)
    )
    shared = found.shared if len(files) >= SEVERAL else ""
    return View(document, entries, _classes(document, entries), shared)


def confusion(decisions: Counts, labels: Counts, classes: int) -> Counts:
    """(classes, classes): how many images of each class (row) were taken for each class (column)."""
    import numpy as np

    return np.bincount(labels * classes + decisions, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def _classes(document: Document, entries: tuple[Entry, ...]) -> tuple[str, ...]:
    answers = [one.raw.decided for one in entries if one.raw is not None and one.raw.decided is not None]
    if not answers:
        return ()
    count = 1 + max(int(part.max()) for said in answers for part in (said.decisions, said.labels))
    told = list((document["data"] or {}).get("classes", ()))
    return tuple(class_name(told, at) for at in range(max(count, len(told))))
