"""What `edgepress quantize --sensitivity` shows: which layers mind being quantized."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from compress.checkpoint import Checkpoint
    from compress.quantization import Grid, Rounding, Scheme

FLOAT_BITS = 32


def show(
    before: Checkpoint,
    scheme: Scheme,
    grids: Sequence[Grid],
    images: Sequence[Tensor],
    rounding: Rounding,
    output: Path,
    *,
    force: bool,
) -> None:
    """Write and print what it costs to quantize each layer alone.

    Args:
        before: The network with float weights.
        scheme: Whether what goes through a layer is quantized with it.
        grids: Layers and their bits.
        images: Batches of normalised training images.
        rounding: As the layers would be rounded.
        output: A .json file.
        force: Allow a file that exists to be replaced.
    """
    from cli import parse, say
    from compress.evidence import Record, weights_digest
    from compress.files import write_text
    from compress.quantization import sensitivities

    rows = sensitivities(before.network, scheme, grids, images, rounding)
    seen, digest = sum(map(len, images)), weights_digest(before.network.model)
    told = [(r.grid.module, f"{r.weights:,}", f"{_saved_bytes(r.grid, r.weights):,}", f"{r.error:.2e}") for r in rows]
    records = parse.stamped(Record("relative_squared_error", row.error, n=seen, sha256=digest) for row in rows)
    layers = [
        {
            "layer": row.grid.module,
            "bits": row.grid.bits,
            "weights": row.weights,
            "saved_bytes": _saved_bytes(row.grid, row.weights),
            "record": record,
        }
        for row, record in zip(rows, records, strict=True)
    ]
    facts = {"file": output, "rounding": rounding, "images": seen, "layers": layers}
    write_text(output, say.to_json(facts) + "\n", force=force)
    table = say.table(("layer", "weights", "bytes saved", "error"), told)
    unit = "error: mean squared change of the outputs over their variance, the layer alone quantized"
    say.result(facts, table, f"{unit}, on {seen:,} training images", f"written: {output}")


def _saved_bytes(grid: Grid, weights: int) -> int:
    return weights * (FLOAT_BITS - grid.bits) // 8
