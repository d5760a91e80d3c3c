"""What a file says of a test split, image by image, by the task that it was trained for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from benchmarks.raw import Counts, Decided, Retrieved, Said, Segmented, in_steps
from compress.data import Dataset
from compress.metrics import query_scores
from compress.segmentation import pixel_counts
from compress.tasks import answering, features
from exports import Artefact
from exports.answers import as_network, task_of
from exports.source import few

SUMS_TO_ONE = 0.01  # how far the probabilities of a quantized softmax may be from it


def ask(exported: Artefact, images: Dataset) -> Said:
    """What a file says of the test split.

    A file whose outputs are never below 0 and always sum to 1 gives probabilities; of all others they are the softmax.

    Args:
        exported: The file.
        images: As it sees them; of one that retrieves, the training split is the database.

    Raises:
        GateError: The file gives outputs that are NaN or infinite.
        DataError: Every pixel of the masks is void.
    """
    task = task_of(exported, images)
    network = as_network(exported, images.scale)
    if task.agreement is None:
        queries, database = (features(network, split, task.output) for split in (images.test, images.train))
        found = query_scores(*queries, *database)
        return Retrieved({name: in_steps(values.numpy()) for name, values in found.items()})
    batches = images.test.batches(few((1, *images.see.shape)))
    with answering(network, task.output) as answer:
        answers = ((answer(batch.image), batch.target) for batch in batches)
        if task.masks:
            return Segmented(torch.cat([pixel_counts(*pair) for pair in answers]).numpy())
        return _decided(answers)


def pixels_alike(own: tuple[Artefact, Dataset], other: tuple[Artefact, Dataset]) -> Counts | None:
    """(N, 2) how many pixels of each test image two files decide alike, and all; None where their masks differ in size.

    Args:
        own: A file that gives masks, and a data set as it sees it.
        other: Another one, and the same data set as that one sees it.
    """
    size = min(few((1, *images.see.shape)) for _, images in (own, other))
    (mine, theirs), output = (as_network(exported, images.scale) for exported, images in (own, other)), "logits"
    rows = []
    with answering(mine, output) as answer, answering(theirs, output) as its_answer:
        for batch, same in zip(*(images.test.batches(size) for _, images in (own, other)), strict=True):
            found, expected = answer(batch.image), its_answer(same.image)
            if found.shape != expected.shape:
                return None
            alike = (found.argmax(dim=1) == expected.argmax(dim=1)).flatten(1)
            rows.append(torch.stack([alike.sum(dim=1), torch.full((len(alike),), alike.shape[1])], dim=1))
    return torch.cat(rows).numpy()


def _decided(answers: Iterable[tuple[Tensor, Tensor]]) -> Decided:
    """What (B, C) outputs decide, beside what is right."""
    decisions, labels, largest, softest, sure = [], [], [], [], True
    for output, target in answers:
        decisions.append(output.argmax(dim=1))
        labels.append(target)
        largest.append(output.amax(dim=1))
        softest.append(output.double().softmax(dim=1).amax(dim=1))
        apart = (output.sum(dim=1) - 1).abs().amax()
        sure = sure and bool(output.amin() >= 0) and bool(apart <= SUMS_TO_ONE)
    confidences = torch.cat(largest if sure else softest)
    return Decided(torch.cat(decisions).numpy(), torch.cat(labels).numpy(), in_steps(confidences.numpy()))
