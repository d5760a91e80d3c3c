"""What a network is trained for: its own loss terms, the score of an epoch, and the evaluation of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.data import Batch, Dataset, Split
from compress.losses import cross_entropy_loss
from compress.metrics import retrieval_scores, wilson_interval
from compress.phase import LABELS, S, Term
from compress.processes import gathered, share, total
from compress.soundness import check_outputs
from compress.stages import Staged, evaluating, tapped

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Task:
    """A task and how well it is done; for every score, more is better.

    Attributes:
        name: As in a checkpoint's card.
        terms: The task's own loss terms; empty where it uses no labels.
        output: The stage that is the network's answer: what an exported file gives, and what the tally reads.
        metric: Name of the score of an epoch.
        tally: (B, ...) outputs and (B, ...) targets of a batch to a vector of counts, which add up over batches.
        score: Such a sum to a fraction in [0, 1].
        evaluate: The network and the data to every metric of the test split, as fractions.
    """

    name: str
    terms: tuple[Term, ...]
    output: str
    metric: str
    tally: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor], float]
    evaluate: Callable[[Staged, Dataset], dict[str, float]]


def tallied(network: Staged, split: Split, task: Task) -> Tensor:
    """The task's tally over a whole split, in eval mode; over all processes, each of which takes its share.

    The images are shuffled, always alike: the tally of a batch may compare its images, and a split may be sorted.

    Raises:
        GateError: An output is NaN or infinite.
    """
    sums = [task.tally(output, batch.target) for output, batch in _outputs(network, split, task.output, order=0)]
    return total(torch.stack(sums).sum(dim=0))


def features(network: Staged, split: Split, stage: str) -> tuple[Tensor, Tensor]:
    """(N, F) flattened features of a stage for every image of a split, in order, and their (N, ...) targets.

    Raises:
        GateError: A feature is NaN or infinite.
    """
    rows = list(_outputs(network, split, stage, order=None))
    index = gathered(torch.cat([batch.index for _, batch in rows]))
    order = index.argsort()
    feature = gathered(torch.cat([output.flatten(1) for output, _ in rows]))[order]
    return feature, gathered(torch.cat([batch.target for _, batch in rows]))[order]


@contextmanager
def answering(network: Staged, stage: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """From (B, C, H, W) uint8 images to the network's (B, ...) feature at a stage, on the CPU, in eval mode.

    What it gives raises GateError where a value is NaN or infinite.
    """
    first = next(network.model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    with evaluating(network.model), tapped(network, [stage], whole=False) as taps:

        @torch.no_grad()
        def answer(images: Tensor) -> Tensor:
            taps.read(network.model, network.scale(images.to(device)))
            return check_outputs(taps[stage].cpu(), f"stage {stage!r} of the network")

        yield answer


def _outputs(network: Staged, split: Split, stage: str, *, order: int | None) -> Iterator[tuple[Tensor, Batch]]:
    """(feature on the CPU, batch) for each batch of this process's share."""
    with answering(network, stage) as answer:
        for batch in split.batches(EVALUATION_BATCH, order=order, shard=share(), even=False):
            yield answer(batch.image), batch


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2,) int64: the images whose largest of (B, C) logits is that of their (B,) label, and all images."""
    return torch.stack([(logits.argmax(dim=1) == labels).sum(), torch.tensor(len(labels), device=labels.device)])


def nearest_neighbour_hits(feature: Tensor, labels: Tensor) -> Tensor:
    """(2,) int64: the (B, ...) features whose nearest other one, in Euclidean distance, has the same label, and all."""
    flat = feature.flatten(1)
    distance = torch.cdist(flat, flat)
    distance.fill_diagonal_(float("inf"))
    hits = (labels[distance.argmin(dim=1)] == labels).sum()
    return torch.stack([hits, torch.tensor(len(labels), device=labels.device)])


def part(counts: Tensor) -> float:
    """The first of (2,) counts as a fraction of the second."""
    return int(counts[0]) / int(counts[1])


def _evaluate_classification(network: Staged, data: Dataset) -> dict[str, float]:
    counts = tallied(network, data.test, CLASSIFICATION)
    low, high = wilson_interval(int(counts[0]), int(counts[1]))
    return {"top1": part(counts), "top1_low": low, "top1_high": high}


def _evaluate_retrieval(network: Staged, data: Dataset) -> dict[str, float]:
    return retrieval_scores(*features(network, data.test, "embedding"), *features(network, data.train, "embedding"))


CLASSIFICATION = Task(
    "classification",
    (Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce"),),
    "logits",
    "top1",
    correct,
    part,
    _evaluate_classification,
)
RETRIEVAL = Task("retrieval", (), "embedding", "precision_1", nearest_neighbour_hits, part, _evaluate_retrieval)

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, RETRIEVAL)}
