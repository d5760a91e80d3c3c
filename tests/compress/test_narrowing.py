"""What a narrowed auxiliary shows: the strongest channels of its maps, and the rest as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn
from watch import same, state_of

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.errors import PlanError
from compress.models import Architecture, build
from compress.named import Named
from compress.opening import new_network
from compress.recipes.indistill import narrowed
from compress.stages import Staged, tapped


def _features(network: Staged, names: Iterable[str], image: Tensor) -> dict[str, Tensor]:
    network.model.eval()
    names = list(names)
    with torch.no_grad(), tapped(network, names) as taps:
        taps.read(network.model, network.scale(image))
        return {name: taps[name] for name in names}


def _maps(network: Staged, image: Tensor) -> dict[str, Tensor]:
    return _features(network, network.body, image)


def _by_norm(weight: Tensor, count: int) -> list[int]:
    """The filters with the largest sum of magnitudes, in their order, found one by one."""
    sums = [sum(abs(float(value)) for value in kernel.flatten()) for kernel in weight.detach().double()]
    return sorted(sorted(range(len(sums)), key=lambda n: -sums[n])[:count])


@pytest.fixture(scope="module")
def image(digits: Dataset) -> Tensor:
    return next(digits.test.batches(16)).image


def test_a_narrowed_auxiliary_shows_its_own_strongest_channels(
    teacher: Checkpoint, student: Checkpoint, image: Tensor
) -> None:
    whole, shown = (
        _maps(network, image)
        for network in (teacher.network, narrowed(teacher.network, student.network, follow="paper"))
    )
    for number, name in enumerate(("map1", "map2", "map3")):
        weight = teacher.network.model.get_submodule(f"blocks.{number}.conv").weight
        kept = _by_norm(weight, student.network.width(name))  # type: ignore[arg-type]
        assert kept != list(range(len(kept)))
        assert torch.equal(shown[name], whole[name][:, kept])


@pytest.mark.parametrize("follow", ["paper", "release"])
def test_narrowing_changes_neither_the_auxiliary_nor_its_other_stages(
    teacher: Checkpoint, student: Checkpoint, image: Tensor, follow: str
) -> None:
    before = state_of(teacher.network)
    network = narrowed(teacher.network, student.network, follow=follow)
    assert [network.width(name) for name in network.body] == [4, 8, 16]
    rest = ("embedding", "logits")
    shown, expected = (_features(one, rest, image) for one in (network, teacher.network))
    assert all(torch.allclose(shown[name], expected[name], atol=1e-5) for name in rest)
    assert same(state_of(teacher.network), before)


@pytest.mark.parametrize("follow", ["paper", "release"])
def test_an_auxiliary_narrower_than_the_student_is_refused(teacher: Checkpoint, digits: Dataset, follow: str) -> None:
    wide = new_network(Named("cnn-s", options={"width": 9}), digits, seed=0)
    with pytest.raises(PlanError, match=r"stage 'map1': cannot (show|keep) 9 of 8"):
        narrowed(teacher.network, wide.network, follow=follow)


def test_following_the_release_needs_plain_blocks(student: Checkpoint) -> None:
    plain = build(Architecture("cnn-a", 10, 1, (24, 24)))
    plain.model.set_submodule("blocks.1", nn.Sequential(nn.Conv2d(16, 32, 3), nn.MaxPool2d(2)))
    with pytest.raises(PlanError, match=r"stage 'map2': the released .* take the paper's: --set follow=paper"):
        narrowed(plain, student.network, follow="release")


def test_blocks_of_the_user_s_own_can_follow_the_release(
    teacher: Checkpoint, student: Checkpoint, image: Tensor
) -> None:
    own, shown = copy.deepcopy(teacher.network), narrowed(teacher.network, student.network, follow="release")
    for name in ("blocks.0", "blocks.1", "blocks.2"):
        block = own.model.get_submodule(name)
        own.model.set_submodule(name, nn.Sequential(*block.children()))
    again = _maps(narrowed(own, student.network, follow="release"), image)
    expected = _maps(shown, image)
    assert all(torch.equal(again[name], expected[name]) for name in expected)
