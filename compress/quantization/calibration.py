"""The range of each value of the forward pass, from what it is on real images: its step, and the code of 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from compress.edits import ActivationGrid
from compress.errors import GateError, PlanError, unknown_name
from compress.quantization.activations import Spot, apply_activations, round_with
from compress.stages import Staged, evaluating

BINS = 2048
SHRINKS = 80  # tried ranges, from the whole one down
OUTLIERS = 1e-4  # of the values, at either end, that a range by percentile leaves out

Range = tuple[float, float]


def calibrated(
    network: Staged, grids: Sequence[ActivationGrid], images: Sequence[Tensor], by: str
) -> list[tuple[float, int]]:
    """The step and the code of 0 of each grid.

    Args:
        network: With float activations; left as it is.
        grids: Its values.
        images: Batches (B, C, H, W) of normalised images, at least one.
        by: A name in `RANGES`: "mse" has the least squared error of rounding, "percentile" leaves out the farthest
            0.01 % at either end, "min-max" leaves out nothing.

    Raises:
        PlanError: The name is unknown.
        GateError: A value is NaN or infinite.
    """
    choose = read_range(by)
    counts = _Counts(network, grids, images)
    scales = []
    for grid, (low, high), histogram in zip(grids, counts.ranges, counts.histograms, strict=True):
        top = 2**grid.bits - 1
        scales.append(_scale(choose(histogram, (low, high), top), top))
    return scales


def read_range(by: str) -> Callable[[Tensor, Range, int], Range]:
    """What chooses a range; PlanError for an unknown name."""
    if by not in RANGES:
        raise PlanError(unknown_name("calibration", by, RANGES))
    return RANGES[by]


class _Counts:
    """How often each value of the forward pass lies where: whole ranges first, then histograms of them."""

    def __init__(self, network: Staged, grids: Sequence[ActivationGrid], images: Sequence[Tensor]) -> None:
        self._watched, self._images = apply_activations(network, grids), images
        self._grids = grids
        self.ranges: list[Range] = [(0.0, 0.0)] * len(grids)  # 0 is among the codes, whatever the values
        self.histograms = [torch.zeros(BINS) for _ in grids]
        self._run(self._widen)
        self._run(self._count)

    @torch.no_grad()
    def _run(self, function: Callable[[Tensor, Spot], Tensor]) -> None:
        round_with(self._watched.model, function)
        with evaluating(self._watched.model):
            for batch in self._images:
                self._watched.model(batch)

    def _widen(self, value: Tensor, spot: Spot) -> Tensor:
        if spot.first:
            least, most = (float(end) for end in value.aminmax())
            if not (abs(least) < torch.inf and abs(most) < torch.inf):
                raise GateError(
                    f"the values {self._grids[spot.grid].places[0]} are NaN or infinite; take a trained network"
                )
            low, high = self.ranges[spot.grid]
            self.ranges[spot.grid] = min(low, least), max(high, most)
        return value

    def _count(self, value: Tensor, spot: Spot) -> Tensor:
        low, high = self.ranges[spot.grid]
        if spot.first and low < high:
            self.histograms[spot.grid] += torch.histc(value.float(), BINS, low, high).cpu()
        return value


def _scale(ends: Range, top: int) -> tuple[float, int]:
    low, high = ends
    step = (high - low) / top
    return (step, round(-low / step)) if step > 0 else (1.0, 0)


def _whole(_histogram: Tensor, ends: Range, _top: int) -> Range:
    return ends


def _percentile(histogram: Tensor, ends: Range, _top: int) -> Range:
    low, high = ends
    share = histogram.double().cumsum(0) / histogram.sum().clamp_min(1)
    width = (high - low) / BINS
    first, last = int((share <= OUTLIERS).sum()), int((share < 1 - OUTLIERS).sum())
    return min(low + first * width, 0.0), max(low + (last + 1) * width, 0.0)


def _least_error(histogram: Tensor, ends: Range, top: int) -> Range:
    low, high = ends
    if low >= high:
        return ends
    centres = low + (torch.arange(BINS, dtype=torch.float64) + 0.5) * (high - low) / BINS
    shares = 1 - torch.arange(SHRINKS, dtype=torch.float64) / (SHRINKS + 20)
    steps = (high - low) * shares / top
    zeros = (-low * shares / steps).round()
    codes = (centres / steps[:, None] + zeros[:, None]).round().clamp(0, top)
    errors = ((codes - zeros[:, None]) * steps[:, None] - centres).square() @ histogram.double()
    best = float(shares[int(errors.argmin())])
    return low * best, high * best


RANGES: Mapping[str, Callable[[Tensor, Range, int], Range]] = {
    "mse": _least_error,
    "percentile": _percentile,
    "min-max": _whole,
}
