"""Quantization done once more, as the history of a file tells it, so that its codes can be checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.errors import CompressError
from compress.evidence import weights_digest
from compress.quantization import FLOAT_WEIGHTS, RANGES, Static, quantize, read_rounding
from compress.smaller import CALIBRATION, images_digest

MOST_IMAGES = 100_000


class Unrepeatable(Exception):  # noqa: N818  (no error: the file may be right all the same)
    """It cannot be done once more; the message says why, as a sentence about the file."""


def quantized_again(checkpoint: Checkpoint, card: Card, look: Callable[[int], Sequence[Tensor]]) -> Checkpoint:
    """What the card says became of a checkpoint, made anew; its card is that card.

    Args:
        checkpoint: The network before, with its float weights.
        card: Of the quantized one, with its lineage, as a stranger may have written it.
        look: Gives batches (B, C, H, W) of so many calibration images.

    Raises:
        Unrepeatable: The history is missing or tells of another network, of training after the quantization, or of
            images that are not at hand.
    """
    step = card.lineage[-1] if card.lineage else {}
    if step.get(FLOAT_WEIGHTS) != weights_digest(checkpoint.network.model):
        raise Unrepeatable("its history does not end with the quantization of this very network")
    try:
        rounding, static = read_rounding(step.get("rounding")), _static(step)
        images = _images(step.get(CALIBRATION), look)
        network = quantize(
            checkpoint.network,
            card.grids,
            activations=card.activations,
            rounding=rounding,
            static=static,
            images=images,
        )
    except CompressError as error:
        raise Unrepeatable(f"its quantization cannot be repeated: {error}") from error
    return Checkpoint(network, replace(card, stages=(), weights=""))


def _static(step: Mapping[str, Any]) -> Static:
    match step:
        case {"ranges": str(ranges), "equalize": bool(equalize), "correct_bias": bool(correct)} if ranges in RANGES:
            return Static(ranges, equalize, correct)
    return Static()


def _images(told: object, look: Callable[[int], Sequence[Tensor]]) -> Sequence[Tensor]:
    match told:
        case None:
            return ()
        case {"images": int(count), "sha256": str(digest)} if 0 < count <= MOST_IMAGES:
            images = look(count)
            if images_digest(images) == digest:
                return images
            raise Unrepeatable("it was calibrated on other images than these data begin with")
    raise Unrepeatable(f"what its history says of calibration is damaged: {told!r:.80}")
