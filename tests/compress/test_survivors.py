"""The channels of the whole network that its pruned copy still has, at each stage, whatever its layers are."""

from __future__ import annotations

import pytest
import torch

from compress.models import Architecture, build
from compress.pruning import kept_channels, prune, show_survivors
from compress.stages import Staged, feature_shapes

SIZES = {"alexnet": 64, "squeezenet1_1": 64, "convnext_tiny": 32, "shufflenet_v2_x0_5": 32}


def _network(name: str) -> tuple[Staged, torch.Tensor]:
    size = (SIZES[name], SIZES[name])
    network = build(Architecture(name, 4, 3, size), seed=0)
    network.model.eval()
    return network, torch.zeros(1, 3, *size)


@pytest.mark.parametrize("name", SIZES)
def test_a_stage_shows_as_many_channels_as_are_left_of_it(name: str) -> None:
    whole, image = _network(name)
    small, cuts = prune(whole, image, 0.5)
    shown, left = (feature_shapes(network, image) for network in (show_survivors(whole, cuts, image), small))
    assert [shown[stage] for stage in whole.body] == [left[stage] for stage in whole.body]
    assert "_followed" not in " ".join(dict(whole.model.named_modules()))


def test_a_concatenation_shows_what_is_left_of_each_of_its_parts() -> None:
    whole, image = _network("squeezenet1_1")
    _, cuts = prune(whole, image, 0.5)
    shown, kept = show_survivors(whole, cuts, image), kept_channels(whole, cuts, image)
    fires = [stage for stage in whole.stages if type(whole.model.get_submodule(stage.tap)).__name__ == "Fire"]
    assert fires
    for stage in fires:
        one, three = kept[f"{stage.tap}.expand1x1"], kept[f"{stage.tap}.expand3x3"]
        half = len(whole.model.get_submodule(f"{stage.tap}.expand1x1").weight)  # type: ignore[arg-type]
        assert shown.keep[stage.name].tolist() == [*one.tolist(), *(three + half).tolist()]
