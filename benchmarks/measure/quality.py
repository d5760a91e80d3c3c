"""What a shipped file still knows: the accuracy of the file itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from compress.data import Split
from compress.errors import ExportError, GateError
from compress.metrics import wilson_interval
from compress.stages import Scale

BATCH_SIZE = 256


@dataclass(frozen=True)
class Accuracy:
    """Top-1 as a fraction, its 95 % Wilson interval, and the images it rests on."""

    top1: float
    low: float
    high: float
    samples: int

    @property
    def summary(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)


def accuracy(network: Callable[[Tensor], Tensor], split: Split, scale: Scale, *, name: str) -> Accuracy:
    """How many images of the split get their own label as the best class.

    Args:
        network: (B, C, H, W) scaled images to (B, classes) logits; an exported file. One that only takes a single
            image at a time is given single images.
        split: The images, of the size that the network sees.
        scale: How the network wants its pixels.
        name: What the network is called in an error.

    Raises:
        GateError: The network gives logits that are NaN or infinite.
    """
    correct = 0
    for batch in split.batches(_batch_size(network, split, scale)):
        logits = network(scale(batch.image))
        spoilt = int((~torch.isfinite(logits).all(1)).sum())
        if spoilt:
            raise GateError(
                f"{name}: gives NaN or infinite logits for {spoilt} of {len(logits)} test images; its accuracy means "
                "nothing: export or train it again"
            )
        correct += int((logits.argmax(1) == batch.target).sum())
    return Accuracy(correct / len(split), *wilson_interval(correct, len(split)), len(split))


def _batch_size(network: Callable[[Tensor], Tensor], split: Split, scale: Scale) -> int:
    pair = scale(next(split.batches(2)).image)
    try:
        network(pair)
    except ExportError:
        return 1
    return BATCH_SIZE
