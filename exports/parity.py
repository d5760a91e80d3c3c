"""Whether an exported file gives the outputs of the network it came from, held against the scale of those outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from compress.errors import GateError
from compress.soundness import check_outputs
from compress.stages import evaluating
from exports.artefact import Artefact

TOLERANCE = 1e-4
ROUNDING = 2.0**-17


@dataclass(frozen=True)
class Parity:
    """How close an exported file is to its network.

    Attributes:
        max_abs_difference: On any sample, of the output that comes nearest to its limit.
        allowed_difference: The limit of that output.
        top1_agreement: Share of samples with the same largest output, 0 to 1.
        samples: How many images were compared.
    """

    max_abs_difference: float
    allowed_difference: float
    top1_agreement: float
    samples: int

    def __str__(self) -> str:
        return (
            f"max |difference| {self.max_abs_difference:.2g} (allowed {self.allowed_difference:.2g}), "
            f"top-1 agreement {self.top1_agreement:.2%}, {self.samples} samples"
        )


def check_parity(
    network: Callable[[Tensor], Tensor],
    artefact: Artefact,
    images: Iterable[Tensor],
    *,
    tolerance: float = TOLERANCE,
    name: Path | None = None,
) -> Parity:
    """How close the file is to the network, once it is close enough.

    Each output (a logit, a value of an embedding, a class of a mask) may differ by `tolerance` of its own spread, which
    is its standard deviation over the samples, and by `ROUNDING`, 64 steps of float32, of the largest output of all:
    what two runtimes that add in another order may differ by. So a constant, which tells nothing apart, moves no limit
    but the rounding; and an output that never varies (that of a head of zeros) must agree to those few steps. Nothing
    but sums and maxima is kept, whatever the number of images. The first image runs alone, so that a batch size frozen
    into the file shows.

    Args:
        network: The source; a module is run in eval mode, on its own device.
        artefact: The file.
        images: Batches (B, C, H, W) of normalised float32 samples, at least one.
        tolerance: Largest difference of an output, as a share of its spread.
        name: What to call the file in messages, where it lies somewhere else for now.

    Raises:
        GateError: The outputs differ by more, in shape, or are not finite.
        ExportError: The images do not fit the file.
    """
    path = artefact.path if name is None else name
    tally = _Tally()
    for batch in _chunks(images, artefact.batch):
        found, expected = artefact(batch), _reference(network, batch)
        if expected.shape != found.shape:
            raise GateError(
                f"{path}: gives outputs of shape {tuple(found.shape)} where its network gives "
                f"{tuple(expected.shape)}; do not ship it, export the network again"
            )
        check_outputs(expected, f"{path}: the network it comes from")
        check_outputs(found, f"{path}: the exported file")
        tally.add(expected.double(), found.double())
    if tally.samples == 0:
        raise ValueError("images: got none; at least one sample is needed to compare on")
    parity = tally.parity(tolerance)
    if parity.max_abs_difference > parity.allowed_difference:
        raise GateError(
            f"{path}: does not give the outputs of its network: {parity}; do not ship it; export the network again, "
            "with another opset if need be"
        )
    return parity


class _Tally:
    """The sums and maxima over the samples that the verdict needs."""

    def __init__(self) -> None:
        self.samples = 0
        self._values = 0
        self._agreeing = 0
        self._largest = 0.0
        self._mean = self._squares = self._difference = torch.zeros(1, dtype=torch.float64)

    def add(self, expected: Tensor, found: Tensor) -> None:
        """Count (B, outputs, ...) of the network and of the file."""
        self.samples += len(expected)
        agreeing = (expected.flatten(1).argmax(1) == found.flatten(1).argmax(1)).sum()
        self._agreeing += int(agreeing)
        self._largest = max(self._largest, float(expected.abs().max()))
        self._difference = torch.maximum(self._difference, _by_output((expected - found).abs()).amax(0))
        rows = _by_output(expected)
        before, self._values = self._values, self._values + len(rows)
        mean = rows.mean(0)
        gap = mean - self._mean
        self._squares = self._squares + (rows - mean).square().sum(0) + gap**2 * before * len(rows) / self._values
        self._mean = self._mean + gap * len(rows) / self._values

    def parity(self, tolerance: float) -> Parity:
        """The verdict over all that was counted."""
        allowed = tolerance * (self._squares / self._values).sqrt() + ROUNDING * self._largest
        share = self._difference / allowed.clamp(min=torch.finfo(torch.float64).tiny)
        nearest = int(share.argmax())
        return Parity(
            max_abs_difference=float(self._difference[nearest]),
            allowed_difference=float(allowed[nearest]),
            top1_agreement=self._agreeing / self.samples,
            samples=self.samples,
        )


def _by_output(values: Tensor) -> Tensor:
    """(B, outputs, ...) as (values, outputs)."""
    flat = values.reshape(len(values), -1, 1) if values.ndim < 2 else values.flatten(2) if values.ndim > 2 else values
    return flat.movedim(1, -1).reshape(-1, flat.shape[1])


def _chunks(images: Iterable[Tensor], size: int | None) -> Iterator[Tensor]:
    first = True
    for batch in images:
        if size is not None:
            yield from torch.split(batch, size)
        elif first and len(batch) > 1:
            yield batch[:1]
            yield batch[1:]
        elif len(batch) > 0:
            yield batch
        first = False


@torch.no_grad()
def _reference(network: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    if not isinstance(network, nn.Module):
        return network(batch)
    first = next(network.parameters(), None)
    with evaluating(network):
        outputs: Tensor = network(batch if first is None else batch.to(first.device))
        return outputs.cpu()
