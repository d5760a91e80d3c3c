"""What the teacher says of a split: looked up where its images return, computed where they do not, by a folded copy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from plans import make_guide
from torch import Tensor

from compress.data import DataOptions, Dataset, load
from compress.phase import T
from compress.stages import Staged
from compress.training.cache import Room, Source
from compress.training.features import Guide, teacher_features

CountPasses = Callable[[Staged], AbstractContextManager[list[int]]]
ROOM = 10**8


@pytest.fixture(scope="module")
def guide() -> Staged:
    return make_guide()


@pytest.fixture
def ask(guide: Staged, count_passes: CountPasses) -> Callable[..., tuple[dict[str, Tensor], int]]:
    """Data, stages and the views of epochs to what the teacher says in them, and how many images it looked at for that.

    A second list of stages is asked for afterwards, in the same epochs.
    """

    def ask(
        data: Dataset, views: list[int], *stages: tuple[str, ...], room: int = ROOM
    ) -> tuple[dict[str, Tensor], int]:
        source = Source(data.train, 4, torch.device("cpu"), 32, tuple(views), Room(room))
        said: dict[str, list[Tensor]] = {}
        before = None
        with count_passes(guide) as passes:
            for names in stages:
                with teacher_features(guide, names) as teacher:
                    before = Guide(teacher, source, before)
                    for epoch, view in enumerate(views):
                        features = before.at(view).features
                        for batch in data.train.batches(32, order=epoch, view=view, seed=4):
                            for stage in names:
                                said.setdefault(stage, []).append(features(batch)[T(stage)])
        return {stage: torch.cat(given) for stage, given in said.items()}, sum(passes)

    return ask


@pytest.fixture(scope="module")
def flipped() -> Dataset:
    return load("digits", DataOptions(size=(24, 24), fraction=0.1, augment=("flip",)))


STAGES = ("map2", "embedding", "logits")


@pytest.mark.parametrize(("name", "views", "looked"), [("digits", [0, 1], 1), ("flipped", [0, 1, 0, 1], 2)])
def test_the_table_says_what_the_teacher_says(
    request: pytest.FixtureRequest, name: str, views: list[int], looked: int, ask: Callable[..., object]
) -> None:
    data: Dataset = request.getfixturevalue(name)
    looked_up, once = ask(data, views, STAGES)  # type: ignore[misc]
    computed, _ = ask(data, views, STAGES, room=0)  # type: ignore[misc]
    assert once == looked * len(data.train)
    for stage in STAGES:
        assert not looked_up[stage].requires_grad
        assert (looked_up[stage] - computed[stage]).abs().max() < 1e-5
        assert computed[stage].abs().max() > 1e-2


def test_a_view_that_does_not_return_has_no_table(flipped: Dataset, ask: Callable[..., tuple[object, int]]) -> None:
    epoch = sum(len(batch.index) for batch in flipped.train.batches(32, order=0))
    assert ask(flipped, [0, 1, 2], ("logits",))[1] == 3 * epoch
    assert ask(flipped, [0, 1, 0], ("logits",))[1] == len(flipped.train) + epoch


def test_a_deeper_stage_is_computed_from_the_table_of_the_one_before(
    flipped: Dataset, ask: Callable[..., tuple[dict[str, Tensor], int]]
) -> None:
    views = [0, 1, 0, 1]
    onwards, looked = ask(flipped, views, ("map1",), ("map3", "logits"))
    assert looked == 2 * len(flipped.train)
    alone, _ = ask(flipped, views, ("map3", "logits"))
    assert torch.equal(onwards["map3"], alone["map3"])
    assert torch.equal(onwards["logits"], alone["logits"])
    back, looked = ask(flipped, views, ("map3",), ("map1",))
    assert looked == 4 * len(flipped.train)
    assert torch.equal(back["map1"], onwards["map1"])


def test_a_table_too_large_for_memory_and_disk_is_not_made(
    flipped: Dataset, ask: Callable[..., tuple[dict[str, Tensor], int]]
) -> None:
    views, epoch = [0, 0], sum(len(batch.index) for batch in flipped.train.batches(32, order=0))
    assert (
        ask(flipped, views, ("map1",), room=10_000)[1] == 2 * epoch + 32
    )  # the first batch says how large it would be
