"""The narrowed auxiliary of the released code, against its definition written out on tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.models import Architecture, build
from compress.pruning.release import narrow_taps_release
from compress.stages import Staged, tapped


@pytest.fixture
def auxiliary() -> Staged:
    """A cnn-a whose batch-norms have statistics, scales of both signs, and shifts."""
    network = build(Architecture("cnn-a", 10, 3, (32, 32)), seed=3)
    random = torch.Generator().manual_seed(3)
    for norm in network.model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.weight.data.uniform_(-0.5, 2.0, generator=random)
            norm.bias.data.uniform_(0.5, 1.5, generator=random)
            norm.running_mean.uniform_(-1.0, 1.0, generator=random)
            norm.running_var.uniform_(0.5, 1.5, generator=random)
    network.model.eval()
    return network


def _definition(image: Tensor, weight: Tensor, gamma: Tensor, width: int) -> Tensor:
    """relu(gamma * (x - mean) / sqrt(variance + 1e-5)), pooled by 2, of the filters x with the largest norm."""
    norms = weight.abs().sum(dim=(1, 2, 3))
    kept = sorted(sorted(range(len(weight)), key=lambda n: -norms[n].item())[:width])
    rows = []
    for n in kept:
        side = image.shape[-1] - weight.shape[-1] + 1
        patches = image.unfold(2, weight.shape[-1], 1).unfold(3, weight.shape[-1], 1)
        response = (patches * weight[n][None, :, None, None]).sum(dim=(1, 4, 5))
        mean, variance = response.mean(), response.var(unbiased=False)
        mapped = (gamma[n] * (response - mean) / (variance + 1e-5).sqrt()).clamp_min(0)
        half = side // 2
        rows.append(mapped[:, : 2 * half, : 2 * half].reshape(-1, half, 2, half, 2).amax(dim=(2, 4)))
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("training", [False, True])
def test_the_target_is_the_kept_scale_times_the_normalised_response(auxiliary: Staged, training: bool) -> None:
    image = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    widths = {"map1": 8, "map2": 16, "map3": 5}
    network = narrow_taps_release(auxiliary, widths)
    network.model.train(training)
    with torch.no_grad(), tapped(network, widths) as shown:
        network.model(image)
        feature = image
        for number, (name, width) in enumerate(widths.items()):
            block = network.model.get_submodule(f"blocks.{number}.block")
            source = auxiliary.model.get_submodule(f"blocks.{number}")
            expected = _definition(feature, source.conv.weight, source.norm.weight, width)  # type: ignore[arg-type, union-attr]
            torch.testing.assert_close(shown[name], expected, rtol=1e-4, atol=1e-4)
            feature = block(feature)


def test_its_maps_are_not_the_auxiliary_s_own(auxiliary: Staged) -> None:
    image = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    network = narrow_taps_release(auxiliary, {"map1": 16})
    with torch.no_grad(), tapped(network, ["map1"]) as shown, tapped(auxiliary, ["map1"]) as own:
        network.model(image)
        auxiliary.model(image)
    assert (shown["map1"] - own["map1"]).norm() > 0.1 * own["map1"].norm()
