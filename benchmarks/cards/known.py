"""All that is known of a shipped file: what it says of itself, what it weighs, and what a benchmark found of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.costs import cost_records
from benchmarks.document import Document, File, baseline, is_benchmark, read_unaltered
from benchmarks.endurance import MISS_SHARE
from compress.errors import DataError
from compress.evidence import Record
from exports import Artefact, format_of
from exports.folder import content_of


def is_of_images(record: Record) -> bool:
    """Whether a number says how images were answered: a share of them, or points of one, and not a share of frames."""
    return record.unit in ("share", "points") and record.quantity != MISS_SHARE


@dataclass(frozen=True)
class Bench:
    """A benchmark that measured the file.

    Attributes:
        name: Of its file.
        sha256: Hexadecimal digest of that file.
        document: See `benchmarks.document`.
        file: The part of it that is about this file.
    """

    name: str
    sha256: str
    document: Document
    file: File

    @property
    def claims(self) -> list[tuple[str, str]]:
        """What was claimed of the file: whether it held, see `benchmarks.claims`, and the sentence without the name."""
        name = self.file["name"]
        claimed = (one for one in self.document["claims"] if one["file"] == name)
        return [(one["held"], one["sentence"].removeprefix(f"{name}: ")) for one in claimed]

    @property
    def baseline(self) -> File | None:
        """What the file was held against; None where it was held against nothing."""
        found = baseline(self.document)
        return None if found is self.file else found


@dataclass(frozen=True)
class Known:
    """A shipped file and what is known of it.

    Attributes:
        artefact: The file, opened.
        digests: Name to hexadecimal SHA-256: of the file, or of every file of its folder.
        records: Every number that is known of it.
        bench: Who measured them; None where nobody did, and then they are what the file itself weighs.
    """

    artefact: Artefact
    digests: Mapping[str, str]
    records: Sequence[Record]
    bench: Bench | None

    @property
    def name(self) -> str:
        """Of the file, without its folder."""
        return self.artefact.path.name

    @property
    def data(self) -> Mapping[str, Any] | None:
        """What its quality was measured on, see `benchmarks.document`; None where it was not."""
        data: Mapping[str, Any] | None = self.bench.document["data"] if self.bench else None
        return data

    @property
    def lineage(self) -> Sequence[Mapping[str, Any]]:
        """Each step that led to the file; empty where it does not say."""
        return self.artefact.card.lineage if self.artefact.card else ()


def look(path: Path, bench: Path | None) -> Known:
    """What is known of a shipped file.

    Args:
        path: The file.
        bench: A benchmark that may have measured it; None to take one that lies beside the file.

    Raises:
        DataError: The benchmark is none, or several that lie beside the file measured it.
        ExportError: The file cannot be read.
        GateError: The benchmark was altered.
    """
    artefact = format_of(path).read(path)
    found = [_opened(one, artefact) for one in ([bench] if bench else _beside(path))]
    measured = [one for one in found if one is not None]
    if len(measured) > 1:
        names = " and ".join(one.name for one in measured)
        raise DataError(f"{path}: {names} beside it have measured it; say which counts: --bench {measured[0].name}")
    chosen = measured[0] if measured else None
    records = [Record.from_dict(one) for one in chosen.file["records"]] if chosen else [*cost_records(artefact)]
    return Known(artefact, _digests(artefact), records, chosen)


def _beside(path: Path) -> list[Path]:
    """The benchmarks in the folder of a file."""
    return [one for one in sorted(path.parent.glob("*.json")) if is_benchmark(one)]


def _opened(path: Path, artefact: Artefact) -> Bench | None:
    """The benchmark in a file, where it measured the artefact."""
    document = read_unaltered(path)
    file = next((one for one in document["files"] if one.get("sha256") == artefact.sha256), None)
    return None if file is None else Bench(path.name, _sha256(path.read_bytes()), document, file)


def _digests(artefact: Artefact) -> dict[str, str]:
    path = artefact.path
    if not path.is_dir():
        return {path.name: artefact.sha256}
    return {f"{path.name}/{name}": _sha256(held) for name, held in content_of(path, "an exported folder").items()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
