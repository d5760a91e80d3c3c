"""What may be said of a cut: widths, scope, ratios of some layers, layers to leave alone."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from watch import same, state_of

from compress.checkpoint import Checkpoint
from compress.errors import PlanError
from compress.models import Architecture, build
from compress.pruning import Choice, Scored, apply, score, shares_left
from compress.pruning.widths import kept_places, step_of
from compress.smaller import cut, cut_at
from compress.smaller import scored as scored_checkpoint
from compress.stages import Staged

IMAGE = torch.zeros(1, 3, 32, 32)


def _cnn(width: int = 8, *, seed: int = 0) -> Staged:
    return build(Architecture("cnn-s", 10, 3, (32, 32), {"width": width}), seed=seed)


def _resnet() -> Staged:
    return build(Architecture("resnet10", 10, 3, (32, 32)), seed=0)


def _left(network: Staged, scored: Scored, ratio: float) -> dict[str, int]:
    small = apply(network, scored.at(ratio), IMAGE)
    return {name: share.channels[1] for name, share in shares_left(network, small).layers.items()}


# widths


@pytest.mark.parametrize(
    ("width", "multiple", "groups", "step"),
    [
        (64, 16, 1, 16),
        (33, 16, 1, 16),
        (32, 16, 1, 8),  # 16 and 32 alone would be no choice
        (16, 8, 1, 4),
        (8, 8, 1, 2),
        (2, 8, 1, 1),
        (1, 16, 1, 1),
        (64, 1, 1, 1),
        (36, 12, 1, 12),
        (24, 12, 1, 6),
        (128, 16, 32, 1),  # half of the 4 channels in each of 32 groups makes a multiple anyway
        (768, 16, 12, 4),
        (440, 8, 55, 4),  # 8 channels a group
    ],
)
def test_the_step_of_a_width(width: int, multiple: int, groups: int, step: int) -> None:
    assert step_of(width, multiple, groups) == step


@pytest.mark.parametrize(
    ("stay", "places", "step", "kept"),
    [
        (44.8, 64, 8, 48),
        (43.9, 64, 8, 40),
        (12, 24, 8, 16),
        (3, 64, 8, 8),
        (61, 64, 8, 64),
        (63, 66, 8, 64),
        (65, 66, 8, 64),
        (3.9, 4, 1, 4),
    ],
)
def test_a_width_is_rounded_to_the_nearest_multiple(stay: float, places: int, step: int, kept: int) -> None:
    assert kept_places(stay, places, step) == kept


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_widths_of_a_network_are_multiples(ratio: float) -> None:
    network = _cnn(64)
    left = _left(network, score(network, IMAGE, Choice(multiple=16)), ratio)
    whole = {"blocks.0.conv": 64, "blocks.1.conv": 128, "blocks.2.conv": 256, "embedding.1": 512}
    assert left.keys() == whole.keys()
    for name, width in left.items():
        assert width % 16 == 0
        assert abs(width - (1 - ratio) * whole[name]) <= 8 or width == 16


def test_a_narrow_network_can_be_cut_too() -> None:
    network = _cnn(8)
    assert _left(network, score(network, IMAGE, Choice(multiple=16)), 0.5)["blocks.0.conv"] == 4


def test_a_cut_that_rounding_undoes_is_an_error() -> None:
    scored = score(_cnn(64), IMAGE, Choice(multiple=16))
    with pytest.raises(PlanError, match=r"ratio 0.01: ConvNet loses no channel where widths are multiples of 16"):
        scored.at(0.01)


# scored once, cut often


def test_one_look_serves_all_ratios() -> None:
    network = _cnn(16)
    scored = score(network, IMAGE, Choice(multiple=1))
    for parameter in network.model.parameters():
        parameter.data.zero_()
    lost = [{cut.module: set(cut.channels) for cut in scored.at(ratio)} for ratio in (0.2, 0.4, 0.6, 0.8)]
    for less, more in pairwise(lost):
        assert all(less[name] < more[name] for name in less)


def test_a_checkpoint_that_is_scored_once_is_cut_as_one_that_is_scored_each_time(teacher: Checkpoint) -> None:
    choice = Choice("l2", "global", 4)
    found = scored_checkpoint(teacher, choice)
    for ratio in (0.3, 0.6):
        one, other = (
            cut_at(teacher, found, ratio, "edgepress prune"),
            cut(teacher, ratio, "edgepress prune", choice=choice),
        )
        assert one.card == other.card
        assert same(state_of(one.network), state_of(other.network))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1])
def test_a_ratio_out_of_range(ratio: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        score(_cnn(), IMAGE).at(ratio)


# some layers otherwise


def test_layers_with_ratios_of_their_own() -> None:
    network = _cnn(16)
    choice = Choice(multiple=1, layer_ratios={"blocks.1*": 0.75, "map3": 0.0})
    left = _left(network, score(network, IMAGE, choice), 0.5)
    assert left == {"blocks.0.conv": 8, "blocks.1.conv": 8, "blocks.2.conv": 64, "embedding.1": 64}


def test_the_layer_of_the_outputs_has_no_ratio_but_may_be_left_alone() -> None:
    with pytest.raises(PlanError, match="'logits' has a ratio, but no layer of that name may be cut"):
        score(_cnn(), IMAGE, Choice(layer_ratios={"logits": 0.5}))
    assert score(_cnn(), IMAGE, Choice(leave=("logits",))).at(0.5) == score(_cnn(), IMAGE).at(0.5)


def test_a_ratio_of_some_layers_alone() -> None:
    network = _cnn(16)
    scored = score(network, IMAGE, Choice(multiple=1, layer_ratios={"map1": 0.5}))
    assert [(cut.module, len(cut.channels)) for cut in scored.at(0)] == [("blocks.0.conv", 8)]


@pytest.mark.parametrize("pattern", ["map2", "map[2]", "blocks.1", "blocks.1.*", "*1.conv"])
def test_layers_that_are_left_alone(pattern: str) -> None:
    network = _cnn(16)
    left = _left(network, score(network, IMAGE, Choice(multiple=1, leave=(pattern,))), 0.5)
    assert left == {"blocks.0.conv": 8, "blocks.1.conv": 32, "blocks.2.conv": 32, "embedding.1": 64}


def test_a_layer_that_is_left_alone_keeps_what_is_coupled_to_it() -> None:
    network = _resnet()
    left = _left(network, score(network, IMAGE, Choice(leave=("encoder.layer2.0.conv2",))), 0.5)
    whole = {name: share.channels[0] for name, share in shares_left(network, network).layers.items()}
    kept = {name for name, width in left.items() if width == whole[name]}
    assert kept == {"encoder.layer2.0.conv2", "encoder.layer2.0.downsample.0"}


@pytest.mark.parametrize(
    ("ratios", "left"),
    [
        ({"*.layer2.0.conv1": 0.5, "*layer2*": 0.25}, (0.75, 0.75)),
        ({"*layer2*": 0.25, "*.layer2.0.conv1": 0.5}, (0.5, 0.75)),
        ({"*.layer2.0.conv2": 0.5, "layer2": 0.25}, (0.75, 0.75)),
        ({"layer2": 0.25, "*.layer2.0.conv2": 0.5}, (0.75, 0.5)),
    ],
)
def test_of_two_ratios_the_later_one_counts(ratios: dict[str, float], left: tuple[float, float]) -> None:
    network = _resnet()
    found = _left(network, score(network, IMAGE, Choice(multiple=1, layer_ratios=ratios)), 0)
    whole = {name: share.channels[0] for name, share in shares_left(network, network).layers.items()}
    ways = [f"encoder.layer2.0.{name}" for name in ("conv1", "conv2", "downsample.0")]
    assert [found[name] / whole[name] for name in ways] == [left[0], left[1], left[1]]


@pytest.mark.parametrize("choice", [Choice(leave=("bloks.1",)), Choice(layer_ratios={"bloks.1": 0.5})])
def test_a_pattern_that_names_nothing_is_an_error(choice: Choice) -> None:
    with pytest.raises(PlanError, match=r"unknown stage or layer 'bloks.1'. Did you mean 'blocks.\d.conv'\?"):
        score(_cnn(), IMAGE, choice)


def test_all_left_alone_is_an_error() -> None:
    with pytest.raises(PlanError, match="no layer that could lose a channel"):
        score(_cnn(), IMAGE, Choice(leave=("*",))).at(0.5)


# of all layers the least


def _scaled(network: Staged, factors: dict[str, Tensor]) -> Staged:
    for name, factor in factors.items():
        weight = network.model.get_submodule(name).weight
        weight.data = torch.ones_like(weight) * factor.view(-1, *[1] * (weight.ndim - 1))
    return network


def _uneven() -> Staged:
    """A network whose first layer has 12 of 16 channels that hardly do anything, and the others none."""
    even = {"blocks.1.conv": torch.ones(32), "blocks.2.conv": torch.ones(64), "embedding.1": torch.ones(128)}
    return _scaled(_cnn(16), {"blocks.0.conv": torch.tensor([1e-3] * 12 + [1.0] * 4), **even})


def test_a_ranking_of_all_layers_takes_the_least_of_all() -> None:
    network = _uneven()
    channels = 16 + 32 + 64 + 128
    left = _left(network, score(network, IMAGE, Choice(scope="global", multiple=1)), 10 / channels)
    assert sum(left.values()) == channels - 10
    assert left["blocks.0.conv"] == 6


def test_a_ranking_never_empties_a_layer() -> None:
    network = _scaled(_cnn(16), {"blocks.0.conv": torch.linspace(1e-6, 1.0, 16)})
    left = _left(network, score(network, IMAGE, Choice(scope="global", multiple=1)), 0.95)
    assert left == {"blocks.0.conv": 2, "blocks.1.conv": 4, "blocks.2.conv": 7, "embedding.1": 13}


def test_a_ranking_counts_every_layer_that_makes_a_channel() -> None:
    network = _resnet()
    small = apply(network, score(network, IMAGE, Choice(scope="global", multiple=1)).at(0.4), IMAGE)
    assert shares_left(network, small).channels_left == pytest.approx(0.6, abs=0.01)


# refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scope": "globl"}, "unknown scope 'globl'. Did you mean 'global'?"),
        ({"multiple": 0}, "widths as multiples of 0"),
        ({"layer_ratios": {"map1": 1.0}}, "ratio 1.0 of 'map1'"),
    ],
)
def test_a_choice_that_is_none(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        Choice(**wrong)  # type: ignore[arg-type]


def test_an_unknown_criterion() -> None:
    with pytest.raises(PlanError, match=r"unknown criterion 'l7'. Did you mean 'l[12]'"):
        score(_cnn(), IMAGE, Choice(criterion="l7"))


def test_a_choice_is_plain_data() -> None:
    choice = Choice("l1", "global", 4, {"map1": 0.5}, ("map2",))
    assert json.loads(json.dumps(choice.to_dict()))["layer_ratios"] == {"map1": 0.5}
