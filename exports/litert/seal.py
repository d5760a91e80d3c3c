"""The seal of a .tflite file: a digest of every other byte in it, by which a changed weight or label shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

from exports.graph.seal import KEY, check_digest
from exports.litert.model_file import Model, note, parse

BLANK = b"0" * 64  # of the length of a digest in hexadecimal digits

Span = tuple[int, int]


def digest(content: bytes, span: Span | None) -> str:
    """The hexadecimal SHA-256 of the file whose seal, at `span`, is blank."""
    start, end = span or (0, 0)
    found = hashlib.sha256(content[:start])
    found.update(BLANK[: end - start])
    found.update(memoryview(content)[end:])
    return found.hexdigest()


def seal(path: Path, content: bytes) -> bytes:
    """The file with the digest where it held a blank seal."""
    start, end = note(path, parse(path, content), KEY) or (0, 0)
    return content[:start] + digest(content, (start, end)).encode() + content[end:]


def recorded(path: Path, model: Model, content: bytes) -> str:
    """The digest that the file was sealed with; "" if it has none."""
    span = note(path, model, KEY)
    return content[span[0] : span[1]].decode("ascii", "replace") if span else ""


def check_seal(path: Path, model: Model, content: bytes) -> None:
    """Nothing, once the file is as it was sealed; AlteredError if it is not, or its seal is missing."""
    check_digest(path, recorded(path, model, content), digest(content, note(path, model, KEY)))
