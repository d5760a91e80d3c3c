"""Weights held to a grid: parametrizations that round, train through the rounding, and say which codes they mean."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.edits import ActivationGrid, Grid
from compress.errors import CompressError
from compress.quantization.activations import apply_activations, steps_of
from compress.stages import Staged

WEIGHT = "weight"
Layer = nn.Conv2d | nn.Linear
LAYERS = (nn.Conv2d, nn.Linear)  # the output channels of whose weights come first
HALF_BITS = 16


@dataclass(frozen=True)
class Codes:
    """The weight of a layer as it is stored.

    Attributes:
        module: Dotted name of the layer.
        bits: Of one code.
        values: (O, I, ...) whole numbers as int8; or float16 at 16 bits.
    """

    module: str
    bits: int
    values: Tensor


class Steps(nn.Module):
    """Whole multiples of a step, of which each output channel has its own, learned with the weight.

    A step may be negative: with an even number of codes this is how a channel has the further one on its positive side.

    Args:
        channels: Output channels of the weight.
        bits: Of a code, which is from -2**(bits - 1) to 2**(bits - 1) - 1; at 8 bits -128 is left out.

    Reference: Esser et al., "Learned Step Size Quantization", 2020.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.low, self.high = code_range(bits)
        self.step = nn.Parameter(torch.ones(channels))

    def forward(self, weight: Tensor) -> Tensor:
        """(O, I, ...) to the multiples nearest to it, with the gradient of the weight where it is in range."""
        share = (weight[0].numel() * self.high) ** -0.5
        slow = self.step * share
        step = self.step.detach() + (slow - slow.detach())  # exactly the step, which learns as slowly as one weight
        step = step.view(-1, *[1] * (weight.ndim - 1))
        scaled = (weight / step).clamp(self.low, self.high)
        rounded: Tensor = (scaled + (scaled.round() - scaled).detach()) * step
        return rounded

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Tensor:
        """(O, I, ...) int8."""
        step = self.step.view(-1, *[1] * (weight.ndim - 1))
        return (weight / step).clamp(self.low, self.high).round().to(torch.int8)


class Half(nn.Module):
    """Floats of half precision, with the gradient of the weight."""

    def forward(self, weight: Tensor) -> Tensor:
        """(O, I, ...) to the nearest float16, as float32."""
        return weight + (weight.half().float() - weight).detach()

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Tensor:
        """(O, I, ...) float16."""
        return weight.half()


def code_range(bits: int) -> tuple[int, int]:
    """The least and the largest code of so many bits."""
    half = 2 ** (bits - 1)
    return (1 - half if bits == 8 else -half), half - 1


def apply(network: Staged, grids: Iterable[Grid], activations: Sequence[ActivationGrid] = ()) -> Staged:
    """A copy of the network whose named weights and activations are on grids, with steps of 1.

    Layers and stages keep their names; the state dict has the weight at `LAYER.parametrizations.weight.original`, and
    its steps beside it. For those of activations see `compress.quantization.activations.apply_activations`.

    Args:
        network: Left as it is.
        grids: At most one for a layer.
        activations: At most one for a value.

    Raises:
        CompressError: A layer or a module does not exist, is of another kind, or is on a grid already.
    """
    model = apply_activations(network, activations).model if activations else copy.deepcopy(network.model)
    for grid in grids:
        layer = _layer(model, grid.module)
        kind = Half() if grid.bits == HALF_BITS else Steps(layer.weight.shape[0], grid.bits)
        with torch.no_grad():
            parametrize.register_parametrization(layer, WEIGHT, kind.to(layer.weight.device), unsafe=True)
    return replace(network, model=model)


def _layer(model: nn.Module, name: str) -> Layer:
    try:
        layer = model.get_submodule(name)
    except AttributeError as error:
        raise CompressError(f"the grid of {name!r}: the network has no such layer") from error
    if parametrize.is_parametrized(layer):
        raise CompressError(f"the grid of {name!r}: its weight is quantized already; give the network it was before")
    if not isinstance(layer, LAYERS):
        raise CompressError(
            f"the grid of {name!r}: it is a {type(layer).__name__}; weights of convolutions and linear layers can be "
            "quantized"
        )
    return layer


def held(model: nn.Module, name: str) -> tuple[Layer, Steps | Half, nn.Parameter]:
    """A layer whose weight is on a grid, that grid, and the weight that it rounds."""
    layer: Any = model.get_submodule(name)
    parts = layer.parametrizations.weight
    return layer, parts[0], parts.original


def whole_steps(model: nn.Module) -> dict[str, Tensor]:
    """The layers whose weights are multiples of steps, with these (O,)."""
    return {
        name: layer.parametrizations.weight[0].step.detach()
        for name, layer in model.named_modules()
        if parametrize.is_parametrized(layer, WEIGHT) and isinstance(layer.parametrizations.weight[0], Steps)
    }


def learned_steps(model: nn.Module) -> list[nn.Parameter]:
    """The steps of all grids, of weights and of activations."""
    return [*(part.step for part in model.modules() if isinstance(part, Steps)), *steps_of(model)]


def parameters_of(model: nn.Module) -> int:
    """How many values of a network training sets, the steps of grids aside."""
    steps = {id(step) for step in learned_steps(model)}
    return sum(value.numel() for value in model.parameters() if id(value) not in steps)


def plain_weights(model: nn.Module, without: Iterable[str] = ()) -> int:
    """How many weights of matrices and filters are on no grid.

    Args:
        model: With some on grids.
        without: Layers that do not count, by name.
    """
    layers = [layer for layer in model.modules() if parametrize.is_parametrized(layer, WEIGHT)]
    layers += map(model.get_submodule, without)
    stored = {id(value) for layer in layers for value in layer.parameters()}
    return sum(value.numel() for value in model.parameters() if value.ndim > 1 and id(value) not in stored)


def codes_of(network: Staged, grids: Iterable[Grid]) -> list[Codes]:
    """What is stored of each weight that is on a grid."""
    found = []
    for grid in grids:
        _, rounding, weight = held(network.model, grid.module)
        found.append(Codes(grid.module, grid.bits, rounding.codes(weight.detach()).cpu()))
    return found


def plain(model: nn.Module) -> nn.Module:
    """A copy whose weights are the rounded ones, without grids of them: the same outputs, bit for bit."""
    model = copy.deepcopy(model)
    layer: Any
    for layer in [*model.modules()]:
        if not parametrize.is_parametrized(layer, WEIGHT):
            continue
        weight = layer.weight.detach()
        del layer.parametrizations  # torch's own removal works on the class, which the copy shares with its original
        layer.__class__ = type(layer).__mro__[1]
        layer.register_parameter(WEIGHT, nn.Parameter(weight))
    return model
