"""A folded teacher says what the teacher says, at every stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from plans import make_guide, make_student
from torch import Tensor, nn
from watch import same, state_of

from compress.models import Architecture, build
from compress.pruning import prune
from compress.recipes.indistill import narrowed
from compress.stages import Stage, Staged, tapped
from compress.training.features import folded


def _resnet() -> Staged:
    return build(Architecture("torchvision:resnet18", 10, 1, (32, 32)), seed=2)


def _tapped_within(tap: str, *, before: bool = False) -> Staged:
    """A cnn-a with a stage inside a pair of convolution and batch-norm."""
    network = make_guide()
    inside = Stage("inside", tap, (), 16, before)
    return replace(network, stages=(network.stages[0], inside, *network.stages[1:]))


NETWORKS: dict[str, tuple[Callable[[], Staged], int]] = {
    "cnn-a": (make_guide, 0),
    "torchvision:resnet18": (_resnet, 0),
    "mobilenet_v3_small": (lambda: build(Architecture("mobilenet_v3_small", 10, 1, (32, 32)), seed=2), 0),
    "pruned resnet18": (lambda: prune(_resnet(), torch.zeros(1, 1, 32, 32), 0.5)[0], 0),
    "narrowed, as in the paper": (lambda: narrowed(make_guide(), make_student(), follow="paper"), 0),
    "narrowed, as released": (lambda: narrowed(make_guide(), make_student(), follow="release"), 3),
    "tap on a convolution": (lambda: _tapped_within("blocks.1.conv"), 1),
    "tap before a batch-norm": (lambda: _tapped_within("blocks.1.norm", before=True), 1),
    "tap on a batch-norm": (lambda: _tapped_within("blocks.1.norm"), 1),
}


def _features(network: Staged, image: Tensor) -> dict[str, Tensor]:
    names = [stage.name for stage in network.stages]
    with torch.no_grad(), tapped(network, names) as taps:
        taps.read(network.model, network.scale(image))
        return {name: taps[name] for name in names}


def _norms(network: Staged) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.model.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_says_the_same_at_every_stage(name: str) -> None:
    make, left = NETWORKS[name]
    network = make()
    random = torch.Generator().manual_seed(1)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
            nn.init.uniform_(module.bias, -0.2, 0.2, generator=random)
            nn.init.uniform_(module.weight, -1.5, 1.5, generator=random)
    network.model.eval()
    before = state_of(network)
    side = 32 if "net" in name else 24
    image = torch.randint(256, (8, 1, side, side), dtype=torch.uint8, generator=random)
    quick = folded(network)
    assert _norms(quick) == left < _norms(network)
    expected, found = _features(network, image), _features(quick, image)
    for stage, feature in expected.items():
        assert float(feature.std()) > 0
        torch.testing.assert_close(found[stage], feature, rtol=1e-4, atol=1e-5 * float(feature.abs().max()))
    assert same(state_of(network), before)


class Branching(nn.Module):
    """A network whose control flow looks at its input, which torch.fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.conv(image)) if image.sum() > 0 else self.conv(image)


def test_a_network_that_cannot_be_traced_is_left_as_it_is() -> None:
    network = Staged(Branching(), (Stage("logits", "", ("conv", "norm"), 4),))
    assert folded(network) is network
