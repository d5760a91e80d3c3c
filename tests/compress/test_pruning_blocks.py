"""Residual blocks go as a whole: which there are, which go first, and how a card keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.card import Card
from compress.checkpoint import Checkpoint, load, save
from compress.cost import MacCounter
from compress.edits import Cut, Drop, from_data, to_data
from compress.errors import CompressError, PlanError
from compress.losses import cross_entropy_loss
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.pruning import Calibration, Choice, apply, saving, score, shares_left, show_survivors
from compress.pruning.blocks import least_blocks, residual_blocks
from compress.smaller import cut
from compress.stages import Stage, Staged, tapped

IMAGE = torch.zeros(1, 3, 32, 32)
RESNET18 = ["encoder.layer1.0", "encoder.layer1.1", "encoder.layer2.1", "encoder.layer3.1", "encoder.layer4.1"]


def _network(name: str = "resnet18") -> Staged:
    network = build(Architecture(name, 4, 3, (32, 32)), seed=0)
    network.model.eval()
    return network


def _calibration() -> Calibration:
    chance = torch.Generator().manual_seed(1)
    images = [torch.randn(4, 3, 32, 32, generator=chance) for _ in range(2)]
    return Calibration([(image, torch.tensor([0, 1, 2, 3])) for image in images], cross_entropy_loss)


def _checkpoint(network: Staged) -> Checkpoint:
    see = Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3)
    return Checkpoint(network, Card(Architecture("resnet18", 4, 3, (32, 32)), see, tuple("abcd")))


# which there are


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", RESNET18),
        ("cnn-s", []),
        ("mobilenet_v2", [f"features.{number}" for number in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]),
        ("vit_b_32", [f"encoder.layers.encoder_layer_{number}" for number in range(12)]),
    ],
)
def test_the_residual_blocks_of_a_network(name: str, blocks: list[str]) -> None:
    assert residual_blocks(_network(name), IMAGE) == blocks


class _Odd(nn.Module):
    """Blocks of one shape that are no residual ones but for the last."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        self.gate = _Joined("gate")
        self.twice = _Joined("add")
        self.sum = _Joined("add")
        self.head = nn.Linear(3, 4)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.sum(self.twice(self.twice(self.gate(self.plain(image))))).mean(dim=(2, 3)))
        return logits


class _Joined(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.conv = form, nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, feature: Tensor) -> Tensor:
        return feature * self.conv(feature) if self.form == "gate" else (feature + self.conv(feature)).relu()


def test_only_what_adds_to_its_input_is_a_block() -> None:
    stages = (Stage("map", "sum", ("plain", "gate", "twice", "sum"), 3), Stage("logits", "", ("head",), 4))
    assert residual_blocks(Staged(_Odd().eval(), stages), IMAGE) == ["sum"]


def test_a_block_with_a_tap_inside_stays() -> None:
    network = _network()
    inner = Stage("inner", "encoder.layer1.1.conv1", (), 64)
    tapped_inside = Staged(network.model, (inner, *network.stages))
    assert residual_blocks(tapped_inside, IMAGE) == [name for name in RESNET18 if name != "encoder.layer1.1"]


# which go


def test_a_block_that_does_nothing_is_not_missed() -> None:
    network = _network()
    network.model.get_submodule("encoder.layer3.1.bn2").weight.data.zero_()
    small, images = apply(network, [Drop("encoder.layer3.1")], IMAGE), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(small.model(images), network.model(images))


def _naive_costs(network: Staged, calibration: Calibration) -> dict[str, float]:
    """Block to the rise of the loss for each multiply-accumulate that its removal saves."""
    images, targets = (torch.cat(parts) for parts in zip(*calibration.batches, strict=True))

    def look(one: Staged) -> tuple[float, int]:
        with torch.no_grad(), MacCounter() as counter:
            loss = cross_entropy_loss(one.model(images), targets)
        return float(loss), counter.macs // len(images)

    loss, macs = look(network)
    small = {name: look(apply(network, [Drop(name)], IMAGE)) for name in RESNET18}
    return {name: (less - loss) / (macs - left) for name, (less, left) in small.items()}


def test_the_block_goes_that_costs_the_least_loss_for_what_it_saves() -> None:
    network, calibration = _network(), _calibration()
    network.model.get_submodule("classifier").weight.data.mul_(50)
    _learn(network, calibration)
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    costs = _naive_costs(network, calibration)
    assert min(costs.values()) > 0
    assert least_blocks(network, IMAGE, 1, calibration) == (Drop(min(costs, key=costs.__getitem__)),)
    assert all(torch.equal(before[key], value) for key, value in network.model.state_dict().items())


def test_with_prices_the_block_goes_that_costs_the_least_loss_for_its_price() -> None:
    network, calibration = _network(), _calibration()
    network.model.get_submodule("classifier").weight.data.mul_(50)
    _learn(network, calibration)
    costs = _naive_costs(network, calibration)
    worst = max(costs, key=costs.__getitem__)
    dear = {f"{name}.conv1": 1.0 for name in RESNET18} | {
        f"{worst}.conv1": 5e8,
        f"{worst}.conv2": 5e8,
        "classifier": 1e12,
    }
    assert least_blocks(network, IMAGE, 1, calibration, prices=dear) == (Drop(worst),)
    found = score(network, IMAGE, Choice(blocks=1), calibration, prices=dear)
    assert found.drops == (Drop(worst),)


