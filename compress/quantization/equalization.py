"""Channels of like range, so that one grid suits all: the same network, with its scales moved between layers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from compress.graph import trace
from compress.quantization.places import Flow
from compress.stages import Staged, evaluating


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing between them that scales do not pass through.

    Attributes:
        first: Name of the module whose output channels can be scaled: a batch-norm, or a layer without one behind it.
        relu: Name of the module, a ReLU, between the two.
        second: Name of the layer that takes the channels.
    """

    first: str
    relu: str
    second: str


@torch.no_grad()
def equalized(network: Staged, layers: Collection[str], images: Sequence[Tensor]) -> Staged:
    """A copy of the network that answers the same, whose channels between two layers are of like range.

    Each channel is divided by the root of its largest value over the largest weight that it meets, and the weight
    multiplied by it.

    Args:
        network: Left as it is.
        layers: Those that will be quantized.
        images: Batches (B, C, H, W) of normalised images, which say how large each channel is.

    Reference: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019.
    Deviates: A channel is as large as its values on the images, not as its weights, which have a step each.
    """
    network = replace(network, model=copy.deepcopy(network.model))
    for pair in _pairs(network, layers):
        second: Any = network.model.get_submodule(pair.second)
        largest = _largest(network.model, pair.relu, images)
        met = _by_channel(second.weight, second, len(largest)).abs().amax((0, 2))
        scale = torch.where((largest > 0) & (met > 0), (largest / met).sqrt(), 1.0)
        scale /= scale.log().mean().exp()
        _divide(network.model.get_submodule(pair.first), scale)
        _by_channel(second.weight, second, len(scale)).mul_(scale[None, :, None])
    return network


def _pairs(network: Staged, layers: Collection[str]) -> list[Pair]:
    with evaluating(network.model):
        traced = trace(network)
    flow = Flow(traced, layers, (), None)
    found = []
    for node in traced.graph.nodes:
        if node.op != "call_module" or str(node.target) not in layers:
            continue
        relu = flow.made(node)
        before = relu.all_input_nodes[0] if relu.all_input_nodes else relu
        lone = all(len(value.users) == 1 for value in (before, *_way(node, relu)))
        lone = lone and all(_keeps_channels(value) for value in _way(node, relu) if value is not relu)
        passes = _is_relu(network.model, relu) and _scalable(network.model, before, layers)
        if lone and passes and _takes_channels(network.model.get_submodule(str(node.target))):
            found.append(Pair(str(before.target), str(relu.target), str(node.target)))
    return found


def _way(layer: fx.Node, start: fx.Node) -> Iterator[fx.Node]:
    """The values on the way into a layer, back to one."""
    node = layer.all_input_nodes[0]
    while node is not start:
        yield node
        node = node.all_input_nodes[0]
    yield start


def _keeps_channels(node: fx.Node) -> bool:
    """Whether a value has the channels of the one it was made of, in their order: behind a permutation it may not."""
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return node.op == "call_module" or name in ("contiguous", "dropout", "flatten", "interpolate", "max_pool2d")


def _is_relu(model: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and type(model.get_submodule(str(node.target))) is nn.ReLU


def _scalable(model: nn.Module, node: fx.Node, layers: Collection[str]) -> bool:
    """Whether the channels of a value are scaled by the parameters of the module that gives it."""
    if node.op != "call_module":
        return False
    module: Any = model.get_submodule(str(node.target))
    return (isinstance(module, nn.BatchNorm2d) and module.affine) or str(node.target) in layers


def _takes_channels(layer: nn.Module) -> bool:
    """Whether each input channel has weights of its own."""
    return not isinstance(layer, nn.Conv2d) or layer.groups in (1, layer.in_channels)


def _by_channel(weight: Tensor, layer: nn.Module, channels: int) -> Tensor:
    """(O, C, rest) a view of the weight, by the channel it meets; a flattened map has several inputs a channel."""
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return weight.view(1, channels, -1)
    return weight.view(len(weight), channels, -1)


def _largest(model: nn.Module, relu: str, images: Sequence[Tensor]) -> Tensor:
    """(C,) the largest value of each channel behind a ReLU."""
    seen: list[Tensor] = []
    handle = model.get_submodule(relu).register_forward_hook(
        lambda _module, _args, output: seen.append(output.transpose(0, 1).flatten(1).amax(1))
    )
    try:
        with evaluating(model):
            for batch in images:
                model(batch)
    finally:
        handle.remove()
    return torch.stack(seen).amax(0)


def _divide(module: nn.Module, scale: Tensor) -> None:
    module.weight.div_(scale.view(-1, *[1] * (module.weight.ndim - 1)))  # type: ignore[operator]
    if module.bias is not None:
        module.bias.div_(scale)  # type: ignore[operator]
