"""What one file knows less or more than another where it decides no image as a whole: by the metrics of its task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.measure.quality import agreement
from benchmarks.raw import Counts
from compress.data import Dataset
from compress.evidence import Record, metric_records
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
    """

    exported: Artefact
    images: Dataset
    quality: dict[str, Any] | None


def decided(exported: Artefact, images: Dataset) -> tuple[Counts, Counts] | None:
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


def scores(judged: Judged) -> Iterator[Record]:
    """A record for every metric of the file's own task, with the interval where it has one."""
    if judged.quality is None:
        return
    yield from metric_records(judged.quality["all"], judged.quality["samples"])


def held_against(own: Judged, other: Judged) -> Iterator[Record]:
    """The records of a file that is held against another: drop, without an interval, and agreement.

    Args:
        own: The file.
        other: The one it is held against.
    """
    mine, its = own.quality, other.quality
    if mine is None or its is None or mine["metric"] != its["metric"]:
        return
    yield Record("drop", 100 * (its["value"] - mine["value"]), n=mine["samples"], unit="points")
    found = agreement((own.exported, own.images), (other.exported, other.images))
    if found is not None:
        yield Record(found["name"], found["value"], n=found["samples"], unit="share")