def test_a_block_without_a_price_among_others_is_refused() -> None:
    prices = {f"{name}.conv1": 1.0 for name in RESNET18[:-1]}
    with pytest.raises(PlanError, match=r"block encoder\.layer4\.1: what its layers take is not known"):
        least_blocks(_network(), IMAGE, 1, _calibration(), prices=prices)
    assert least_blocks(_network(), IMAGE, 1, _calibration(), leave=("layer4",), prices=prices)


def test_what_a_block_takes_is_the_sum_over_its_layers() -> None:
    prices = {"layer1.1.conv1": 1.0, "layer1.1.conv2": 2.0, "layer1.10.conv1": 4.0, "layer1": 8.0}
    assert saving("layer1.1", prices) == 3
    assert saving("layer1", prices) == 15
    assert saving("layer2", prices) == 0


def _learn(network: Staged, calibration: Calibration) -> None:
    """So that each block is missed."""
    optimizer = torch.optim.Adam(network.model.parameters(), lr=1e-3)
    for _ in range(6):
        for images, targets in calibration.batches:
            optimizer.zero_grad()
            cross_entropy_loss(network.model(images), targets).backward()
            optimizer.step()
    optimizer.zero_grad()


def test_stages_keep_something_and_blocks_may_be_left_alone() -> None:
    network = _network()
    all_ = {drop.module for drop in least_blocks(network, IMAGE, 4, _calibration())}
    assert len(all_ & set(RESNET18[:2])) == 1  # the stage layer1 has no others
    assert all_ >= set(RESNET18[2:])
    with pytest.raises(PlanError, match=r"has 4 residual blocks that could go, where 5 were to"):
        least_blocks(network, IMAGE, 5, _calibration())
    left = least_blocks(network, IMAGE, 1, _calibration(), leave=("layer1", "encoder.layer[23]*"))
    assert left == (Drop("encoder.layer4.1"),)


def test_without_images_no_block_is_chosen() -> None:
    with pytest.raises(PlanError, match="blocks are chosen by what their removal costs: give images"):
        score(_network(), IMAGE, Choice(blocks=1))


# with channels, and on the card


def test_blocks_go_before_channels_and_come_back_from_a_file(tmp_path: Path) -> None:
    whole = _checkpoint(_network())
    small = cut(whole, 0.5, "edgepress prune", choice=Choice(blocks=2), calibration=_calibration())
    kinds = [type(edit) for edit in small.card.edits]
    assert kinds == [Drop, Drop] + [Cut] * (len(kinds) - 2)
    again = load(save(small, tmp_path / "small.safetensors"))
    assert again.card.edits == small.card.edits
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.network.model(images), small.network.model(images))
    twice = cut(again, 0, "edgepress prune", choice=Choice(blocks=1), calibration=_calibration())
    assert [type(edit) for edit in twice.card.edits] == [*kinds, Drop]
    assert torch.isfinite(load(save(twice, tmp_path / "twice.safetensors")).network.model(images)).all()


def test_layers_of_a_block_that_is_gone_have_no_channels_left() -> None:
    network = _network()
    shares = shares_left(network, apply(network, [Drop("encoder.layer1.1")], IMAGE)).layers
    assert {name for name, share in shares.items() if share.channels[1] == 0} == {
        "encoder.layer1.1.conv1",
        "encoder.layer1.1.conv2",
    }
    assert shares["encoder.layer1.1.conv1"].channels == (64, 0)


def test_survivors_are_followed_past_blocks_that_are_gone() -> None:
    network = _network()
    cuts = score(network, IMAGE, Choice(blocks=2), _calibration()).at(0.5)
    shown, small = show_survivors(network, cuts, IMAGE), apply(network, cuts, IMAGE)
    names = list(network.body)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), tapped(shown, names) as guide, tapped(small, names) as student:
        guide.read(shown.model, images)
        student.read(small.model, images)
        for name in names:
            assert guide[name].shape == student[name].shape, name


def test_a_drop_survives_json() -> None:
    assert from_data(json.loads(json.dumps(to_data(Drop("layer1.0"))))) == Drop("layer1.0")


@pytest.mark.parametrize("data", [{"drop": ""}, {"drop": 3}, {"drop": None}])
def test_a_damaged_drop_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="a drop"):
        from_data(data)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encoder.layer9", "which ResNet.* does not have|does not have"),
        ("encoder.layer2.0", "changes the shape of what it takes"),
        ("classifier", "changes the shape of what it takes"),
    ],
)
def test_a_drop_that_does_not_fit_is_refused(name: str, message: str) -> None:
    with pytest.raises(CompressError, match=message):
        apply(_network(), [Drop(name)], IMAGE)
