"""The block of the cnn networks: one map and one gradient, whichever way round ReLU and pooling come."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from compress.models.cnn import Block, ConvBlock


@pytest.fixture
def block() -> ConvBlock:
    torch.manual_seed(0)
    block = ConvBlock(3, Block(8, 3, (2, 2)))
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    return block


@pytest.fixture
def image() -> Tensor:
    """Numbers with patches of equal ones, so that windows have ties."""
    image = torch.randn(4, 3, 19, 18, generator=torch.Generator().manual_seed(1))
    image[:2] = image[:2].round()
    image[0, :, :9] = 0.5
    return image


def _plain(block: ConvBlock) -> nn.Sequential:
    twin = copy.deepcopy(block)
    return nn.Sequential(twin.conv, twin.norm, twin.relu, twin.pool)


def _order(block: ConvBlock, image: Tensor) -> list[str]:
    fired: list[str] = []
    for name, module in block.named_children():
        module.register_forward_hook(lambda *_, name=name: fired.append(name))
    block(image)
    return fired


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_gradients_and_statistics_are_those_of_relu_then_pooling(
    block: ConvBlock, image: Tensor, training: bool, layout: torch.memory_format
) -> None:
    block.to(memory_format=layout)  # type: ignore[call-overload]
    plain = _plain(block).train(training)
    block.train(training)
    slope = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    inputs = [image.clone(memory_format=layout).requires_grad_() for _ in range(2)]
    for network, given in zip((block, plain), inputs, strict=True):
        (network(given) * slope).sum().backward()
    with torch.no_grad():
        assert torch.equal(block(image), plain(image))
    given, twin = (x.grad for x in inputs)
    assert given is not None
    assert twin is not None
    assert torch.equal(given, twin)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(block.parameters(), plain.parameters(), strict=True))  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(block.buffers(), plain.buffers(), strict=True))


def test_training_pools_first_and_what_is_exported_does_not(block: ConvBlock, image: Tensor) -> None:
    assert _order(copy.deepcopy(block).train(), image) == ["conv", "norm", "pool", "relu"]
    assert _order(block.eval(), image) == ["conv", "norm", "relu", "pool"]


def test_the_keys_of_its_state() -> None:
    statistics = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    keys = ["conv.weight", "conv.bias", *(f"norm.{name}" for name in statistics)]
    assert (
        list(ConvBlock(3, Block(8, 3, (2, 2))).state_dict())
        == list(ConvBlock(3, Block(8, 3, (1, 1))).state_dict())
        == keys
    )
