"""What a shipped file weighs: bytes, parameters, stored values and multiply-accumulates."""

from __future__ import annotations

from exports import Artefact
from exports.graph.census import graph_census


def size(exported: Artefact) -> dict[str, int | None]:
    """The size of an exported file, as JSON-able data.

    Keys: `parameters` (of the network it was exported from, batch-norm included; None if the file does not tell),
    `values` (stored in the file), `macs` (of one image; None where a shape is left open) and `size_bytes`.

    Raises:
        ExportError: The file is not an ONNX model.
    """
    census = graph_census(exported.path)
    return {
        "parameters": exported.provenance.parameters if exported.provenance else None,
        "values": census.parameters,
        "macs": census.macs,
        "size_bytes": exported.size_bytes,
    }
