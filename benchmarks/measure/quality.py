"""What a shipped file still knows: the accuracy of the file itself."""

from __future__ import annotations

from typing import Any

from compress.data import Dataset
from compress.tasks import CLASSIFICATION
from exports import Artefact
from exports.answers import as_network


def accuracy(exported: Artefact, images: Dataset) -> dict[str, Any]:
    """Top-1 on the test split as JSON-able data: `top1`, its 95 % Wilson interval `low` and `high`, and `samples`.

    Args:
        exported: A file that gives logits.
        images: As the file sees them.

    Raises:
        GateError: The file gives logits that are NaN or infinite.
    """
    found = CLASSIFICATION.evaluate(as_network(exported, images.scale), images)
    return {
        "top1": found["top1"],
        "low": found["top1_low"],
        "high": found["top1_high"],
        "samples": len(images.test),
    }
