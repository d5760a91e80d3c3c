"""What the teacher says of a batch: looked up where it can be, computed where it must be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from compress.data import Batch, Dataset
from compress.models import Architecture, build
from compress.stages import Staged
from compress.training.features import teacher_targets


@pytest.fixture(scope="module")
def guide() -> Staged:
    return build(Architecture("cnn-a", 10, 1, (24, 24), {"width": 8}), seed=9)


def _targets(guide: Staged, data: Dataset, stages: tuple[str, ...], epochs: int) -> tuple[dict[str, Tensor], int]:
    """What the teacher says of two epochs, and how many images it looked at for that."""
    images: list[int] = []
    handle = guide.model.register_forward_hook(lambda _module, args, _output: images.append(len(args[0])))
    rows: dict[str, list[Tensor]] = {stage: [] for stage in stages}
    with teacher_targets(guide, stages, data.train, epochs) as targets:
        for batch in _epochs(data):
            for stage, feature in targets(batch).items():
                rows[stage].append(feature)
    handle.remove()
    return {stage: torch.cat(parts) for stage, parts in rows.items()}, sum(images)


def _epochs(data: Dataset) -> Iterator[Batch]:
    for epoch in range(2):
        yield from data.train.batches(32, order=epoch, view=epoch, seed=4)


def test_the_teachers_table_says_what_the_teacher_says(digits: Dataset, guide: Staged) -> None:
    stages = ("embedding", "logits")
    looked_up, once = _targets(guide, digits, stages, 2)
    computed, twice = _targets(guide, digits, stages, 1)
    assert (once, twice) == (len(digits.train), sum(len(batch.index) for batch in _epochs(digits)))
    for stage in stages:
        assert not looked_up[stage].requires_grad
        assert not computed[stage].requires_grad
        assert (looked_up[stage] - computed[stage]).abs().max() < 1e-5
        assert computed[stage].abs().max() > 1e-2


def test_there_is_no_table_of_images_that_change_or_of_maps(
    digits: Dataset, varied_digits: Dataset, guide: Staged
) -> None:
    seen = sum(len(batch.index) for batch in _epochs(varied_digits))
    assert _targets(guide, varied_digits, ("logits",), 2)[1] == seen
    assert _targets(guide, digits, ("map1", "logits"), 2)[1] == sum(len(batch.index) for batch in _epochs(digits))
