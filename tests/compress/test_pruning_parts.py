"""Networks that torch-pruning does not follow as a whole lose inner widths of their parts, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.card import Card
from compress.checkpoint import Checkpoint, load, save
from compress.edits import Cut
from compress.errors import CompressError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.pruning import Choice, apply, followed, score, shares_left
from compress.smaller import cut
from compress.stages import Staged

BY_PARTS = [
    ("shufflenet_v2_x0_5", 32, {"branch2.0"}),
    ("swin_t", 32, {"mlp.0"}),
    pytest.param(
        "maxvit_t",
        224,
        {"stem.0.0", "conv_b.0", "squeeze_excitation.fc1", "mlp_layer.1", "classifier.3"},
        marks=pytest.mark.slow,
    ),
]


def _network(name: str, size: int) -> Staged:
    network = build(Architecture(name, 10, 3, (size, size)), seed=0)
    chance = torch.Generator().manual_seed(0)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=chance)
            module.bias.data.uniform_(-0.5, 0.5, generator=chance)
    network.model.eval()
    return network


def _silenced(network: Staged, cuts: dict[str, list[int]]) -> nn.Module:
    """The network in which what makes and scales the channels that were cut gives 0."""
    model = copy.deepcopy(network.model)
    for layer, _ in score(network, torch.zeros(1, 3, 32, 32)).layers:
        gone = torch.tensor(cuts[layer.root])
        for role in (*layer.side("makes"), *layer.side("scales")):
            for parameter in model.get_submodule(role.name).parameters():
                parameter.data[role.places[torch.isin(role.channels, gone)]] = 0.0
    return model


@pytest.mark.parametrize(("name", "size", "roots"), BY_PARTS)
def test_only_inner_widths_go(name: str, size: int, roots: set[str]) -> None:
    network, image = _network(name, size), torch.zeros(1, 3, size, size)
    assert not followed(network.model)
    scored = score(network, image, Choice(multiple=4))
    assert {
        root for root in roots for layer, _ in scored.layers if layer.makers and root in " ".join(layer.makers)
    } == roots
    small = apply(network, scored.at(0.5), image)
    for (layer, _), gone in zip(scored.layers, scored.at(0.5), strict=True):
        assert (layer.root, len(gone.channels)) == (gone.module, layer.width // 2)
    widths = [
        {stage.name: stage.width for stage in one.stages if stage.name != "embedding"} for one in (network, small)
    ]
    assert widths[0] == widths[1]
    assert shares_left(network, small).channels_left < 0.9
    assert small.model(image).shape == (1, 10)


@pytest.mark.parametrize(("name", "size"), [("shufflenet_v2_x0_5", 32), ("swin_t", 32)])
def test_the_cut_is_silencing(name: str, size: int) -> None:
    network, images = _network(name, size), torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    cuts = score(network, images[:1]).at(0.5)
    silent = _silenced(network, {one.module: list(one.channels) for one in cuts})
    with torch.no_grad():
        torch.testing.assert_close(apply(network, cuts, images[:1]).model(images), silent(images), atol=1e-4, rtol=1e-4)


def test_it_is_saved_loaded_and_cut_again(tmp_path: Path) -> None:
    shape = Architecture("shufflenet_v2_x0_5", 10, 3, (32, 32))
    card = Card(shape, Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3), tuple("0123456789"))
    whole = Checkpoint(build(shape, seed=0), card)
    once = cut(whole, 0.5, "edgepress prune")
    again = load(save(once, tmp_path / "once.safetensors"))
    images: Tensor = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    once.network.model.eval()
    assert torch.equal(again.network.model(images), once.network.model(images))
    twice = cut(again, 0.5, "edgepress prune")
    lefts = [shares_left(whole.network, one.network).layers["stage4.1.branch2.0"] for one in (once, twice)]
    assert [left.channels for left in lefts] == [(96, 48), (96, 32)]


def test_criteria_that_look_find_the_parts() -> None:
    from compress.losses import cross_entropy_loss
    from compress.pruning import Calibration

    network = _network("shufflenet_v2_x0_5", 32)
    seen = Calibration([(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]))], cross_entropy_loss)
    for criterion in ("taylor", "reconstruction", "bn-scale", "lamp"):
        scored = score(network, torch.zeros(1, 3, 32, 32), Choice(criterion, "global"), seen)
        assert len(scored.layers) == 16, criterion


@pytest.mark.parametrize("module", ["conv5.0", "stage2.0.branch2.1.more"])
def test_a_cut_between_the_parts_is_refused(module: str) -> None:
    network = _network("shufflenet_v2_x0_5", 32)
    with pytest.raises(
        CompressError, match=r"a cut names '.*', (a Conv2d, which has no channels to cut|which \w+ does not)"
    ):
        apply(network, [Cut(module, True, (0,))], torch.zeros(1, 3, 32, 32))
