"""What a network does on some images, gathered once for the criteria that look at it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compress.errors import PlanError
from compress.pruning.coupling import filters
from compress.stages import Staged, evaluating

POSITIONS = 10  # of a map that are looked at, as in ThiNet


@dataclass(frozen=True)
class Calibration:
    """Images to look at, and what the network is to make of them.

    Attributes:
        batches: (B, C, H, W) scaled images and their (B, ...) targets.
        loss: The network's outputs and the targets to a scalar; None where there is no loss.
    """

    batches: Sequence[tuple[Tensor, Tensor]] = ()
    loss: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def images(self) -> list[Tensor]:
        """The images of each batch."""
        return [images for images, _ in self.batches]


NOTHING = Calibration()


def loss_products(network: Staged, calibration: Calibration) -> Mapping[str, Tensor]:
    """Layer to (batches, channels): the sum of parameter * gradient of the loss over what makes each of its channels.

    Of convolutions, linear layers and batch-norms, in eval mode.

    Args:
        network: Left as it is.
        calibration: With a loss.

    Raises:
        PlanError: There are no images, or no loss.
    """
    loss = calibration.loss
    if not calibration.batches or loss is None:
        raise PlanError(
            "criterion 'taylor' asks for images, labels and the loss of a task; give a task that has labels"
        )
    model = copy.deepcopy(network.model).eval().requires_grad_(True)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, _ConvNd | nn.Linear | _BatchNorm)}
    found: dict[str, list[Tensor]] = {}
    with torch.enable_grad():
        for images, targets in calibration.batches:
            model.zero_grad()
            torch.autograd.backward(loss(model(images), targets))
            for name, layer in layers.items():
                if isinstance(layer.weight, Tensor) and layer.weight.grad is not None:
                    found.setdefault(name, []).append(_products(layer))
    return {name: torch.stack(values) for name, values in found.items()}


def _products(layer: nn.Module) -> Tensor:
    """(channels,) parameter * gradient, summed over the parameters of each."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    both = (weight * weight.grad).detach()
    made = both if isinstance(layer, _BatchNorm) else filters(layer, both).sum(dim=1)
    if isinstance(bias, Tensor) and bias.grad is not None:
        made = made + (bias * bias.grad).detach()
    return made.cpu()


@torch.no_grad()
def contributions(network: Staged, names: set[str], calibration: Calibration, seed: int) -> Mapping[str, Tensor]:
    """Layer to (samples, in): what each of its inputs adds to one of its outputs, less the mean, in eval mode.

    A sample is an output of one image, drawn at random: up to `POSITIONS` places of the map, one filter for each of
    them and each image.

    Args:
        network: Left as it is.
        names: Its convolutions and linear layers to look at.
        calibration: With images.
        seed: Of the samples.

    Raises:
        PlanError: There are no images.
    """
    if not calibration.batches:
        raise PlanError("criterion 'reconstruction' asks for images to look at; give some")
    chance = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {}

    def look(name: str, layer: nn.Module, given: tuple[Any, ...]) -> None:
        if given:  # one that is called by keyword is not looked at
            found.setdefault(name, []).extend(_samples(layer, given[0], chance))

    with evaluating(network.model), ExitStack() as hooks:
        for name in sorted(names):
            layer = network.model.get_submodule(name)
            if isinstance(layer, nn.Linear | nn.Conv2d):
                hooks.callback(layer.register_forward_pre_hook(partial(look, name)).remove)
        for images, _ in calibration.batches:
            network.model(images)
    return {name: _centred(torch.cat(values).cpu()) for name, values in found.items()}


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=0)


def _samples(layer: nn.Module, given: Tensor, chance: torch.Generator) -> Iterator[Tensor]:
    """(B, in) a place of the map: what each channel adds there to one output of the layer."""
    if isinstance(layer, nn.Linear):
        rows = given.reshape(len(given), -1, given.shape[-1])
        for place in torch.randperm(rows.shape[1], generator=chance)[:POSITIONS].tolist():
            chosen = torch.randint(layer.out_features, (len(rows),), generator=chance)
            yield rows[:, place] * layer.weight[chosen]
        return
    assert isinstance(layer, nn.Conv2d)
    for patch in _patches(layer, given, chance):
        chosen = torch.randint(layer.out_channels, (len(patch),), generator=chance)
        own = layer.in_channels // layer.groups
        first = torch.div(chosen * layer.groups, layer.out_channels, rounding_mode="floor") * own
        read = first[:, None] + torch.arange(own)
        added = (patch.flatten(2)[torch.arange(len(patch))[:, None], read] * layer.weight[chosen].flatten(2)).sum(dim=2)
        yield added.new_zeros(len(patch), layer.in_channels).scatter(1, read, added)


def _patches(layer: nn.Conv2d, given: Tensor, chance: torch.Generator) -> Iterator[Tensor]:
    """(B, in, kh, kw): what the convolution reads at some places of its output."""
    pads = layer._reversed_padding_repeated_twice
    padded = functional.pad(given, pads) if any(pads) else given
    spans = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    rows, columns = (
        (size - span) // stride + 1 for size, span, stride in zip(padded.shape[2:], spans, layer.stride, strict=True)
    )
    for place in torch.randperm(rows * columns, generator=chance)[:POSITIONS].tolist():
        top, left = place // columns * layer.stride[0], place % columns * layer.stride[1]
        yield padded[:, :, top : top + spans[0] : layer.dilation[0], left : left + spans[1] : layer.dilation[1]]
