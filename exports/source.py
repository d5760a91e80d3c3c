"""What of a checkpoint goes into a file: the network that answers, samples to try it on, and how it is wished."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from compress.checkpoint import Card, Checkpoint
from compress.data import Split
from compress.errors import ExportError
from compress.preprocessing import unscaled
from compress.quantization import plain, round_biases, round_with, whole_steps
from compress.stages import Answer
from compress.tasks import TASKS
from exports.artefact import INPUTS, Input

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
        label: Say in the file what it is and how to feed it, and seal it.
        input: What it takes: "float32", scaled images, or "uint8", pixels that it scales itself.
        command: What the user typed to export, the last step of the lineage; "" for none.

    Raises:
        ValueError: The input is none of these.
    """

    opset: int | None = None
    lineage: bool = True
    label: bool = True
    input: Input = "float32"
    command: str = ""

    def __post_init__(self) -> None:
        if self.input not in INPUTS:
            raise ValueError(f"input: got {self.input!r:.80}; allowed are {', '.join(INPUTS)}")


def source_network(checkpoint: Checkpoint) -> nn.Module:
    """A copy of the network, on the CPU and in eval mode, that answers what its task asks for; weights are plain.

    Where that is its last stage, as of a classifier or of a network for masks, it answers as it is: logits (B, C) or
    (B, C, H, W). A network that was trained for retrieval, whose logits nothing has taught, answers with its embedding.
    Where its activations are on grids, its biases are rounded as they are added on whole numbers.
    """
    trained = checkpoint.network.model
    network = replace(checkpoint.network, model=plain(trained).cpu().eval())
    round_biases(network, whole_steps(trained), checkpoint.card.activations)
    output = TASKS[checkpoint.card.task].output
    last = network.stages[-1].name if network.stages else output
    return network.model if output == last else Answer(network, output).eval()


def check_floats(path: Path, kind: str, checkpoint: Checkpoint, settings: Settings) -> None:
    """Nothing, once a format that holds nothing else takes float32 images and stores float32 weights.

    Args:
        path: Of the file, for messages.
        kind: What the format is called.
        checkpoint: What is to be written.
        settings: How it is wished.

    Raises:
        ExportError: It is to take pixels or to store codes, which would be floats there and save nothing.
    """
    if settings.input != "float32":
        raise ExportError(f"{path.name}: {kind} takes float32 images; leave --input out, or export to .onnx")
    if checkpoint.card.grids or checkpoint.card.activations:
        raise ExportError(
            f"{path.name}: {kind} as it is written here stores float32 alone, in which rounded weights save nothing; "
            "export to .onnx or .openvino, which store codes"
        )


def reference(checkpoint: Checkpoint, takes: Input) -> Callable[[Tensor], Tensor]:
    """What a file of the checkpoint must answer: (B, C, H, W) images of the type that it takes to (B, ...) outputs."""
    network, scale = source_network(checkpoint), checkpoint.card.scale
    return network if takes == "float32" else lambda pixels: network(scale(pixels))


def free_reference(checkpoint: Checkpoint, takes: Input) -> Callable[[Tensor], Tensor]:
    """The same with the activations of the network on no grids."""
    network, scale = source_network(checkpoint), checkpoint.card.scale
    round_with(network, lambda value, _spot: value)
    return network if takes == "float32" else lambda pixels: network(scale(pixels))


def noise(card: Card, samples: int = 64, takes: Input = "float32") -> Tensor:
    """Images (samples, C, H, W) of uniform noise, always the same: samples where no data is at hand.

    Args:
        card: Of the network that sees them.
        samples: How many.
        takes: What the file takes: "float32" gives scaled images, "uint8" pixels.
    """
    see, chance = card.preprocessing, torch.Generator().manual_seed(0)
    if takes == "uint8":
        return torch.randint(0, 256, (samples, *see.shape), dtype=torch.uint8, generator=chance)
    pixels = torch.rand(samples, *see.shape, generator=chance)
    return (pixels - torch.tensor(see.mean).view(-1, 1, 1)) / torch.tensor(see.std).view(-1, 1, 1)


def samples(card: Card, split: Split, count: int | None = None, takes: Input = "float32") -> Iterator[Tensor]:
    """Batches (B, C, H, W) of the first images of a split, as they stand.

    Args:
        card: Of the network that sees them.
        split: Prepared for it.
        count: How many images; None for all.
        takes: What the file takes: "float32" gives scaled images, "uint8" pixels.
    """
    feed = unscaled if takes == "uint8" else card.scale
    left = len(split) if count is None else min(count, len(split))
    for batch in split.batches(few((1, *card.preprocessing.shape))):
        if left <= 0:
            return
        yield feed(batch.image[:left])
        left -= len(batch.image)


def calibration(card: Card, split: Split, count: int) -> list[Tensor]:
    """Scaled batches (B, C, H, W) of that many images of a split, or of all, in an order that is always the same.

    Args:
        card: Of the network that sees them.
        split: Of training, prepared for it.
        count: How many.
    """
    found, left = [], count
    for batch in split.batches(few((1, *card.preprocessing.shape)), order=0):
        if left <= 0:
            break
        found.append(card.scale(batch.image[:left]))
        left -= len(found[-1])
    return found


def few(shape: tuple[int, ...]) -> int:
    """How many images of the (B, C, H, W) `shape` to take at once: 64, and fewer where they are large."""
    return min(BATCH, max(1, BATCH_PIXELS // math.prod(shape[2:])))
