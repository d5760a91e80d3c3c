"""What of a checkpoint goes into a file: the network that answers, samples to try it on, and how it is wished."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from compress.checkpoint import Card, Checkpoint
from compress.stages import Answer
from compress.tasks import TASKS

OPSETS = range(18, 25)
DEFAULT_OPSET = 20


@dataclass(frozen=True)
class Settings:
    """How a file is wished; a format heeds what concerns it.

    Attributes:
        opset: ONNX operator set, one of `OPSETS`.
        lineage: Tell the history of the network in the file.
    """

    opset: int = DEFAULT_OPSET
    lineage: bool = True


def answering(checkpoint: Checkpoint) -> nn.Module:
    """A copy of the network, on the CPU and in eval mode, that answers what its task asks for.

    Of a classifier those are the logits; a network that was trained for retrieval, whose logits nothing has taught,
    answers with its embedding instead.
    """
    network = replace(checkpoint.network, model=copy.deepcopy(checkpoint.network.model).cpu().eval())
    output = TASKS[checkpoint.card.task].output
    return network.model if output == "logits" else Answer(network, output).eval()


def noise(card: Card, samples: int = 64) -> Tensor:
    """Normalised images (samples, C, H, W) of uniform noise, always the same: samples where no data is at hand."""
    see = card.preprocessing
    pixels = torch.rand(samples, *see.shape, generator=torch.Generator().manual_seed(0))
    return (pixels - torch.tensor(see.mean).view(-1, 1, 1)) / torch.tensor(see.std).view(-1, 1, 1)
