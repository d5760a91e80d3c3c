"""Biases of layers on whole numbers: multiples of the product of two steps, and corrected for what rounding shifts.

Such a layer sums products of codes: one unit of the sum is the step of what it takes times the step of its weight. Its
bias is rounded to these units, and with it what the batch-norm behind it adds, which is part of the layer by then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.edits import ActivationGrid
from compress.quantization.activations import step_of, without_hooks
from compress.quantization.grids import whole_steps
from compress.quantization.places import Unit, units
from compress.stages import Staged, evaluating


def round_biases(network: Staged, steps: dict[str, Tensor], grids: Sequence[ActivationGrid]) -> None:
    """Round the bias of every layer that takes a value on a grid, in place; once more changes nothing.

    Args:
        network: In eval mode, with its activations on those grids.
        steps: Layers to the steps of their weights, (O,) each.
        grids: In order.
    """
    for unit in _units(network, steps, grids):
        taken = step_of(network.model, grids[unit.grid])
        _round(network.model, unit, taken * steps[unit.layer])


def _units(network: Staged, layers: Collection[str], grids: Sequence[ActivationGrid]) -> list[Unit]:
    return units(without_hooks(network), layers, grids) if grids else []


@torch.no_grad()
def _round(model: nn.Module, unit: Unit, step: Tensor) -> None:
    """Round what is added behind the products of one layer, whose unit is `step` (O,)."""
    layer: Any = model.get_submodule(unit.layer)
    if not unit.norm:
        if layer.bias is not None:
            layer.bias.copy_(_nearest(layer.bias, step))
        return
    norm: Any = model.get_submodule(unit.norm)
    if norm.weight is None:
        return
    given = 0.0 if layer.bias is None else layer.bias
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    added = norm.bias + factor * (given - norm.running_mean)
    norm.bias.add_(_nearest(added, step * factor.abs()) - added)


def _nearest(bias: Tensor, step: Tensor) -> Tensor:
    """The multiples of the steps nearest to a bias, in float64 on the way; where a step is 0 the bias as it is."""
    wide = step.abs().double()
    rounded = (bias.double() / wide).round() * wide
    return torch.where(wide > 0, rounded, bias.double()).to(bias.dtype)


def correct_biases(whole: Staged, small: Staged, grids: Sequence[ActivationGrid], images: Sequence[Tensor]) -> None:
    """Let the mean of every channel of a layer be what it was before it was quantized, one layer after the other.

    Args:
        whole: The network with floats.
        small: What became of it, changed in place: biases of layers, or the means of the batch-norms behind them.
        grids: Of its activations.
        images: Batches (B, C, H, W) of normalised images, at least one.

    Reference: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019.
    """
    for unit in _units(small, whole_steps(small.model), grids):
        lost = _mean(whole.model, unit.layer, images) - _mean(small.model, unit.layer, images)
        layer: Any = small.model.get_submodule(unit.layer)
        if layer.bias is not None:
            layer.bias.data.add_(lost)
        elif unit.norm:
            norm: Any = small.model.get_submodule(unit.norm)
            norm.running_mean.sub_(lost)


@torch.no_grad()
def _mean(model: nn.Module, layer: str, images: Sequence[Tensor]) -> Tensor:
    """(O,) the mean of each output channel of a layer."""
    sums: list[Tensor] = []
    axis = 1 if isinstance(model.get_submodule(layer), nn.Conv2d) else -1
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _module, _args, output: sums.append(output.movedim(axis, 0).flatten(1).mean(1) * len(output))
    )
    try:
        with evaluating(model):
            for batch in images:
                model(batch)
    finally:
        handle.remove()
    return torch.stack(sums).sum(0) / sum(map(len, images))
