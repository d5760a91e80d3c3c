"""Targets that are masks: a tiny segmentation goes through the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from boxes import CLASSES, boxes, boxes_network
from watch import same, state_of, watched

from compress.data import Dataset
from compress.data.split import VOID
from compress.losses import feature_loss
from compress.phase import OPTIMIZERS, Fit, Lesson, Phase, S, T, Term
from compress.recipes import read_method
from compress.segmentation import split_iou
from compress.stages import Staged
from compress.tasks import SEGMENTATION
from compress.training.engine import Run, run


@pytest.fixture(scope="module")
def photos() -> Dataset:
    return boxes()


def _fit(epochs: int) -> Fit:
    return Fit(epochs, OPTIMIZERS["adam"](2e-2), (1.0,) * epochs, "best score", 16)


def _lesson(student: Staged, teacher: Staged | None) -> Lesson:
    return Lesson(student, teacher, SEGMENTATION, 48, len(CLASSES), 0)


def _miou_by_hand(network: Staged, data: Dataset) -> float:
    batch = next(data.test.batches(len(data.test)))
    asked = batch.target != VOID
    with torch.no_grad():
        found = network.model.eval()(network.scale(batch.image)).argmax(dim=1)
    shares = []
    for label in range(len(CLASSES)):
        one, other = (found == label) & asked, batch.target == label
        shares.append(int((one & other).sum()) / int((one | other).sum()))
    return sum(shares) / len(shares)


def test_a_network_learns_masks(photos: Dataset) -> None:
    student = boxes_network(8, seed=2)
    phases = read_method("no_teacher").phases(_lesson(student, None), _fit(6))
    reports, states = watched(run(phases, student, photos, Run(SEGMENTATION)), student)
    assert {report.metric for report in reports} == {"val_miou"}
    scores = [report.score or 0.0 for report in reports]
    assert scores[0] < 0.6 < 0.8 < max(scores)
    assert same(state_of(student), states[scores.index(max(scores))])
    assert SEGMENTATION.evaluate(student, photos)["miou"] == pytest.approx(_miou_by_hand(student, photos), abs=1e-6)


def test_the_score_of_the_training_batches_is_that_of_their_sum(photos: Dataset) -> None:
    student = boxes_network(4, seed=1)
    fit = replace(_fit(1), optimizer=replace(OPTIMIZERS["adam"](2e-2), lr=1e-12), keep="last")
    student.model[1].momentum = 0.0  # type: ignore[index, union-attr]
    phases = read_method("no_teacher").phases(_lesson(student, None), fit)
    (report,) = run(phases, student, replace(photos, val=None), Run(SEGMENTATION))
    student.model.train()
    with torch.no_grad():
        counts = [
            SEGMENTATION.tally(student.model(student.scale(batch.image)), batch.target)
            for batch in photos.train.batches(16, order=0)
        ]
    assert report.metric == "train_miou"
    assert report.score == pytest.approx(split_iou(torch.stack(counts).sum(dim=0).view(3, -1)), abs=1e-6)


def test_a_network_learns_masks_from_another_one(photos: Dataset) -> None:
    student, teacher = boxes_network(8, seed=3), boxes_network(8, seed=2)
    phases = read_method("no_teacher").phases(_lesson(teacher, None), _fit(6))
    list(run(phases, teacher, photos, Run(SEGMENTATION)))
    unlabelled = Phase("mask", (Term(feature_loss, (S("logits"), T("logits")), 1.0, "mse"),), _fit(6))
    reports = list(run([unlabelled], student, photos, Run(SEGMENTATION), teacher=teacher))
    assert set(reports[0].losses) == {"mse"}
    assert SEGMENTATION.evaluate(student, photos)["miou"] > 0.7
