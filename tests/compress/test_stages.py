"""Stages: the names of a network's places, and the taps that read there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress.errors import PlanError
from compress.stages import Stage, Staged, feature_shapes, tapped

CountHooks = Callable[[Staged], int]


class Twice(nn.Module):
    """Uses one layer twice, and gives a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.pair = nn.LSTM(3, 3)

    def forward(self, feature: Tensor) -> Tensor:
        return self.pair(self.layer(self.layer(feature)))[0]


@pytest.fixture
def network() -> Staged:
    """Convolution, in-place ReLU, convolution; the second's input is a stage too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    stages = (
        Stage("map1", "0", ("0",), 4),
        Stage("active", "1", (), 4),
        Stage("embedding", "2", ("2.weight",), 4, before=True),
        Stage("logits", "", ("2.bias",), 2),
    )
    return Staged(model, stages)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_tap_before_an_in_place_relu_reads_what_went_into_it(network: Staged, image: Tensor) -> None:
    expected = network.model.get_submodule("0")(image)
    with tapped(network, ["map1", "active", "embedding", "logits"]) as taps:
        output = network.model(image)
    assert (expected < 0).any()
    assert torch.equal(taps["map1"], expected)
    assert torch.equal(taps["active"], expected.relu())
    assert torch.equal(taps["embedding"], expected.relu())
    assert torch.equal(taps["logits"], output)


def test_an_input_tap_of_an_in_place_module_reads_what_went_into_it(network: Staged, image: Tensor) -> None:
    before = Staged(network.model, (Stage("map1", "1", (), 4, before=True),))
    with tapped(before, ["map1"]) as taps:
        network.model(image)
    assert torch.equal(taps["map1"], network.model.get_submodule("0")(image))


def test_taps_do_not_change_output_or_gradient(network: Staged, image: Tensor) -> None:
    def gradient() -> tuple[Tensor, Tensor]:
        network.model.zero_grad()
        output = network.model(image)
        output.square().sum().backward()
        weight = next(network.model.parameters())
        assert weight.grad is not None
        return output.detach(), weight.grad.clone()

    plain = gradient()
    with tapped(network, ["map1", "embedding"]):
        read = gradient()
    assert torch.equal(plain[0], read[0])
    assert torch.equal(plain[1], read[1])


def test_a_loss_on_a_tap_trains_what_is_before_it_and_nothing_after(network: Staged, image: Tensor) -> None:
    with tapped(network, ["map1"]) as taps:
        network.model(image)
        taps["map1"].square().mean().backward()
    first, last = network.model.get_submodule("0"), network.model.get_submodule("2")
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in first.parameters())
    assert all(parameter.grad is None for parameter in last.parameters())


def test_a_tap_that_fires_twice_in_a_pass_is_an_error() -> None:
    network = Staged(Twice(), (Stage("embedding", "layer", ("layer",), 3),))
    with pytest.raises(PlanError, match=r"stage 'embedding'.*twice"), tapped(network, ["embedding"]):
        network.model(torch.zeros(2, 3))


def test_a_second_pass_is_read_afresh(network: Staged, image: Tensor) -> None:
    with tapped(network, ["map1"]) as taps:
        taps.read(network.model, image)
        first = taps["map1"]
        taps.read(network.model, image + 1)
        assert not torch.equal(taps["map1"], first)
        with pytest.raises(PlanError, match="twice"):
            network.model(image)


def test_a_feature_that_is_no_tensor_is_an_error() -> None:
    network = Staged(Twice(), (Stage("embedding", "pair", ("pair",), 3),))
    with pytest.raises(PlanError, match=r"stage 'embedding'.*tuple"), tapped(network, ["embedding"]):
        network.model(torch.zeros(2, 3))


def test_keep_shows_the_named_channels_in_their_order(network: Staged, image: Tensor) -> None:
    narrow = Staged(network.model, network.stages, {"map1": torch.tensor([3, 0])})
    with tapped(narrow, ["map1", "active"]) as taps:
        output = network.model(image)
    expected = network.model.get_submodule("0")(image)
    assert torch.equal(taps["map1"], expected[:, [3, 0]])
    assert taps["active"].shape[1] == 4
    assert torch.equal(output, network.model(image))
    assert (narrow.width("map1"), narrow.width("active"), narrow.width("logits")) == (2, 4, 2)


def test_no_hook_outlives_the_with(network: Staged, image: Tensor, count_hooks: CountHooks) -> None:
    with tapped(network, ["map1", "embedding", "logits"]):
        assert count_hooks(network) == 3
    assert count_hooks(network) == 0
    with pytest.raises(RuntimeError), tapped(network, ["map1", "embedding"]):
        network.model(image[:, :, :2])
    assert count_hooks(network) == 0
    with pytest.raises(PlanError), tapped(network, ["map1", "map9"]):
        pass
    assert count_hooks(network) == 0


def test_only_the_named_stages_are_hooked(network: Staged, image: Tensor, count_hooks: CountHooks) -> None:
    with tapped(network, ["map1"]) as taps:
        assert count_hooks(network) == 1
        network.model(image)
        with pytest.raises(KeyError):
            taps["active"]


def test_an_unknown_stage_names_the_nearest(network: Staged) -> None:
    with pytest.raises(PlanError, match=r"unknown stage 'embeding'. Did you mean 'embedding'"):
        network.stage("embeding")


def test_the_body_is_what_lies_before_embedding_and_logits(network: Staged) -> None:
    assert network.body == ("map1", "active")


def test_a_stage_owns_whole_names_only() -> None:
    model = nn.ModuleDict({"layer1": nn.Linear(1, 1), "layer10": nn.Linear(1, 1)})
    network = Staged(model, (Stage("one", "layer1", ("layer1",), 1), Stage("ten", "layer10", ("layer10.bias",), 1)))
    assert network.owns(["one"], "layer1")
    assert network.owns(["one"], "layer1.weight")
    assert not network.owns(["one"], "layer10.weight")
    assert not network.owns(["ten"], "layer10.weight")
    assert network.owns(["one", "ten"], "layer10.bias")
    assert not network.owns([], "layer1.weight")


@pytest.mark.parametrize("training", [True, False])
def test_feature_shapes_are_without_the_batch_and_leave_the_mode(network: Staged, training: bool) -> None:
    network.model.train(training)
    shapes = feature_shapes(network, torch.zeros(1, 1, 8, 8))
    assert shapes == {"map1": (4, 6, 6), "active": (4, 6, 6), "embedding": (4, 6, 6), "logits": (2, 4, 4)}
    assert network.model.training is training
