"""What a network is trained for: its own loss terms, the score of an epoch, and the evaluation of the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from compress.data import Batch, Dataset, Split
from compress.errors import PlanError
from compress.intervals import wilson_interval
from compress.losses import cross_entropy_loss
from compress.metrics import retrieval_scores
from compress.phase import LABELS, S, Term
from compress.processes import gathered, share, total
from compress.segmentation import (
    class_ious,
    iou_interval,
    mean_iou_per_image,
    pixel_accuracy,
    pixel_counts,
    split_iou,
)
from compress.soundness import check_outputs
from compress.stages import Staged, evaluating, tapped
from compress.task_names import HEADLINES, MASKS

EVALUATION_BATCH = 256
EVALUATION_PIXELS = 2**20  # of a batch, where each of them has logits of its own


@dataclass(frozen=True)
class Agreement:
    """What it means that two networks decide alike.

    Attributes:
        name: As a record calls it: "top1_agreement".
        words: As a person does: "top-1 agreement".
        count: Two (B, C, ...) outputs of the same images to (2,) int64: what both decide alike, and all.
    """

    name: str
    words: str
    count: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """A task and how well it is done; for every score, more is better.

    Attributes:
        name: As in a checkpoint's card, one of `compress.task_names.MASKS`.
        terms: The task's own loss terms; empty where it uses no labels.
        output: The stage that is the network's answer: what an exported file gives, and what the tally reads.
        metric: Name of the score of an epoch.
        tally: (B, ...) outputs and (B, ...) targets of a batch to a vector of counts, which add up over batches.
        score: Such a sum to a fraction in [0, 1].
        evaluate: The network and the data to every metric of the test split, as fractions.
        agreement: On the classes that the outputs name; None where they are features, which name none.
    """

    name: str
    terms: tuple[Term, ...]
    output: str
    metric: str
    tally: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor], float]
    evaluate: Callable[[Staged, Dataset], dict[str, float]]
    agreement: Agreement | None

    @property
    def masks(self) -> bool:
        """Whether what it is about is a class for every pixel, instead of one for an image."""
        return MASKS[self.name]

    @property
    def headline(self) -> str:
        """The one of its metrics that stands for all of them."""
        return HEADLINES[self.name]


def check_task(task: Task, network: Staged, data: Dataset) -> None:
    """Nothing, once a network and a data set can be asked what the task asks.

    Raises:
        PlanError: The network has no such answer, or the data set has masks where the task is about classes, or the
            reverse.
    """
    names = [stage.name for stage in network.stages]
    if task.output not in names:
        raise PlanError(
            f"task {task.name!r} asks for the stage {task.output!r}, which this network does not have (its stages: "
            f"{', '.join(names)}); choose another task or network"
        )
    if task.masks != data.masks:
        has = "masks, a class for every pixel" if data.masks else "one class an image and no masks"
        fitting = ", ".join(other.name for other in TASKS.values() if other.masks == data.masks)
        raise PlanError(
            f"task {task.name!r} does not suit data set {data.name!r}, which has {has}; choose another data set, or "
            f"another task: {fitting}"
        )


def tallied(network: Staged, split: Split, task: Task) -> Tensor:
    """The task's tally over a whole split, in eval mode; over all processes, each of which takes its share.

    The images are shuffled, always alike: the tally of a batch may compare its images, and a split may be sorted.

    Raises:
        GateError: An output is NaN or infinite.
    """
    outputs = _outputs(network, split, task.output, order=0, size=batch_size(task, split))
    return total(torch.stack([task.tally(output, batch.target) for output, batch in outputs]).sum(dim=0))


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


def _outputs(
    network: Staged, split: Split, stage: str, *, order: int | None, size: int = EVALUATION_BATCH
) -> Iterator[tuple[Tensor, Batch]]:
    """(feature on the CPU, batch) for each batch of this process's share."""
    with answering(network, stage) as answer:
        for batch in split.batches(size, order=order, shard=share(), even=False):
            yield answer(batch.image), batch


def batch_size(task: Task, split: Split) -> int:
    """How many images of a split go through a network at once; few where each pixel has logits."""
    return _few(split) if task.masks else EVALUATION_BATCH


