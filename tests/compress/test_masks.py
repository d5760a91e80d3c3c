"""Targets that are masks: a tiny segmentation goes through the engine, which knows no class labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from watch import same, state_of, watched

from compress.data import Batch, Dataset
from compress.losses import feature_loss
from compress.phase import LABELS, OPTIMIZERS, Fit, Lesson, Phase, S, T, Term
from compress.preprocessing import Preprocessing
from compress.recipes import read_method
from compress.stages import Scale, Stage, Staged
from compress.tasks import Task, tallied
from compress.training.engine import Run, run

CLASSES = ("ground", "bright", "dark")
SEE = Preprocessing((12, 20), 1, (0.5,), (0.25,))


class MaskedSplit:
    """A split of images with bright and dark boxes on a noisy ground; each pixel has a class."""

    fixed = True

    def __init__(self, count: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        images = torch.randint(90, 160, (count, 1, *SEE.size), generator=random)
        self.targets = torch.zeros(count, *SEE.size, dtype=torch.uint8)
        for number in range(count):
            for label, shade in ((1, 230), (2, 20)):
                top, left = (int(torch.randint(side - 6, (), generator=random)) for side in SEE.size)
                images[number, 0, top : top + 6, left : left + 6] = shade
                self.targets[number, top : top + 6, left : left + 6] = label
        self._images = images.to(torch.uint8)

    def __len__(self) -> int:
        return len(self.targets)

    def batches(
        self,
        batch_size: int,
        *,
        order: int | None = None,
        view: int | None = None,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
        even: bool = True,
    ) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(1000 * seed + (order or 0))
        positions = torch.arange(len(self)) if order is None else torch.randperm(len(self), generator=random)
        assert (shard, view is None or even) == ((0, 1), True)
        for index in positions.split(batch_size):
            yield Batch(self._images[index], self.targets[index].long(), index)


def pixel_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """The mean cross-entropy over all pixels."""
    return F.cross_entropy(logits, mask)


def confusion(logits: Tensor, mask: Tensor) -> Tensor:
    """(3, 3) int64: how often each class (row) was taken for each (column)."""
    pairs = mask.flatten() * len(CLASSES) + logits.argmax(dim=1).flatten()
    return torch.bincount(pairs, minlength=len(CLASSES) ** 2).view(len(CLASSES), len(CLASSES))


def mean_iou(counts: Tensor) -> float:
    """The mean over the classes of intersection over union; no mean of the batches' own values."""
    both = counts.diag().double()
    return float((both / (counts.sum(dim=0) + counts.sum(dim=1) - both)).mean())


def _evaluate(network: Staged, data: Dataset) -> dict[str, float]:
    return {"miou": mean_iou(tallied(network, data.test, SEGMENTATION))}


SEGMENTATION = Task(
    "segmentation",
    (Term(pixel_loss, (S("mask"), LABELS), 1.0, "pixels"),),
    "mask",
    "miou",
    confusion,
    mean_iou,
    _evaluate,
)


def _network(width: int, seed: int) -> Staged:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            nn.Conv2d(width, len(CLASSES), 1),
        )
    stages = (Stage("edges", "2", ("0", "1"), width), Stage("mask", "3", ("3",), len(CLASSES)))
    return Staged(layers, stages, scale=Scale(SEE.mean, SEE.std))


@pytest.fixture(scope="module")
def photos() -> Dataset:
    return Dataset("boxes", CLASSES, SEE, MaskedSplit(48, 1), MaskedSplit(20, 2), MaskedSplit(31, 3), "0" * 16)


def _fit(epochs: int) -> Fit:
    return Fit(epochs, OPTIMIZERS["adam"](2e-2), (1.0,) * epochs, "best score", 16)


def _lesson(student: Staged, teacher: Staged | None) -> Lesson:
    return Lesson(student, teacher, SEGMENTATION, 48, len(CLASSES), 0)


def _miou_by_hand(network: Staged, data: Dataset) -> float:
    batch = next(data.test.batches(len(data.test)))
    with torch.no_grad():
        found = network.model.eval()(network.scale(batch.image)).argmax(dim=1)
    shares = []
    for label in range(len(CLASSES)):
        one, other = found == label, batch.target == label
        shares.append(int((one & other).sum()) / int((one | other).sum()))
    return sum(shares) / len(shares)


def test_a_network_learns_masks(photos: Dataset) -> None:
    student = _network(8, seed=2)
    phases = read_method("no_teacher").phases(_lesson(student, None), _fit(6))
    reports, states = watched(run(phases, student, photos, Run(SEGMENTATION)), student)
    assert {report.metric for report in reports} == {"val_miou"}
    scores = [report.score or 0.0 for report in reports]
    assert scores[0] < 0.6 < 0.8 < max(scores)
    assert same(state_of(student), states[scores.index(max(scores))])
    assert SEGMENTATION.evaluate(student, photos)["miou"] == pytest.approx(_miou_by_hand(student, photos), abs=1e-6)


def test_the_score_of_the_training_batches_is_that_of_their_sum(photos: Dataset) -> None:
    student = _network(4, seed=1)
    fit = replace(_fit(1), optimizer=replace(OPTIMIZERS["adam"](2e-2), lr=1e-12), keep="last")
    student.model[1].momentum = 0.0  # type: ignore[index, union-attr]
    phases = read_method("no_teacher").phases(_lesson(student, None), fit)
    (report,) = run(phases, student, replace(photos, val=None), Run(SEGMENTATION))
    student.model.train()
    with torch.no_grad():
        counts = sum(
            confusion(student.model(student.scale(batch.image)), batch.target)
            for batch in photos.train.batches(16, order=0)
        )
    assert report.metric == "train_miou"
    assert report.score == pytest.approx(mean_iou(counts), abs=1e-6)  # type: ignore[arg-type]


def test_a_network_learns_masks_from_another_one(photos: Dataset) -> None:
    student, teacher = _network(8, seed=3), _network(8, seed=2)
    phases = read_method("no_teacher").phases(_lesson(teacher, None), _fit(6))
    list(run(phases, teacher, photos, Run(SEGMENTATION)))
    unlabelled = Phase("mask", (Term(feature_loss, (S("mask"), T("mask")), 1.0, "mse"),), _fit(6))
    reports = list(run([unlabelled], student, photos, Run(SEGMENTATION), teacher=teacher))
    assert set(reports[0].losses) == {"mse"}
    assert SEGMENTATION.evaluate(student, photos)["miou"] > 0.7
