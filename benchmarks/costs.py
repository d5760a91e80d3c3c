"""What a shipped file weighs: bytes, parameters, stored values and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator

from compress.evidence import Record
from exports import Artefact, format_of

COUNTS = ("parameters", "values", "macs")


def size(exported: Artefact) -> dict[str, int | None]:
    """The size of an exported file, as JSON-able data.

    Keys: `parameters` (of the network it was exported from, batch-norm included; None if the file does not tell),
    `values` (stored in the file), `macs` (of one image; None where a shape is left open) and `size_bytes`.

    Raises:
        ExportError: The file is not of the format that its name says.
    """
    census = format_of(exported.path).census(exported.path)
    return {
        "parameters": exported.provenance.parameters if exported.provenance else None,
        "values": census.parameters,
        "macs": census.macs,
        "size_bytes": exported.size_bytes,
    }


def cost_records(exported: Artefact) -> Iterator[Record]:
    """The size of an exported file as records, those that are known; see `size`."""
    counts = size(exported)
    for name in COUNTS:
        if counts[name] is not None:
            yield Record(name, counts[name], sha256=exported.sha256)
    yield Record("size", counts["size_bytes"], unit="bytes", sha256=exported.sha256)
