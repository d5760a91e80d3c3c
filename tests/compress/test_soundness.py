"""Networks and outputs that hold no sound numbers are refused, and named."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from compress.errors import CheckpointError, GateError
from compress.models import Architecture, build
from compress.soundness import check_outputs, check_statistics

VALUES = [math.nan, math.inf, -math.inf]


@pytest.fixture
def model() -> nn.Module:
    return build(Architecture("cnn-s", 10, 3, (32, 32)), seed=0).model


@pytest.mark.parametrize("name", ["cnn-s", "unet-resnet10", "vit_b_32"])
def test_a_new_network_is_sound(name: str) -> None:
    network = build(Architecture(name, 10, 3, (32, 32)), seed=0)
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    check_statistics(network.model)
    assert all(torch.equal(value, before[key]) for key, value in network.model.state_dict().items())


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "key", ["blocks.1.conv.weight", "blocks.0.norm.bias", "blocks.2.norm.running_mean", "blocks.2.norm.running_var"]
)
def test_what_is_not_finite_is_named(model: nn.Module, key: str, value: float) -> None:
    model.state_dict()[key].flatten()[3] = value
    with pytest.raises(CheckpointError, match=rf"^{key} holds NaN or infinite values \(1 of"):
        check_statistics(model)


def test_a_variance_below_zero_is_named(model: nn.Module) -> None:
    model.state_dict()["blocks.1.norm.running_var"][2] = -5.0
    with pytest.raises(CheckpointError, match=r"^blocks.1.norm.running_var holds -5; a variance is at least 0"):
        check_statistics(model)


def test_a_variance_of_zero_and_negative_means_are_sound(model: nn.Module) -> None:
    model.state_dict()["blocks.1.norm.running_var"].zero_()
    model.state_dict()["blocks.1.norm.running_mean"].fill_(-5.0)
    check_statistics(model)


def test_a_network_that_is_one_batch_norm_is_checked() -> None:
    norm = nn.BatchNorm2d(3)
    assert norm.running_var is not None
    norm.running_var.fill_(-1.0)
    with pytest.raises(CheckpointError, match=r"^running_var holds -1"):
        check_statistics(norm)


@pytest.mark.parametrize("shape", [(4, 10), (4,), (4, 3, 2, 2), (0, 10)])
def test_finite_outputs_pass_as_they_came(shape: tuple[int, ...]) -> None:
    outputs = torch.ones(shape)
    assert check_outputs(outputs, "student.safetensors") is outputs


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("shape", [(4, 10), (4,), (4, 3, 2, 2)])
def test_outputs_that_are_not_finite_fail_a_gate(shape: tuple[int, ...], value: float) -> None:
    outputs = torch.zeros(shape)
    outputs[1:3] = value
    with pytest.raises(GateError, match=r"^student.safetensors on digits: 2 of 4 outputs are NaN") as caught:
        check_outputs(outputs, "student.safetensors on digits")
    assert caught.value.exit_code == 3
