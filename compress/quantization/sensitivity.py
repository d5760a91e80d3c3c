"""Which layers mind being quantized: each one alone, on images that no result is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.edits import Grid
from compress.quantization.quantize import quantize
from compress.quantization.scheme import Rounding, Scheme, plan_values
from compress.stages import Staged, evaluating


@dataclass(frozen=True)
class Sensitivity:
    """What happens when one layer alone is quantized.

    Attributes:
        grid: The layer and its bits.
        weights: How many it has.
        error: The mean squared change of the outputs, over their variance; 0 is none.
    """

    grid: Grid
    weights: int
    error: float


@torch.no_grad()
def sensitivities(
    network: Staged, scheme: Scheme, grids: Sequence[Grid], images: Sequence[Tensor], rounding: Rounding
) -> list[Sensitivity]:
    """Every layer with what it costs to quantize it alone, the most sensitive first.

    Args:
        network: Left as it is.
        scheme: Whether what goes through a layer is quantized with it.
        grids: Layers and their bits.
        images: Batches (B, C, H, W) of normalised images, best of training.
        rounding: As the layers will be rounded.
    """
    expected = _outputs(network, images)
    variance = expected.var(dim=0, correction=0).mean().clamp_min(torch.finfo(expected.dtype).tiny)
    rows = []
    for grid in grids:
        values = plan_values(network, scheme, [grid], images[0][:1])
        small = quantize(network, [grid], activations=values, rounding=rounding, images=images)
        found = _outputs(small, images)
        error = float((found - expected).square().mean() / variance)
        rows.append(Sensitivity(grid, network.model.get_parameter(f"{grid.module}.weight").numel(), error))
    return sorted(rows, key=lambda row: row.error, reverse=True)


def _outputs(network: Staged, images: Sequence[Tensor]) -> Tensor:
    with evaluating(network.model):
        return torch.cat([network.model(batch).flatten(1) for batch in images]).double()