def _few(split: Split) -> int:
    first = next(split.batches(1)).image
    return min(max(EVALUATION_PIXELS // first.shape[2:].numel(), 1), EVALUATION_BATCH)


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2,) int64: the images whose largest of (B, C) logits is that of their label, and all images.

    Args:
        logits: (B, C).
        labels: (B,) classes, or (B, C) shares of the classes, of which the largest counts.
    """
    labels = labels if labels.ndim == 1 else labels.argmax(dim=1)
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


def segmented(logits: Tensor, masks: Tensor) -> Tensor:
    """(3 * C,) int64: the `pixel_counts` of (B, C, H, W) logits and (B, H, W) masks, summed over the images."""
    return pixel_counts(logits, masks).sum(dim=0).flatten()


def _evaluate_classification(network: Staged, data: Dataset) -> dict[str, float]:
    check_task(CLASSIFICATION, network, data)
    counts = tallied(network, data.test, CLASSIFICATION)
    low, high = wilson_interval(int(counts[0]), int(counts[1]))
    return {"top1": part(counts), "top1_low": low, "top1_high": high}


def _evaluate_retrieval(network: Staged, data: Dataset) -> dict[str, float]:
    check_task(RETRIEVAL, network, data)
    return retrieval_scores(*features(network, data.test, "embedding"), *features(network, data.train, "embedding"))


def _miou(counts: Tensor) -> float:
    """The mean IoU of what `segmented` gave."""
    return split_iou(counts.view(3, -1))


def _evaluate_segmentation(network: Staged, data: Dataset) -> dict[str, float]:
    """Mean IoU over the pixels of the split with its bootstrap interval, its variant per image, and IoU by class.

    A class that neither occurs nor is taken for anything is in no mean, and has no entry.
    """
    check_task(SEGMENTATION, network, data)
    outputs = _outputs(network, data.test, "logits", order=None, size=batch_size(SEGMENTATION, data.test))
    rows = [(batch.index, pixel_counts(output, batch.target)) for output, batch in outputs]
    order = gathered(torch.cat([index for index, _ in rows])).argsort()
    counts = gathered(torch.cat([count for _, count in rows]))[order]
    whole = counts.sum(dim=0)
    mean, (low, high) = split_iou(whole), iou_interval(counts)
    named = zip(data.classes, class_ious(whole).tolist(), strict=True)
    return {
        "miou": mean,
        "miou_low": low,
        "miou_high": high,
        "miou_per_image": mean_iou_per_image(counts),
        "pixel_accuracy": pixel_accuracy(whole),
        **{f"iou_{name}": iou for name, iou in named if not math.isnan(iou)},
    }


def decided_alike(outputs: Tensor, others: Tensor) -> Tensor:
    """(2,) int64: how often the largest of C outputs is the same one in both, and all: images, or their pixels.

    Args:
        outputs: (B, C), or (B, C, H, W).
        others: Those of the same shape that another network gives for the same images.
    """
    alike = outputs.argmax(dim=1) == others.argmax(dim=1)
    return torch.stack([alike.sum(), torch.tensor(alike.numel(), device=alike.device)])


def smoothed(task: Task, smoothing: float) -> Task:
    """The task, its labels smoothed: each gives a share to all classes alike; 0 is the task itself.

    Args:
        task: One that uses labels.
        smoothing: That share, in [0, 1).

    Raises:
        PlanError: It is out of its range, or the task has no labels to smooth.
    """
    if not smoothing:
        return task
    if not 0 < smoothing < 1:
        raise PlanError(f"label smoothing is {smoothing}; allowed is 0 up to, not including, 1")
    if not task.terms:
        raise PlanError(f"label smoothing is {smoothing}, but the task {task.name} uses no labels; leave it out")
    return replace(
        task, terms=tuple(replace(term, loss=partial(term.loss, smoothing=smoothing)) for term in task.terms)
    )


CLASSIFICATION = Task(
    name="classification",
    terms=(Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce"),),
    output="logits",
    metric="top1",
    tally=correct,
    score=part,
    evaluate=_evaluate_classification,
    agreement=Agreement("top1_agreement", "top-1 agreement", decided_alike),
)
RETRIEVAL = Task(
    name="retrieval",
    terms=(),
    output="embedding",
    metric="precision_1",
    tally=nearest_neighbour_hits,
    score=part,
    evaluate=_evaluate_retrieval,
    agreement=None,
)
SEGMENTATION = Task(
    name="segmentation",
    terms=(Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce"),),
    output="logits",
    metric="miou",
    tally=segmented,
    score=_miou,
    evaluate=_evaluate_segmentation,
    agreement=Agreement("pixel_agreement", "pixel agreement", decided_alike),
)

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, RETRIEVAL, SEGMENTATION)}
