"""What an exporter returns: a callable like the network it came from, and the check that it is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from compress.checkpoint import Card
from compress.errors import GateError
from compress.stages import Staged, evaluating


class Runner(Protocol):
    """A runtime that holds one exported network."""

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W) normalised float32 images to (B, classes) logits."""
        ...

    def bind(self, image: Tensor) -> Callable[[], None]:
        """A call that runs the network on `image` alone, with its inputs and outputs already in place."""
        ...


@dataclass(frozen=True)
class Provenance:
    """Where an exported file comes from.

    Attributes:
        tool_version: Version of edgepress that wrote the file.
        torch_version: Version of the exporter.
        opset: ONNX operator set asked for.
        weights_sha256: Digest of the source network's state, see `compress.evidence.weights_digest`.
        parameters: Parameters of the source network, before the exporter folds any away.
    """

    tool_version: str
    torch_version: str
    opset: int
    weights_sha256: str
    parameters: int


@dataclass(frozen=True)
class Parity:
    """How close an exported file is to its network.

    Attributes:
        max_abs_difference: Of any logit on any sample.
        top1_agreement: Share of samples with the same best class, 0 to 1.
        samples: How many images were compared.
        allowed_difference: The limit that was held.
    """

    max_abs_difference: float
    top1_agreement: float
    samples: int
    allowed_difference: float

    def __str__(self) -> str:
        return (
            f"max |difference| {self.max_abs_difference:.2g} (allowed {self.allowed_difference:.2g}), "
            f"top-1 agreement {self.top1_agreement:.2%}, {self.samples} samples"
        )


@dataclass(frozen=True)
class Exported:
    """A network in an edge format, callable like the one it came from.

    Attributes:
        path: Its file.
        size_bytes: Of that file.
        image_shape: (C, H, W) of one input; None where the file leaves a side open.
        card: What the network is; None for a file that edgepress did not write.
        provenance: Where it comes from; None for a file that edgepress did not write.
        runner: Executes it.
        parity: The check made while exporting; None for a file that was only read.
    """

    path: Path
    size_bytes: int
    image_shape: tuple[int | None, ...]
    card: Card | None
    provenance: Provenance | None
    runner: Runner
    parity: Parity | None = None

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W) normalised float32 images to (B, classes) logits; ExportError for any other shape."""
        return self.runner(image)

    def bind(self, image: Tensor) -> Callable[[], None]:
        """A call that runs the file on one fixed batch and nothing else: what a benchmark times.

        Args:
            image: (B, C, H, W) normalised float32 images.

        Raises:
            ExportError: The images do not fit the file.
        """
        return self.runner.bind(image)


def noise(card: Card, samples: int = 64) -> Tensor:
    """Normalised images (samples, C, H, W) of uniform noise, always the same: samples where no data is at hand."""
    see = card.preprocessing
    pixels = torch.rand(samples, *see.shape, generator=torch.Generator().manual_seed(0))
    return (pixels - torch.tensor(see.mean).view(-1, 1, 1)) / torch.tensor(see.std).view(-1, 1, 1)


def verify(
    network: Staged | Callable[[Tensor], Tensor],
    exported: Exported,
    images: Tensor,
    *,
    batch_size: int = 128,
    tolerance: float = 1e-4,
) -> Parity:
    """How close `exported` is to `network`, once it is close enough.

    The first image runs alone, so that a batch size frozen into the file shows.

    Args:
        network: The source; a module is run in eval mode.
        exported: The file.
        images: (N, C, H, W) normalised float32 samples, at least one.
        batch_size: Images a step.
        tolerance: Largest difference allowed, as a share of the largest logit (or of 1 where that is larger).

    Raises:
        GateError: The logits differ by more, in shape, or are not finite.
        ExportError: The images do not fit the file.
    """
    if len(images) == 0:
        raise ValueError("images: got none; at least one sample is needed to compare on")
    batches = [images[:1], *(images[start : start + batch_size] for start in range(1, len(images), batch_size))]
    found = [exported(batch) for batch in batches]
    expected = _reference(network, batches)
    for wanted, got in zip(expected, found, strict=True):
        if wanted.shape != got.shape:
            raise GateError(
                f"{exported.path}: gives logits of shape {tuple(got.shape)} where its network gives "
                f"{tuple(wanted.shape)}; do not ship it, export the network again"
            )
    return _compare(exported.path, torch.cat(expected), torch.cat(found), tolerance)


def _compare(path: Path, expected: Tensor, found: Tensor, tolerance: float) -> Parity:
    for name, logits in (("the network it comes from", expected), ("the exported file", found)):
        if not torch.isfinite(logits).all():
            raise GateError(
                f"{path}: {name} gives NaN or infinite logits on the samples; do not ship it, train it again"
            )
    parity = Parity(
        max_abs_difference=float((expected - found).abs().max()),
        top1_agreement=float((expected.argmax(1) == found.argmax(1)).double().mean()),
        samples=len(expected),
        allowed_difference=tolerance * max(1.0, float(expected.abs().max())),
    )
    if parity.max_abs_difference > parity.allowed_difference:
        raise GateError(
            f"{path}: does not give the logits of its network: {parity}; do not ship it; export the network again, "
            "with another opset if need be"
        )
    return parity


@torch.no_grad()
def _reference(network: Staged | Callable[[Tensor], Tensor], batches: list[Tensor]) -> list[Tensor]:
    forward = network.model if isinstance(network, Staged) else network
    if not isinstance(forward, nn.Module):
        return [forward(batch) for batch in batches]
    first = next(forward.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    with evaluating(forward):
        return [forward(batch.to(device)).cpu() for batch in batches]
