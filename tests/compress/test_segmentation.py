"""Intersection over union: by hand, beside a naive twin, without void, additive; the task of it, and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from boxes import CLASSES, boxes, boxes_network
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.data.split import VOID
from compress.errors import DataError, PlanError
from compress.losses.logits import VOID as LOSSES_VOID
from compress.segmentation import (
    class_ious,
    iou_drop_interval,
    iou_interval,
    mean_iou,
    mean_iou_per_image,
    pixel_accuracy,
    pixel_counts,
    split_iou,
)
from compress.tasks import CLASSIFICATION, RETRIEVAL, SEGMENTATION, Task, check_task, tallied

TRUE = torch.tensor([[[0, 0, 1], [1, 1, VOID]], [[0, 0, 0], [0, VOID, VOID]]])
TAKEN = torch.tensor([[[0, 1, 1], [1, 0, 2]], [[0, 0, 0], [2, 2, 1]]])


def _logits(taken: Tensor, classes: int) -> Tensor:
    """Logits (B, C, H, W) whose largest are the given classes (B, H, W)."""
    return torch.nn.functional.one_hot(taken, classes).movedim(-1, 1).float()


def _random(images: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits and masks of 5 x 7, about every sixth pixel void."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, 5, 7, generator=random)
    masks = torch.randint(classes, (images, 5, 7), generator=random)
    masks[torch.rand(images, 5, 7, generator=random) < 1 / 6] = VOID
    return logits, masks


def _naive_iou(taken: list[int], true: list[int], label: int) -> float | None:
    both = either = 0
    for found, wanted in zip(taken, true, strict=True):
        if wanted == VOID:
            continue
        both += found == label == wanted
        either += label in (found, wanted)
    return both / either if either else None


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known)


def test_by_hand() -> None:
    counts = pixel_counts(_logits(TAKEN, 4), TRUE)
    assert counts.tolist() == [
        [[1, 2, 0, 0], [2, 3, 0, 0], [2, 3, 0, 0]],
        [[3, 0, 0, 0], [4, 0, 0, 0], [3, 0, 1, 0]],
    ]
    whole = counts.sum(dim=0)
    ious = class_ious(whole).tolist()
    assert ious[:3] == pytest.approx([4 / 7, 2 / 4, 0])
    assert math.isnan(ious[3])
    assert split_iou(whole) == pytest.approx((4 / 7 + 2 / 4 + 0) / 3)
    assert pixel_accuracy(whole) == 6 / 9
    assert mean_iou_per_image(counts) == pytest.approx(((1 / 3 + 2 / 4) / 2 + 3 / 4) / 2)


def test_naive_twin() -> None:
    logits, masks = _random(9, 4, seed=1)
    counts = pixel_counts(logits, masks)
    taken = logits.argmax(dim=1)
    whole = [_naive_iou(taken.flatten().tolist(), masks.flatten().tolist(), label) for label in range(4)]
    assert class_ious(counts.sum(dim=0)).tolist() == pytest.approx(whole, rel=1e-12)
    assert split_iou(counts.sum(dim=0)) == pytest.approx(_mean(whole), rel=1e-12)
    each = [
        _mean([_naive_iou(found, true, label) for label in range(4) if label in true])
        for found, true in zip(taken.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True)
    ]
    assert mean_iou_per_image(counts) == pytest.approx(math.fsum(each) / 9, rel=1e-12)


def test_counts_add_up_over_images_and_batches() -> None:
    logits, masks = _random(10, 3, seed=2)
    parts = [SEGMENTATION.tally(*pair) for pair in zip(logits.split(4), masks.split(4), strict=True)]
    assert torch.stack(parts).sum(dim=0).equal(SEGMENTATION.tally(logits, masks))


def test_what_a_void_pixel_is_taken_for_does_not_count() -> None:
    logits, masks = _random(3, 5, seed=3)
    other = logits.clone()
    void = (masks == VOID)[:, None].expand_as(logits)
    other[void] = -logits[void]
    assert not other.argmax(dim=1).equal(logits.argmax(dim=1))
    assert pixel_counts(other, masks).equal(pixel_counts(logits, masks))


def test_perfect_and_hopeless_masks() -> None:
    _, masks = _random(4, 3, seed=4)
    exact = pixel_counts(_logits(masks.where(masks != VOID, 0), 3), masks)
    wrong = pixel_counts(_logits((masks + 1) % 3, 3), masks)
    assert split_iou(exact.sum(dim=0)) == mean_iou_per_image(exact) == pixel_accuracy(exact.sum(dim=0)) == 1
    assert split_iou(wrong.sum(dim=0)) == mean_iou_per_image(wrong) == pixel_accuracy(wrong.sum(dim=0)) == 0
    assert iou_interval(exact) == (1, 1)


def test_the_interval_is_the_spread_over_images_that_are_drawn_again() -> None:
    counts = pixel_counts(*_random(40, 3, seed=5))
    low, high = iou_interval(counts)
    assert low < split_iou(counts.sum(dim=0)) < high
    assert iou_interval(counts) == (low, high)
    assert iou_interval(counts, seed=1) != (low, high)
    narrow = iou_interval(counts, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    each = mean_iou(counts)
    assert (high - low) / 2 == pytest.approx(1.96 * float(each.std()) / 40**0.5, rel=0.3)


def test_images_of_void_alone_are_in_no_mean() -> None:
    logits, masks = _random(3, 3, seed=6)
    masks[1] = VOID
    counts = pixel_counts(logits, masks)
    assert mean_iou_per_image(counts) == mean_iou_per_image(counts[[0, 2]])
    with pytest.raises(DataError, match="every pixel of the masks is void"):
        split_iou(counts[1])
    with pytest.raises(DataError, match="every pixel of the masks is void"):
        mean_iou_per_image(counts[1:2])


@pytest.mark.parametrize(
    ("logits", "masks", "message"),
    [
        ((2, 3), (2,), r"expected \(B, C, H, W\) and \(B, H, W\)"),
        ((2, 3, 4, 5), (2, 5, 4), r"logits \(2, 3, 4, 5\) and masks \(2, 5, 4\)"),
        ((2, 3, 4, 5), (3, 4, 5), r"logits \(2, 3, 4, 5\) and masks \(3, 4, 5\)"),
    ],
)
def test_shapes_that_do_not_fit(logits: tuple[int, ...], masks: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixel_counts(torch.zeros(logits), torch.zeros(masks, dtype=torch.int64))


def test_a_class_that_the_logits_do_not_have() -> None:
    masks = torch.tensor([[[0, 11]]])
    with pytest.raises(ValueError, match="a mask holds class 11; the logits tell classes 0 to 10 apart"):
        pixel_counts(torch.zeros(1, 11, 1, 2), masks)


# the task


def test_evaluation_gives_every_number_of_the_whole_test_split() -> None:
    data, network = boxes(), boxes_network(4, seed=5)
    found = SEGMENTATION.evaluate(network, data)
    batch = next(data.test.batches(31))
    with torch.no_grad():
        counts = pixel_counts(network.model.eval()(network.scale(batch.image)), batch.target)
    whole = counts.sum(dim=0)
    assert found["miou"] == split_iou(whole) == SEGMENTATION.score(tallied(network, data.test, SEGMENTATION))
    assert (found["miou_low"], found["miou_high"]) == iou_interval(counts)
    assert found["miou_per_image"] == mean_iou_per_image(counts)
    assert found["pixel_accuracy"] == pixel_accuracy(whole)
    assert [found[f"iou_{name}"] for name in CLASSES] == class_ious(whole).tolist()


def test_large_maps_are_evaluated_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data, network = boxes(), boxes_network(4, seed=5)
    expected = SEGMENTATION.evaluate(network, data)
    sizes: list[int] = []
    network.model.register_forward_pre_hook(lambda _module, args: sizes.append(len(args[0])))
    monkeypatch.setattr("compress.tasks.EVALUATION_PIXELS", 5 * 12 * 20)
    assert SEGMENTATION.evaluate(network, data) == expected
    assert max(sizes) == 5


@pytest.mark.parametrize("task", [CLASSIFICATION, RETRIEVAL])
def test_tasks_about_classes_refuse_masks(task: Task, student: Checkpoint) -> None:
    with pytest.raises(
        PlanError, match=rf"'{task.name}' does not suit data set 'boxes', which has masks.*segmentation"
    ):
        check_task(task, student.network, boxes())


def test_segmentation_refuses_classes(student: Checkpoint, digits: Dataset) -> None:
    with pytest.raises(PlanError, match=r"one class an image and no masks.*another task: classification, retrieval"):
        SEGMENTATION.evaluate(student.network, digits)


def test_retrieval_without_an_embedding_is_refused() -> None:
    with pytest.raises(PlanError, match=r"'retrieval' asks for the stage 'embedding'.*\(its stages: edges, logits\)"):
        RETRIEVAL.evaluate(boxes_network(4, seed=1), boxes())


def test_losses_and_data_agree_on_what_is_void() -> None:
    assert LOSSES_VOID == VOID


def test_a_drop_of_mean_iou_is_paired_image_by_image() -> None:
    chance = torch.Generator().manual_seed(0)
    true = torch.randint(20, 60, (40, 3), generator=chance)
    hard = torch.rand(40, 1, generator=chance)
    own = torch.stack([(true * (0.9 - 0.5 * hard)).long(), true, true], dim=1)
    its = torch.stack([(true * (1.0 - 0.5 * hard)).long(), true, true], dim=1)
    (low, high), errors = iou_drop_interval(own, its)
    drop = split_iou(its.sum(dim=0)) - split_iou(own.sum(dim=0))
    assert low < drop < high
    ends = [iou_interval(one) for one in (own, its)]
    assert high - low < 0.5 * min(most - least for least, most in ends)
    assert errors.shape == (3,)
    assert (errors > 0).all()
    (low, high), errors = iou_drop_interval(own, own)
    assert (low, high, errors.tolist()) == (0.0, 0.0, [0.0] * 3)
    with pytest.raises(ValueError, match="give those of both networks"):
        iou_drop_interval(own, its[1:])
