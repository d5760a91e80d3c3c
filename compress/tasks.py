"""What a network is trained for: its own loss terms, the metric of an epoch, and the evaluation of the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.data import Dataset, Split
from compress.losses import cross_entropy_loss
from compress.metrics import accuracy, retrieval_scores, wilson_interval
from compress.phase import LABELS, S, Term
from compress.stages import Staged, tapped

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Task:
    """A task and how well it is done; for every metric, more is better.

    Attributes:
        name: As in a checkpoint's card.
        terms: The task's own loss terms; empty where it uses no labels.
        metric: Name of the score of an epoch.
        reads: The stage that the score reads.
        score: (N, F) features of that stage and (N,) labels to a fraction in [0, 1].
        evaluate: The network and the data to every metric of the test split, as fractions.
    """

    name: str
    terms: tuple[Term, ...]
    metric: str
    reads: str
    score: Callable[[Tensor, Tensor], float]
    evaluate: Callable[[Staged, Dataset], dict[str, float]]


@torch.no_grad()
def features(network: Staged, split: Split, stage: str, *, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """(N, F) flattened features of a stage for every image of a split, in order, in eval mode.

    Args:
        network: Read in eval mode; its mode is restored.
        split: The images.
        stage: Where to read.
        batch_size: Images at a time.
    """
    model, training = network.model, network.model.training
    device = next(model.parameters()).device
    model.eval()
    rows = []
    try:
        with tapped(network, [stage]) as taps:
            for batch in split.batches(batch_size):
                taps.clear()
                model(batch.image.to(device))
                rows.append(taps[stage].flatten(1).cpu())
    finally:
        model.train(training)
    return torch.cat(rows)


def nearest_neighbour_precision(feature: Tensor, labels: Tensor) -> float:
    """The fraction of (N, F) features whose nearest other one, in Euclidean distance, has the same label."""
    flat = feature.flatten(1)
    distance = torch.cdist(flat, flat)
    distance.fill_diagonal_(float("inf"))
    return (labels[distance.argmin(dim=1)] == labels).float().mean().item()


def _evaluate_classification(network: Staged, data: Dataset) -> dict[str, float]:
    logits = features(network, data.test, "logits")
    correct = int((logits.argmax(1) == data.test.labels).sum())
    low, high = wilson_interval(correct, len(data.test))
    return {"top1": correct / len(data.test), "top1_low": low, "top1_high": high}


def _evaluate_retrieval(network: Staged, data: Dataset) -> dict[str, float]:
    queries = features(network, data.test, "embedding")
    database = features(network, data.train, "embedding")
    return retrieval_scores(queries, data.test.labels, database, data.train.labels)


CLASSIFICATION = Task(
    "classification",
    (Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce"),),
    "top1",
    "logits",
    accuracy,
    _evaluate_classification,
)
RETRIEVAL = Task("retrieval", (), "precision_1", "embedding", nearest_neighbour_precision, _evaluate_retrieval)

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, RETRIEVAL)}
