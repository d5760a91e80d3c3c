"""The seal of a .pte file: a digest of every other byte in it, by which a changed weight or label shows."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from exports.graph.model_file import read_bytes
from exports.graph.seal import KEY, check_digest

_MARK = f"{KEY}:"
_WRITTEN = re.compile(re.escape(_MARK.encode()) + rb"([0-9a-f]{64})\0")
BLANK = _MARK + "0" * 64  # of the length of a digest in hexadecimal digits


def sealed(content: bytes) -> bytes:
    """The file with the digest where it held a blank seal."""
    return content.replace(BLANK.encode(), f"{_MARK}{digest(content)}".encode())


def digest(content: bytes) -> str:
    """The hexadecimal SHA-256 of the file, its seal blank."""
    return hashlib.sha256(_WRITTEN.sub(BLANK.encode() + b"\0", content)).hexdigest()


def recorded(content: bytes) -> str:
    """The digest that the file was sealed with; "" if it has none, or more than one."""
    found = _WRITTEN.findall(content)
    return found[0].decode() if len(found) == 1 else ""


def differences(path: Path, other: Path) -> list[str]:
    """One phrase for what the first file has otherwise than the second; empty if it is the same, bit for bit."""
    first, second = (read_bytes(file, "a .pte file") for file in (path, other))
    if first == second:
        return []
    if len(first) != len(second):
        return [f"its size, {len(first):,} bytes and not {len(second):,}"]
    changed = sum(one != two for one, two in zip(first, second, strict=True))
    return [f"{changed:,} of {len(first):,} bytes"]


def check_seal(path: Path, content: bytes) -> None:
    """Nothing, once the file is as it was sealed; AlteredError if it is not, or its seal is missing."""
    check_digest(path, recorded(content), digest(content))
