"""A network cut before what learns: the part behind gives the same bits and gradients, on every kind of network."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from compress.graph import Cut, Uncuttable, between, cut, trace
from compress.models import Architecture, build
from compress.phase import OPTIMIZERS, Fit, Phase
from compress.stages import Stage, Staged, tapped
from compress.training.modes import only_trained, training_mode

FIT = Fit(1, OPTIMIZERS["adam"](1e-3), (1.0,))
NETWORKS = {
    "cnn-s": (32, 32),
    "cnn-a": (32, 32),
    "resnet18": (32, 32),
    "resnet10": (32, 32),
    "unet-resnet10": (32, 64),
    "densenet121": (32, 32),
}
TRIED = {"unet-resnet10": ("layer2", "up1", "up3", "logits"), "densenet121": ("logits",)}  # else every stage


def _network(name: str) -> Staged:
    size = NETWORKS[name]
    staged = build(Architecture(name, 10, 3, size, {"width": 4} if name.startswith("cnn") else {}), seed=1)
    staged.model.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(2)
    for module in staged.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
    return staged


def _images(name: str) -> Tensor:
    images = torch.randn(4, 3, *NETWORKS[name], generator=torch.Generator().manual_seed(3))
    return images.to(memory_format=torch.channels_last)


def _values(made: Cut, image: Tensor) -> tuple[Tensor, ...]:
    before = between(made.trace, [made.trace.image], made.frontier)
    assert before is not None
    with torch.no_grad():
        values: tuple[Tensor, ...] = before(image)
    return values


def _plain(network: Staged, stage: str, image: Tensor) -> Tensor:
    with tapped(network, [stage], whole=False) as taps:
        taps.read(network.model, image)
        return taps[stage]


def _gradients(network: Staged, feature: Tensor) -> dict[str, Tensor]:
    network.model.zero_grad()
    feature.square().mean().backward()
    return {path: p.grad.clone() for path, p in network.model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def networks() -> dict[str, Staged]:
    return {name: _network(name) for name in NETWORKS}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_segment_gives_the_networks_own_bits_and_gradients(networks: dict[str, Staged], name: str) -> None:
    network, image = networks[name], _images(name)
    stages = [stage.name for stage in network.stages if stage.owns]
    for stage in TRIED.get(name, stages):
        twin = replace(network, model=copy.deepcopy(network.model))
        phase = Phase("p", (), FIT, (stage,))
        with only_trained(network, (stage,)), only_trained(twin, (stage,)):
            with training_mode(network, phase), training_mode(twin, phase):
                made = cut(network, (stage,), (stage,), image)
                assert made.whole == (stage == stages[0])
                (read,), plain = made.segment(*_values(made, image)), _plain(twin, stage, image)
                assert torch.equal(read, plain)
                ours, theirs = _gradients(network, read), _gradients(twin, plain)
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[path], theirs[path]) for path in ours)
            made = cut(network, (stage,), (stage,), image)  # by now in eval mode
            assert torch.equal(made.segment(*_values(made, image))[0], _plain(network, stage, image))
        own = {id(parameter) for parameter in network.model.parameters()}
        assert {id(parameter) for parameter in made.segment.parameters()} <= own
        assert all(torch.equal(a, b) for a, b in zip(network.model.buffers(), twin.model.buffers(), strict=True))


def test_a_unets_block_reads_what_lies_below_and_the_trunks_map(networks: dict[str, Staged]) -> None:
    network, image = networks["unet-resnet10"], _images("unet-resnet10")
    phase = Phase("p", (), FIT, ("up2",))
    with only_trained(network, phase.train), training_mode(network, phase):
        below, skip = sorted(_values(cut(network, ("up2",), ("up2",), image), image), key=lambda value: -value.shape[1])
    assert below.shape[1:] == (256, 2, 4)  # before it is doubled, when it is smaller
    assert skip.shape[1:] == (128, 4, 8)


def test_batch_norm_that_a_phase_leaves_in_training_is_not_frozen(networks: dict[str, Staged]) -> None:
    network, image = networks["resnet10"], _images("resnet10")
    phase = Phase("p", (), FIT, ("layer3",), "in training")
    with only_trained(network, phase.train), training_mode(network, phase):
        (first,) = cut(network, ("layer3",), ("layer3",), image).frontier
    assert first.target == "encoder.conv1"


def test_a_frozen_stage_can_be_read_beside_one_that_learns(networks: dict[str, Staged]) -> None:
    network, image = networks["resnet10"], _images("resnet10")
    phase, reads = Phase("p", (), FIT, ("layer2",)), ("layer2", "stem")
    with only_trained(network, phase.train), training_mode(network, phase):
        made = cut(network, phase.train, reads, image)
        features = made.segment(*_values(made, image))
    assert not made.whole
    assert torch.equal(features[1], _plain(network, "stem", image))
    assert [feature.requires_grad for feature in features] == [True, False]


class _Odd(nn.Module):
    """A frozen first layer, then something odd, then one that learns."""

    def __init__(self, odd: nn.Module) -> None:
        super().__init__()
        self.first, self.odd, self.last = nn.Conv2d(3, 4, 3), odd, nn.Conv2d(4, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        feature: Tensor = self.last(self.odd(self.first(image)))
        return feature


class _Decides(nn.Module):
    def forward(self, feature: Tensor) -> Tensor:
        return feature if feature.mean() > 0 else -feature


class _Mixes(nn.Module):
    def forward(self, feature: Tensor) -> Tensor:
        return feature - feature.mean(dim=0, keepdim=True)


class _Noise(nn.Module):
    def forward(self, feature: Tensor) -> Tensor:
        return feature + torch.randn_like(feature)


class _Overwrites(nn.Module):
    def forward(self, feature: Tensor) -> Tensor:
        return feature.relu_() + feature


class _Sizes(nn.Module):
    """Its numbers are no tensors, and its constant belongs to no image."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bias", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, feature: Tensor) -> Tensor:
        count, channels = feature.shape[0], feature.shape[1]
        return feature.reshape(count, channels, -1, feature.size(3)) + self.bias.view(1, 4, 1, 1)


