"""A cut in several steps: as wide at its end as one cut, with channels that are chosen anew on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from compress.errors import PlanError
from compress.models import Architecture, build
from compress.pruning import Calibration, Choice, apply, in_steps, later, score, shares_left
from compress.stages import Staged

IMAGE = torch.zeros(1, 3, 32, 32)


def _network(name: str = "resnet10") -> Staged:
    return build(Architecture(name, 10, 3, (32, 32)), seed=0)


def _widths(whole: Staged, small: Staged) -> Mapping[str, int]:
    return {name: share.channels[1] for name, share in shares_left(whole, small).layers.items()}


@pytest.mark.parametrize("scope", ["local", "global"])
def test_steps_end_where_one_cut_ends(scope: str) -> None:
    network, choice = _network(), Choice(scope=scope, multiple=8, layer_ratios={"layer4": 0.75})  # type: ignore[arg-type]
    found, small, seen = score(network, IMAGE, choice), network, [_widths(network, network)]
    for step in in_steps(found, 0.5, 3):
        now = found if step.number == 1 else score(small, IMAGE, later(choice))
        small = apply(small, now.to(step.widths), IMAGE)
        seen.append(_widths(network, small))
    assert seen[-1] == _widths(network, apply(network, found.at(0.5), IMAGE))
    assert len(seen) == 4
    for wider, narrower in pairwise(seen):
        assert sum(wider.values()) > sum(narrower.values())
        assert all(narrower[name] <= wider[name] for name in wider)


def test_which_channels_go_is_decided_by_what_the_network_is_by_then() -> None:
    network, choice = build(Architecture("cnn-s", 10, 3, (32, 32), {"width": 8}), seed=0), Choice(multiple=1)
    first, second = in_steps(score(network, IMAGE, choice), 0.5, 2)
    middle = apply(network, score(network, IMAGE, choice).to(first.widths), IMAGE)
    layer = middle.model.get_submodule("blocks.0.conv")
    assert isinstance(layer, torch.nn.Conv2d)
    with torch.no_grad():
        layer.weight[:2].zero_()  # as if they had died in the training between
    cuts = score(middle, IMAGE, later(choice)).to(second.widths)
    gone = {cut.module: cut.channels for cut in cuts if hasattr(cut, "channels")}
    assert gone["blocks.0.conv"] == (0, 1)


def test_a_step_that_would_cut_nothing_is_left_out() -> None:
    found = score(_network("cnn-s"), IMAGE, Choice(multiple=16))
    steps = in_steps(found, 0.5, 8)
    assert [(step.number, step.of) for step in steps] == [(n, len(steps)) for n in range(1, len(steps) + 1)]
    assert len(steps) < 8
    assert steps[-1].ratio == 0.5
    with pytest.raises(PlanError, match="loses no channel where widths are multiples of 16"):
        in_steps(found, 0.01, 2)


def test_blocks_go_in_the_first_step() -> None:
    network = _network("resnet14")
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    seen = Calibration([(images, labels)], torch.nn.functional.cross_entropy)
    choice = Choice(blocks=1)
    found = score(network, IMAGE, choice, seen)
    (step,) = in_steps(found, 0.0, 3)
    assert [type(cut).__name__ for cut in found.to(step.widths)] == ["Drop"]
    first, *_ = in_steps(found, 0.5, 2)
    assert found.to(first.widths)[0] == found.drops[0]
    assert later(replace(choice, leave=("stem",))) == Choice()
