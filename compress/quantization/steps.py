"""The step of each output channel of a weight: as small as a grid of few codes allows."""

from __future__ import annotations

import torch
from torch import Tensor

from compress.quantization.grids import code_range

SHRINKS = 80  # tried steps of a channel, from its largest value down
SHORTENED = 12.8  # codes by which the least of them shortens the range; at most four fifths of it


@torch.no_grad()
def best_steps(weight: Tensor, bits: int) -> Tensor:
    """(O,) steps, of either sign, with the least squared error of rounding, by a search over clipped ranges.

    Args:
        weight: (O, I, ...).
        bits: Of a code, 2, 4 or 8.
    """
    rows = weight.detach().flatten(1)
    low, high = code_range(bits)
    largest = rows.abs().amax(1)
    span = min(0.8, SHORTENED / high)
    best, least = _whole(largest, bits), torch.full_like(largest, torch.inf)
    for sign in (1.0,) if -low == high else (1.0, -1.0):
        for shrink in range(SHRINKS):
            step = sign * _whole(largest, bits) * (1 - span * shrink / SHRINKS)
            rounded = (rows / step[:, None]).clamp(low, high).round() * step[:, None]
            error = (rounded - rows).square().sum(1)
            best, least = torch.where(error < least, step, best), torch.minimum(error, least)
    return best


def _whole(largest: Tensor, bits: int) -> Tensor:
    """The step at which no value is clipped; 1 for a channel of zeros."""
    return torch.where(largest > 0, largest / code_range(bits)[1], 1.0)
