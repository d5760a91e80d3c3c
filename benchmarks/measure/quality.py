"""What a shipped file still knows: the metrics of its task, and how far it decides as another file does."""

from __future__ import annotations

from typing import Any

import torch

from compress.data import Dataset
from compress.tasks import answering, part
from exports import Artefact
from exports.answers import as_network, task_of
from exports.source import few


def quality(exported: Artefact, images: Dataset) -> dict[str, Any] | None:
    """The metrics of the file's own task on the test split, as JSON-able data; None where that asks for more of it.

    Keys: `metric` (the name of the one that stands for all: "top1", "miou"), its `value` and 95 % interval `low` and
    `high`, `samples`, and under `all` every metric by name.

    Args:
        exported: The file.
        images: As the file sees them.

    Raises:
        GateError: The file gives outputs that are NaN or infinite.
    """
    task = task_of(exported, images)
    if task.headline is None:
        return None
    found = task.evaluate(as_network(exported, images.scale), images)
    return {
        "metric": task.headline,
        "value": found[task.headline],
        "low": found[f"{task.headline}_low"],
        "high": found[f"{task.headline}_high"],
        "samples": len(images.test),
        "all": found,
    }


def agreement(own: tuple[Artefact, Dataset], other: tuple[Artefact, Dataset]) -> dict[str, Any] | None:
    """On what share of the test split two files decide alike, as JSON-able data; None where they cannot.

    They cannot where their tasks differ, or their masks are of different sizes, or their outputs are features. Keys:
    `name` ("top1_agreement", "pixel_agreement"), the same in `words`, `value` and `samples`.

    Args:
        own: A file, and a data set as it sees it.
        other: Another one, and the same data set as that one sees it.
    """
    files = (own, other)
    task, its = (task_of(*file) for file in files)
    if task.agreement is None or task is not its:
        return None
    size = min(few((1, *images.see.shape)) for _, images in files)
    mine, theirs = (as_network(exported, images.scale) for exported, images in files)
    counts = torch.zeros(2, dtype=torch.int64)
    with answering(mine, task.output) as answer, answering(theirs, task.output) as its_answer:
        for batch, same in zip(*(images.test.batches(size) for _, images in files), strict=True):
            found, expected = answer(batch.image), its_answer(same.image)
            if found.shape != expected.shape:
                return None
            counts += task.agreement.count(found, expected)
    value, samples = part(counts), len(own[1].test)
    return {"name": task.agreement.name, "words": task.agreement.words, "value": value, "samples": samples}
