"""Networks in edge formats: written, read back as callables, and verified against their source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from compress.errors import ExportError
from exports import to_onnx
from exports.artefact import Exported, Parity, Provenance, noise, verify

__all__ = ["EXPORTERS", "Exported", "Format", "Parity", "Provenance", "format_of", "noise", "verify"]


@dataclass(frozen=True)
class Format:
    """The two ends of an edge format.

    Attributes:
        export: Writes a checkpoint: (checkpoint, path, *, images, opset, force) to an Exported.
        read: Opens a file: (path, *, threads) to an Exported.
    """

    export: Callable[..., Exported]
    read: Callable[..., Exported]


EXPORTERS: Mapping[str, Format] = {
    ".onnx": Format(to_onnx.export, to_onnx.read),
}


def format_of(path: Path) -> Format:
    """The format that the suffix of `path` names; ExportError for an unknown one."""
    if path.suffix not in EXPORTERS:
        found = repr(path.suffix) if path.suffix else "a name without a suffix"
        raise ExportError(f"{path}: {found} is no edge format; known are {', '.join(EXPORTERS)}")
    return EXPORTERS[path.suffix]
