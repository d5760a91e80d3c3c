"""What the teacher says of a batch: looked up where it can be, computed where it must be, by a folded copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from plans import make_guide
from torch import Tensor

from compress.data import Batch, Dataset
from compress.phase import T
from compress.stages import Staged
from compress.training.features import teacher_features

CountPasses = Callable[[Staged], AbstractContextManager[list[int]]]


@pytest.fixture(scope="module")
def guide() -> Staged:
    return make_guide()


@pytest.fixture
def ask(guide: Staged, count_passes: CountPasses) -> Callable[..., tuple[dict[str, Tensor], int]]:
    """Data, stages and epochs to what the teacher says in two epochs, and how many images it looked at for that."""

    def ask(data: Dataset, stages: tuple[str, ...], epochs: int) -> tuple[dict[str, Tensor], int]:
        with count_passes(guide) as passes, teacher_features(guide, stages, data.train, epochs) as features:
            said = [features(batch) for batch in _two_epochs(data)]
        return {stage: torch.cat([given[T(stage)] for given in said]) for stage in stages}, sum(passes)

    return ask


def _two_epochs(data: Dataset) -> Iterator[Batch]:
    for epoch in range(2):
        yield from data.train.batches(32, order=epoch, view=epoch, seed=4)


def _seen(data: Dataset) -> int:
    return sum(len(batch.index) for batch in _two_epochs(data))


def test_the_teachers_table_says_what_the_teacher_says(
    digits: Dataset, ask: Callable[..., tuple[dict[str, Tensor], int]]
) -> None:
    stages = ("embedding", "logits")
    looked_up, once = ask(digits, stages, 2)
    computed, twice = ask(digits, stages, 1)
    assert (once, twice) == (len(digits.train), _seen(digits))
    for stage in stages:
        assert not looked_up[stage].requires_grad
        assert not computed[stage].requires_grad
        assert (looked_up[stage] - computed[stage]).abs().max() < 1e-5
        assert computed[stage].abs().max() > 1e-2


def test_there_is_no_table_of_images_that_change_or_of_maps(
    digits: Dataset, varied_digits: Dataset, ask: Callable[..., tuple[dict[str, Tensor], int]]
) -> None:
    assert ask(varied_digits, ("logits",), 2)[1] == _seen(varied_digits)
    assert ask(digits, ("map1", "logits"), 2)[1] == _seen(digits)
