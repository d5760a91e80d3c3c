"""What one file knows less or more than another: score and decisions, on the same images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure.quality import agreement
from compress.data import Dataset
from compress.evidence import Record
from compress.metrics import mcnemar, paired_interval
from compress.tasks import answering
from exports import Artefact
from exports.answers import as_network, task_of
from exports.source import few


@dataclass(frozen=True)
class Judged:
    """A file, and what it said of a test split.

    Attributes:
        exported: The file.
        images: As it sees them.
        quality: See `benchmarks.measure.quality.quality`; None where its task is not measured.
        decisions: (N,) int64, the class of each image; None where it decides something else.
        labels: (N,) int64, what is right; None likewise.
    """

    exported: Artefact
    images: Dataset
    quality: dict[str, Any] | None
    decisions: NDArray[np.int64] | None
    labels: NDArray[np.int64] | None


def decided(exported: Artefact, images: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """(N,) the class that a file gives each image of the test split, and (N,) its label; None where it gives none.

    Raises:
        GateError: The file gives outputs that are NaN or infinite.
    """
    task = task_of(exported, images)
    if task.headline is None or task.agreement is None or task.masks:
        return None
    found, right = [], []
    with answering(as_network(exported, images.scale), task.output) as answer:
        for batch in images.test.batches(few((1, *images.see.shape))):
            found.append(answer(batch.image).argmax(1))
            right.append(batch.target)
    return torch.cat(found).numpy(), torch.cat(right).numpy()


def held_against(own: Judged, other: Judged) -> Iterator[Record]:
    """The records of a file that is held against another: drop, agreement, images lost and won.

    Args:
        own: The file.
        other: The one it is held against.
    """
    mine, its = own.quality, other.quality
    if mine is None or its is None or mine["metric"] != its["metric"]:
        return
    if own.decisions is None or other.decisions is None or own.labels is None:
        yield Record("drop", 100 * (its["value"] - mine["value"]), n=mine["samples"], unit="points")
        found = agreement((own.exported, own.images), (other.exported, other.images))
        if found is not None:
            yield Record(found["name"], found["value"], n=found["samples"], unit="share")
        return
    right, was = own.decisions == own.labels, other.decisions == own.labels
    lost, won, count = int((was & ~right).sum()), int((right & ~was).sum()), len(right)
    low, high = paired_interval(lost, won, count)
    yield Record("drop", 100 * (lost - won) / count, 100 * low, 100 * high, n=count, unit="points")
    yield Record("top1_agreement", float((own.decisions == other.decisions).mean()), n=count, unit="share")
    yield Record("images_lost", lost, n=count)
    yield Record("images_won", won, n=count)
    yield Record("mcnemar_p", mcnemar(lost, won), n=count)
