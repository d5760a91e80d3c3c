"""Biases as a runtime adds them that computes on whole numbers: multiples of the product of two steps.

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
from compress.quantization.places import Unit, units
from compress.stages import Staged


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
