"""A network on grids: the steps chosen, and every weight rounded, with no training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from compress.edits import ActivationGrid, Grid
from compress.errors import PlanError
from compress.quantization.activations import set_scales
from compress.quantization.biases import correct_biases, round_biases
from compress.quantization.calibration import calibrated
from compress.quantization.equalization import equalized
from compress.quantization.grids import HALF_BITS, Half, Layer, apply, code_range, held, whole_steps
from compress.quantization.rounding import compensated, products
from compress.quantization.scheme import USUAL, Rounding, Static
from compress.quantization.steps import best_steps
from compress.stages import Staged, evaluating

UNFOLDED = 2**25  # values


def quantize(
    network: Staged,
    grids: Sequence[Grid],
    *,
    activations: Sequence[ActivationGrid] = (),
    rounding: Rounding = "nearest",
    static: Static = USUAL,
    images: Sequence[Tensor] = (),
) -> Staged:
    """A copy of the network with those weights and activations on grids, in eval mode.

    Args:
        network: Left as it is.
        grids: The layers and their bits.
        activations: The values of the forward pass.
        rounding: "nearest" takes the code nearest to each weight; "compensated" looks at what the layers see, one after
            the other in the order in which they run.
        static: How activations find their grids.
        images: Batches (B, C, H, W) of normalised images, for "compensated" and for activations.

    Raises:
        PlanError: Compensated rounding or activations without images.
    """
    if (rounding == "compensated" or activations) and not images:
        raise PlanError("compensated rounding and activations look at images; give some, or round weights to nearest")
    layers = [grid.module for grid in grids if grid.bits < HALF_BITS]
    start = equalized(network, layers, images) if static.equalize else network
    scales = calibrated(start, activations, images, static.ranges) if activations else ()
    small = apply(start, grids, activations)
    set_scales(small, activations, scales)
    small.model.eval()
    for grid in grids:
        _, kind, weight = held(small.model, grid.module)
        if not isinstance(kind, Half):
            kind.step.data.copy_(best_steps(weight, grid.bits))
    if rounding == "compensated":
        _compensate(small.model, {grid.module: grid.bits for grid in grids}, images)
    if static.correct_bias:
        correct_biases(start, small, activations, images)
    round_biases(small, whole_steps(small.model), activations)
    return small


def _compensate(model: nn.Module, bits: dict[str, int], images: Sequence[Tensor]) -> None:
    for name in _in_order(model, list(bits), images[0][:1]):
        layer, kind, weight = held(model, name)
        if isinstance(kind, Half):
            continue
        batches = (products(layer, part) for inputs in _inputs(model, layer, images) for part in _few(layer, inputs))
        seen = reduce(lambda one, other: [a.add_(b) for a, b in zip(one, other, strict=True)], batches)
        weight.data.copy_(compensated(weight, kind.step.detach(), code_range(bits[name]), seen))


def _in_order(model: nn.Module, names: Sequence[str], image: Tensor) -> list[str]:
    """The layers in the order in which a forward pass first reaches them; those that it does not reach are left out."""
    reached: list[str] = []
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(lambda _m, _a, name=name: reached.append(name))
        for name in names
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [*dict.fromkeys(reached)]


def _few(layer: Layer, inputs: Tensor) -> Sequence[Tensor]:
    """What a layer sees, in parts of as many images as are unfolded in little memory."""
    values = inputs[0].numel() * (layer.weight[0, 0].numel() if layer.weight.ndim == 4 else 1)
    return torch.split(inputs, max(1, UNFOLDED // values))


class _Reached(Exception):  # noqa: N818  (no error)
    """The forward pass has come to the layer."""


def _inputs(model: nn.Module, layer: nn.Module, images: Sequence[Tensor]) -> Iterator[Tensor]:
    """What goes into the layer the first time it runs, batch by batch."""
    seen: list[Tensor] = []

    def stop(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])
        raise _Reached

    hook = layer.register_forward_pre_hook(stop)
    try:
        with evaluating(model), torch.no_grad():
            for batch in images:
                try:
                    model(batch)
                except _Reached:
                    yield seen.pop()
    finally:
        hook.remove()
