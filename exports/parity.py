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
from compress.tasks import Agreement, part
from compress.text import counted, share_text
from exports.answers import task_of
from exports.artefact import Artefact
from exports.source import few

TOLERANCE = 1e-4
ROUNDING = 2.0**-17


@dataclass(frozen=True)
class Parity:
    """How close an exported file is to its network.

    Attributes:
        max_abs_difference: On any sample, of the output that comes nearest to its limit.
        allowed_difference: The limit of that output.
        samples: How many images were compared.
        meaning: What it means that the two agree; None where their outputs name no classes.
        agreement: On how much of all they do, 0 to 1; None likewise.
    """

    max_abs_difference: float
    allowed_difference: float
    samples: int
    meaning: Agreement | None
    agreement: float | None

    def __str__(self) -> str:
        difference = f"max |difference| {self.max_abs_difference:.2g} (allowed {self.allowed_difference:.2g})"
        return f"{difference}, {agreed(self.meaning, self.agreement)}{counted(self.samples, 'sample')}"


def agreed(meaning: Agreement | None, share: float | None) -> str:
    """On how much two networks agree, with a comma behind it; empty where their outputs name no classes."""
    return "" if meaning is None or share is None else f"{meaning.words} {share_text(share)}, "


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
    but sums and maxima is kept, whatever the number of images, and few images run at once where they are large. The
    first one runs alone, so that a batch size frozen into the file shows.

    Args:
        network: The source, which takes what the file takes; a module is run in eval mode, on its own device.
        artefact: The file.
        images: Batches (B, C, H, W) of samples of the type of the file's `input`, at least one.
        tolerance: Largest difference of an output, as a share of its spread.
        name: What to call the file in messages, where it lies somewhere else for now.

    Raises:
        GateError: The outputs differ by more, in shape, or are not finite.
        ExportError: The images do not fit the file.
    """
    path = artefact.path if name is None else name
    tally = _Tally(task_of(artefact).agreement)
    for batch in chunks(images, artefact.batch):
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


def limits(spreads: Tensor, largest: float, tolerance: float = TOLERANCE) -> Tensor:
    """(outputs,): how far each output of two that should agree may differ; see `check_parity`.

    Args:
        spreads: (outputs,), the standard deviation of each over the samples.
        largest: The largest magnitude of all outputs.
        tolerance: Largest difference of an output, as a share of its spread.
    """
    return tolerance * spreads + ROUNDING * largest


class _Tally:
    """The sums and maxima over the samples that the verdict needs."""

    def __init__(self, meaning: Agreement | None) -> None:
        self.samples = 0
        self._values = 0
        self._meaning = meaning
        self._agreeing = torch.zeros(2, dtype=torch.int64)
        self._largest = 0.0
        self._mean = self._squares = self._difference = torch.zeros(1, dtype=torch.float64)

    def add(self, expected: Tensor, found: Tensor) -> None:
        """Count (B, outputs, ...) of the network and of the file."""
        self.samples += len(expected)
        if self._meaning is not None:
            self._agreeing += self._meaning.count(expected, found)
        self._largest = max(self._largest, float(expected.abs().max()))
        self._difference = torch.maximum(self._difference, by_output((expected - found).abs()).amax(0))
        rows = by_output(expected)
        before, self._values = self._values, self._values + len(rows)
        mean = rows.mean(0)
        gap = mean - self._mean
        self._squares = self._squares + (rows - mean).square().sum(0) + gap**2 * before * len(rows) / self._values
        self._mean = self._mean + gap * len(rows) / self._values

    def parity(self, tolerance: float) -> Parity:
        """The verdict over all that was counted."""
        allowed = limits((self._squares / self._values).sqrt(), self._largest, tolerance)
        share = self._difference / allowed.clamp(min=torch.finfo(torch.float64).tiny)
        nearest = int(share.argmax())
        return Parity(
            max_abs_difference=float(self._difference[nearest]),
            allowed_difference=float(allowed[nearest]),
            samples=self.samples,
            meaning=self._meaning,
            agreement=part(self._agreeing) if self._meaning else None,
        )


def by_output(values: Tensor) -> Tensor:
    """(B, outputs, ...) as (values, outputs)."""
    flat = values.reshape(len(values), -1, 1) if values.ndim < 2 else values.flatten(2) if values.ndim > 2 else values
    return flat.movedim(1, -1).reshape(-1, flat.shape[1])


def chunks(images: Iterable[Tensor], size: int | None) -> Iterator[Tensor]:
    """The images in batches that a file takes, few at once where they are large; the first alone where it takes any."""
    first = True
    for batch in images:
        if len(batch) == 0:
            continue
        if first and size is None:
            yield batch[:1]
            batch = batch[1:]
        first = False
        yield from torch.split(batch, size or few(batch.shape)) if len(batch) else ()


@torch.no_grad()
def _reference(network: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    if not isinstance(network, nn.Module):
        return network(batch)
    first = next(network.parameters(), None)
    with evaluating(network):
        outputs: Tensor = network(batch if first is None else batch.to(first.device))
        return outputs.cpu()
