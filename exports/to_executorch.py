"""A checkpoint as a .pte file: a program of ExecuTorch whose network runs in XNNPACK, with its label as a method."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from exports import label
from exports.executorch_seal import BLANK, sealed
from exports.extras import need
from exports.labelling import describe
from exports.quiet import STDERR, STDOUT, quiet, silent
from exports.source import Settings, check_floats, noise, source_network

EXTRA = "executorch"
METHOD, LABEL, SEAL = "forward", label.KEY, f"{label.KEY}_sha256"
_ADAPTIVE_MAX = torch.ops.aten.adaptive_max_pool2d.default  # which ExecuTorch has no operator for
_XNNPACK = "executorch.backends.xnnpack.partition.xnnpack_partitioner"


def write(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """Write the network for one image at a time; its weights are stored as float32.

    The label and the seal are methods without an input that give a text: `edgepress` and `edgepress_sha256`.

    Raises:
        ExportError: It is to take pixels or store codes, which the file could not, or ExecuTorch cannot express it.
        MissingExtraError: ExecuTorch is not installed.
    """
    exir, xnnpack = need(EXTRA, "executorch.exir"), need(EXTRA, _XNNPACK)
    check_floats(path, "ExecuTorch", checkpoint, settings)
    notes = {LABEL: describe(checkpoint, settings), SEAL: BLANK} if settings.label else None
    try:
        with quiet(), silent(STDOUT, STDERR):
            program = torch.export.export(source_network(checkpoint), (noise(checkpoint.card, 1),))
            program = program.run_decompositions({_ADAPTIVE_MAX: _largest})
            lowered = exir.to_edge_transform_and_lower(
                program, partitioner=[xnnpack.XnnpackPartitioner()], constant_methods=notes
            )
            content = bytes(lowered.to_executorch().buffer)
    except Exception as error:  # torch.export and ExecuTorch raise whatever the operator at hand throws
        reason = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
        raise ExportError(f"{path.name}: ExecuTorch cannot express this network: {reason:.300}") from error
    path.write_bytes(sealed(content) if settings.label else content)


def _largest(maps: Tensor, size: Sequence[int]) -> Any:
    """(B, C, H, W) maps to the largest value of each, (B, C, 1, 1), and where it is; for other sizes, no answer."""
    if [*size] != [1, 1]:
        return NotImplemented
    return maps.amax((-2, -1), keepdim=True), maps.flatten(-2).argmax(-1)[..., None, None]
