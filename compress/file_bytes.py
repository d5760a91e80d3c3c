"""Where the bytes of a .safetensors file go: to the tensors of each module, to the card or to the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.header import KEY, read_header

_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}
_WHOLE = {"I": "int", "U": "uint"}
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class StoredTensor:
    """The values of one tensor as they lie in a file.

    Attributes:
        type: "float32", "int8", "int4" (two a byte), "int2" (four a byte) and so on.
        shape: Its sides.
        size_bytes: Of its values, without its name and shape.
    """

    type: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class CheckpointBytes:
    """All bytes of a checkpoint.

    Attributes:
        modules: Dotted name of a module to its own tensors by name, in the order of these names, "2" before "10".
        rest: What else there is to its bytes: card and header.
        size_bytes: Of the file: the sum of all the others.
    """

    modules: Mapping[str, Mapping[str, StoredTensor]]
    rest: Mapping[str, int]
    size_bytes: int


def checkpoint_bytes(path: Path) -> CheckpointBytes:
    """Where the bytes of a .safetensors file go, of edgepress or any other; no tensor is read.

    Raises:
        CheckpointError: The file is missing, a folder, or not whole.
    """
    _, metadata = read_header(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        entries: dict[str, Any] = json.loads(file.read(length))
    modules: dict[str, dict[str, StoredTensor]] = {}
    for key, entry in entries.items():
        if key != "__metadata__":
            module, _, name = key.rpartition(".")
            begin, end = entry["data_offsets"]
            modules.setdefault(module, {})[name] = StoredTensor(
                _type(entry["dtype"]), tuple(entry["shape"]), end - begin
            )
    card = len(json.dumps(metadata[KEY], ensure_ascii=False).encode()) if KEY in metadata else 0
    rest = {"card": card, "header": _LENGTH_BYTES + length - card}
    modules = {name: modules[name] for name in sorted(modules, key=_place)}
    return CheckpointBytes(modules, {part: size for part, size in rest.items() if size}, path.stat().st_size)


def _place(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in name.split(".")]


def _type(written: str) -> str:
    """ "I64" as "int64", as all of edgepress writes types."""
    if written in _TYPES:
        return _TYPES[written]
    return _WHOLE[written[0]] + written[1:] if written[0] in _WHOLE and written[1:].isdigit() else written.lower()
