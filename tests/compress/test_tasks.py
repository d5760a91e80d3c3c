"""Tasks: features of a split, the score of an epoch, the evaluation of a network."""

from __future__ import annotations

import pytest
import torch

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.errors import GateError, PlanError
from compress.intervals import wilson_interval
from compress.losses import cross_entropy_loss
from compress.metrics import retrieval_scores
from compress.tasks import (
    CLASSIFICATION,
    EVALUATION_BATCH,
    RETRIEVAL,
    TASKS,
    Task,
    features,
    nearest_neighbour_hits,
    smoothed,
    tallied,
)

ABOUT_CLASSES = {name: task for name, task in TASKS.items() if not task.masks}


def _forward(checkpoint: Checkpoint, data: Dataset) -> torch.Tensor:
    network = checkpoint.network
    with torch.no_grad():
        return torch.cat([network.model(network.scale(batch.image)) for batch in data.test.batches(1000)])


@pytest.mark.parametrize("training", [True, False])
def test_features_are_those_of_every_image_in_order_in_eval_mode(
    student: Checkpoint, digits: Dataset, training: bool
) -> None:
    student.network.model.eval()
    expected = _forward(student, digits)
    student.network.model.train(training)
    found, targets = features(student.network, digits.test, "logits")
    assert found.shape == (450, 10)
    assert torch.equal(targets, digits.test.targets)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not found.requires_grad
    assert student.network.model.training is training


def test_features_are_flat(student: Checkpoint, digits: Dataset) -> None:
    assert features(student.network, digits.test, "map1")[0].shape == (450, 4 * 11 * 11)


def test_the_nearest_neighbour_is_never_the_image_itself() -> None:
    feature = torch.tensor([[0.0], [1.0], [3.0], [3.5], [9.0]])
    assert nearest_neighbour_hits(feature, torch.tensor([0, 0, 1, 1, 1])).tolist() == [5, 5]
    assert nearest_neighbour_hits(feature, torch.tensor([0, 1, 0, 0, 0])).tolist() == [3, 5]
    assert nearest_neighbour_hits(feature, torch.tensor([0, 1, 2, 3, 4])).tolist() == [0, 5]


def test_classification_is_evaluated_on_the_whole_test_split(teacher: Checkpoint, digits: Dataset) -> None:
    found = CLASSIFICATION.evaluate(teacher.network, digits)
    correct = int((_forward(teacher, digits).argmax(1) == digits.test.targets).sum())
    low, high = wilson_interval(correct, 450)
    assert found == {"top1": correct / 450, "top1_low": low, "top1_high": high}
    assert 0.3 < low < found["top1"] < high < 1


def test_retrieval_is_evaluated_with_test_queries_against_the_training_images(
    teacher: Checkpoint, digits: Dataset
) -> None:
    found = RETRIEVAL.evaluate(teacher.network, digits)
    queries, database = (features(teacher.network, split, "embedding") for split in (digits.test, digits.train))
    assert found == retrieval_scores(*queries, *database)
    assert all(0 < value <= 1 for value in found.values())


@pytest.mark.parametrize("task", ABOUT_CLASSES.values(), ids=ABOUT_CLASSES)
def test_the_score_of_an_epoch_is_that_of_the_tallies_of_its_batches(
    teacher: Checkpoint, digits: Dataset, task: Task
) -> None:
    output, targets = features(teacher.network, digits.test, task.output)
    order = torch.cat([batch.index for batch in digits.test.batches(EVALUATION_BATCH, order=0, even=False)])
    batches = order.split(EVALUATION_BATCH)
    expected = torch.stack([task.tally(output[index], targets[index]) for index in batches]).sum(0)
    found = tallied(teacher.network, digits.test, task)
    assert found.tolist() == expected.tolist()
    assert task.score(found) == int(expected[0]) / 450


def test_the_score_of_classification_is_its_accuracy(teacher: Checkpoint, digits: Dataset) -> None:
    score = CLASSIFICATION.score(tallied(teacher.network, digits.test, CLASSIFICATION))
    assert score == CLASSIFICATION.evaluate(teacher.network, digits)["top1"]


@pytest.mark.parametrize("task", ABOUT_CLASSES.values(), ids=ABOUT_CLASSES)
def test_a_network_that_gives_nan_is_not_measured(student: Checkpoint, digits: Dataset, task: Task) -> None:
    next(student.network.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(GateError, match="NaN"):
        task.evaluate(student.network, digits)


def test_soft_labels_count_by_their_largest_share() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [3.0, 0.0, 1.0]])
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.5, 0.1, 0.4]])
    assert CLASSIFICATION.tally(logits, soft).tolist() == [2, 3]


def test_the_tasks_by_name() -> None:
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in TASKS}
    facts = [(task.name, task.masks, task.metric, task.output, len(task.terms)) for task in TASKS.values()]
    assert facts == [
        ("classification", False, "top1", "logits", 1),
        ("retrieval", False, "precision_1", "embedding", 0),
        ("segmentation", True, "miou", "logits", 1),
    ]


def test_smoothed_labels_give_a_share_to_every_class() -> None:
    logits, labels = torch.randn(4, 10), torch.tensor([3, 1, 4, 1])
    (term,) = smoothed(CLASSIFICATION, 0.1).terms
    logs = logits.log_softmax(dim=1)
    by_hand = -(0.9 * logs[range(4), labels] + 0.1 * logs.mean(dim=1)).mean()
    torch.testing.assert_close(term.loss(logits, labels), by_hand)
    assert smoothed(CLASSIFICATION, 0.0) == CLASSIFICATION
    assert CLASSIFICATION.terms[0].loss is cross_entropy_loss


@pytest.mark.parametrize("smoothing", [1.0, -0.1, float("nan")])
def test_smoothing_out_of_range_or_without_labels_is_refused(smoothing: float) -> None:
    with pytest.raises(PlanError, match=r"label smoothing is .*; allowed is 0 up to, not including, 1"):
        smoothed(CLASSIFICATION, smoothing)
    with pytest.raises(PlanError, match="the task retrieval uses no labels; leave it out"):
        smoothed(RETRIEVAL, 0.1)
