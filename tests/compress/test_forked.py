"""A network and its cuts run together: they answer and are fitted as each of them alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.edits import Cut
from compress.graph import Uncuttable
from compress.models import Architecture, build
from compress.pruning import Scored, apply, reconstruct, score
from compress.pruning.coupling import Coupling
from compress.pruning.forked import Forked, forked
from compress.stages import Stage, Staged

IMAGE = torch.zeros(1, 3, 24, 24)
RATIOS = (0.25, 0.75)


@pytest.fixture(scope="module")
def whole() -> Staged:
    """A residual network in eval mode, whose ReLUs change in place what others give."""
    network = build(Architecture("resnet14", 5, 3, (24, 24)), seed=2)
    network.model.eval()
    return network


@pytest.fixture(scope="module")
def found(whole: Staged) -> Scored:
    return score(whole, IMAGE)


def _images() -> list[Tensor]:
    chance = torch.Generator().manual_seed(4)
    return [torch.randn(12, 3, 24, 24, generator=chance) for _ in range(2)]


def _cut(whole: Staged, found: Scored, layer: Coupling) -> tuple[list[Staged], list[Cut]]:
    cuts = [cut for ratio in RATIOS for cut in found.alone(layer, ratio)]
    return [apply(whole, [cut], IMAGE) for cut in cuts], cuts


def _kept(layer: Coupling, cut: Cut) -> dict[str, Tensor]:
    weights = {role.name: role.layer.weight for role in layer.side("reads")}
    return {name: layer.outputs_left(name, len(weight), cut.channels) for name, weight in weights.items()}  # type: ignore[arg-type]


def _forked(whole: Staged, copies: list[Staged], layer: Coupling) -> Forked:
    return forked(whole, copies, layer.makers, "logits")


def test_copies_answer_as_they_do_alone(whole: Staged, found: Scored) -> None:
    image = _images()[0]
    assert len({layer.root for layer, _ in found.layers}) > 5
    for layer, _ in found.layers:
        copies, _ = _cut(whole, found, layer)
        with torch.no_grad():
            for answer, copy in zip(_forked(whole, copies, layer).answers(image), copies, strict=True):
                assert torch.allclose(answer, copy.model(image), atol=1e-6)


def test_the_layers_that_read_a_group_are_fitted_as_reconstruct_does_it(whole: Staged, found: Scored) -> None:
    images = _images()
    for layer, _ in found.layers[::3]:
        copies, cuts = _cut(whole, found, layer)
        twins = [apply(whole, [cut], IMAGE) for cut in cuts]
        kept = [_kept(layer, cut) for cut in cuts]
        _forked(whole, copies, layer).refit(kept, images)
        for copy, twin, positions in zip(copies, twins, kept, strict=True):
            assert reconstruct(twin, whole, positions, images) == len(positions) > 0
            state = copy.model.state_dict()
            for name, value in twin.model.state_dict().items():
                assert torch.allclose(value, state[name], atol=1e-5), name


def test_the_whole_network_stays_as_it_is(whole: Staged, found: Scored) -> None:
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}
    layer = found.layers[0][0]
    copies, cuts = _cut(whole, found, layer)
    _forked(whole, copies, layer).refit([_kept(layer, cut) for cut in cuts], _images())
    assert all(torch.equal(value, before[name]) for name, value in whole.model.state_dict().items())


class _Turning(nn.Module):
    """Asks what it is given which way to go."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        seen = self.conv(image).mean(dim=(2, 3))
        return self.head(seen if seen.sum() > 0 else -seen)  # type: ignore[no-any-return]


def test_what_cannot_be_followed_is_said() -> None:
    network = Staged(_Turning().eval(), (Stage("logits", "", ("head",), 5),))
    with pytest.raises(Uncuttable, match="cannot trace it"):
        forked(network, [network], ["conv"], "logits")


def test_a_layer_that_is_not_called_is_said(whole: Staged) -> None:
    with pytest.raises(Uncuttable, match="the calls of its layers are hidden in others"):
        forked(whole, [whole], ["nowhere"], "logits")