def _odd(odd: nn.Module) -> Staged:
    torch.manual_seed(0)
    return Staged(_Odd(odd), (Stage("first", "first", ("first", "odd"), 4), Stage("last", "last", ("last",), 4)))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (nn.Dropout(0.5), "draws random numbers"),
        (_Noise(), "draws random numbers"),
        (_Decides(), "torch.fx cannot trace it"),
        (_Mixes(), "does not belong to one image"),
        (_Overwrites(), "changes in place what others read"),
    ],
)
def test_what_cannot_be_cut_says_why(odd: nn.Module, message: str) -> None:
    network, phase = _odd(odd), Phase("p", (), FIT, ("last",))
    modes = only_trained(network, phase.train), training_mode(network, phase)
    with modes[0], modes[1], pytest.raises(Uncuttable, match=message):
        cut(network, phase.train, ("last",), torch.randn(4, 3, 8, 8))


@pytest.mark.parametrize("odd", [_Sizes(), nn.ReLU(inplace=True)])
def test_sizes_constants_and_what_works_in_place_can_be_cut(odd: nn.Module) -> None:
    network, image = _odd(odd), torch.randn(4, 3, 8, 8)
    for learns, reads in ((("last",), ("last", "first")), (("first", "last"), ("last", "first"))):
        phase = Phase("p", (), FIT, learns)
        with only_trained(network, learns), training_mode(network, phase):
            made = cut(network, learns, reads, image)
            features = made.segment(*_values(made, image))
        for stage, feature in zip(reads, features, strict=True):
            assert torch.equal(feature, _plain(network, stage, image))


def test_the_statistics_of_a_norm_without_parameters_move_in_eval_mode_too() -> None:
    network = _odd(nn.BatchNorm2d(4, affine=False))
    network.model.eval()
    with only_trained(network, ("first",)):
        network.model.first.requires_grad_(False)  # type: ignore[union-attr]
        names = [node.name for node in cut(network, ("first", "last"), ("last",), torch.randn(4, 3, 8, 8)).frontier]
    assert names == ["first"]


class _WithOptions(nn.Module):
    """A network whose forward takes more than the image, with values of its own for it, as timm's transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 10)

    def forward(self, image: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
        logits: Tensor = self.fc(image.flatten(1)) * scale
        return logits if mask is None else logits * mask


def test_what_a_network_takes_beside_the_image_is_what_it_has_by_default() -> None:
    network = Staged(_WithOptions().eval(), (Stage("logits", "", ("fc",), 10),))
    image = torch.randn(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    traced = trace(network)
    part = between(traced, [traced.image], traced.ends(["logits"]))
    assert part is not None
    with torch.no_grad():
        assert torch.equal(part(image)[0], network.model(image))
