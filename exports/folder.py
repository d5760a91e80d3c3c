"""A format that is a folder of files: its content, and beside it the label and the seal in `edgepress.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from compress.card import Card
from compress.errors import ExportError
from exports import label
from exports.artefact import Provenance
from exports.graph import seal
from exports.graph.model_file import LARGEST_FILE_BYTES, read_bytes

LABEL = f"{label.KEY}.json"
MOST_FILES = 100

Content = Mapping[str, bytes]


def content_of(path: Path, kind: str, needed: tuple[str, ...] = ()) -> Content:
    """Every file of a folder by its place in it; hidden ones, which no runtime reads, are left out.

    Args:
        path: The folder.
        kind: What it ought to be, for messages.
        needed: Files that must be there.

    Raises:
        ExportError: It is missing, is no folder, lacks a file, or holds more than such a folder does.
    """
    if not path.is_dir():
        raise ExportError(f"{path} {'is a file' if path.exists() else 'does not exist'}; give {kind}, a folder")
    lost = [name for name in needed if not (path / name).is_file()]
    if lost:
        raise ExportError(f"{path}: is not {kind}, or is damaged: {' and '.join(lost)} is not there; export it again")
    found = islice((file for file in path.rglob("*") if not file.is_dir()), MOST_FILES + 1)
    places = sorted((file.relative_to(path).as_posix(), file) for file in found)
    if len(places) > MOST_FILES:
        raise ExportError(f"{path}: holds more than {MOST_FILES} files; give {kind}")
    content: dict[str, bytes] = {}
    for place, file in places:
        if not any(part.startswith(".") for part in place.split("/")):
            content[place] = read_bytes(file, f"a file of {kind}")
            if size_bytes(content) > LARGEST_FILE_BYTES:
                raise ExportError(f"{path}: has more than {LARGEST_FILE_BYTES:,} bytes; give {kind}")
    return content


def size_bytes(content: Content) -> int:
    """Of all files."""
    return sum(map(len, content.values()))


def sha256(content: Content) -> str:
    """The hexadecimal SHA-256 of the names of all files and the digests of what is in them."""
    lines = (f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, held in content.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def own_metadata(path: Path, content: Content, *, sealed: bool) -> tuple[Card, Provenance] | tuple[None, None]:
    """The card and the provenance in the label of a folder; None where it has none.

    Args:
        path: Of the folder, for messages.
        content: What is in it.
        sealed: Refuse one that was altered since edgepress wrote it.

    Raises:
        ExportError: The label is damaged.
        AlteredError: Its files or its label are not as they were written.
    """
    if LABEL not in content:
        return None, None
    told = _told(path, content[LABEL])
    text = json.dumps(told[label.KEY], separators=(",", ":"))
    own, written = label.read_label(path, text), str(told.get(seal.KEY, ""))
    if sealed:
        seal.check_digest(path, written, seal_of(content, text))
    return own.card, replace(own.provenance, graph_sha256=written)


def differences(path: Path, other: Path) -> list[str]:
    """One phrase each for what the first folder has otherwise than the second; empty if it is the same, bit for bit.

    Raises:
        ExportError: One of them cannot be read.
    """
    first, second = (content_of(folder, "a folder that edgepress wrote") for folder in (path, other))
    found = [name for name in sorted({*first, *second} - {LABEL}) if first.get(name) != second.get(name)]
    told = [_told(path, content[LABEL])[label.KEY] if LABEL in content else None for content in (first, second)]
    return [*found, *([] if told[0] == told[1] else ["the label (card, preprocessing or provenance)"])]


def _told(path: Path, held: bytes) -> dict[str, object]:
    try:
        told = json.loads(held)
        if not isinstance(told, dict) or label.KEY not in told:
            raise ValueError(f"it has no {label.KEY!r}")
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: its {LABEL} is damaged: {error!s:.300}; export it again") from error
    return told


def seal_of(content: Content, text: str) -> str:
    """The digest of every file but the one that holds it, and of the label."""
    return sha256({**{name: held for name, held in content.items() if name != LABEL}, LABEL: text.encode()})
