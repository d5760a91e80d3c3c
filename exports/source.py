"""What of a checkpoint goes into a file: the network that answers, samples to try it on, and how it is wished."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from compress.checkpoint import Card, Checkpoint
from compress.data import Split
from compress.quantization import plain
from compress.stages import Answer
from compress.tasks import TASKS

OPSETS = range(18, 26)
DEFAULT_OPSET = 20  # and more where the weights are of a type that is newer
BATCH = 64
BATCH_PIXELS = 2**18  # few enough that logits of every pixel take little memory


@dataclass(frozen=True)
class Settings:
    """How a file is wished; a format heeds what concerns it.

    Attributes:
        opset: ONNX operator set, one of `OPSETS`; None for the default, or the least that knows the weights' types.
        lineage: Tell the history of the network in the file.
    """

    opset: int | None = None
    lineage: bool = True


def source_network(checkpoint: Checkpoint) -> nn.Module:
    """A copy of the network, on the CPU and in eval mode, that answers what its task asks for; weights are plain.

    Where that is its last stage, as of a classifier or of a network for masks, it answers as it is: logits (B, C) or
    (B, C, H, W). A network that was trained for retrieval, whose logits nothing has taught, answers with its embedding.
    """
    network = replace(checkpoint.network, model=plain(checkpoint.network.model).cpu().eval())
    output = TASKS[checkpoint.card.task].output
    last = network.stages[-1].name if network.stages else output
    return network.model if output == last else Answer(network, output).eval()


def noise(card: Card, samples: int = 64) -> Tensor:
    """Normalised images (samples, C, H, W) of uniform noise, always the same: samples where no data is at hand."""
    see = card.preprocessing
    pixels = torch.rand(samples, *see.shape, generator=torch.Generator().manual_seed(0))
    return (pixels - torch.tensor(see.mean).view(-1, 1, 1)) / torch.tensor(see.std).view(-1, 1, 1)


def samples(card: Card, split: Split, count: int | None = None) -> Iterator[Tensor]:
    """Normalised batches (B, C, H, W) of the first images of a split, as they stand.

    Args:
        card: Of the network that sees them.
        split: Prepared for it.
        count: How many images; None for all.
    """
    left = len(split) if count is None else min(count, len(split))
    for batch in split.batches(few((1, *card.preprocessing.shape))):
        if left <= 0:
            return
        yield card.scale(batch.image[:left])
        left -= len(batch.image)


def few(shape: tuple[int, ...]) -> int:
    """How many images of the (B, C, H, W) `shape` to take at once: 64, and fewer where they are large."""
    return min(BATCH, max(1, BATCH_PIXELS // math.prod(shape[2:])))
