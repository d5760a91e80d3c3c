"""Which channels of the whole network live on in its pruned copy, stage by stage."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from compress.edits import Cut, Surgery
from compress.errors import PlanError
from compress.pruning.surgery import apply
from compress.stages import Stage, Staged


def show_survivors(whole: Staged, cuts: Iterable[Surgery], image: Tensor) -> Staged:
    """The whole network, showing at each intermediate stage only the channels that the cuts leave, in their order.

    So that a pruned network can be taught map by map by the network it came from, without an auxiliary.

    Args:
        whole: The network as it was before the cuts; left as it is.
        cuts: What was removed from it; a block that was has no channels of its own to follow.
        image: One image (1, C, H, W) that the network takes.

    Raises:
        PlanError: A stage does not end in a batch-norm of its channels, which could be followed.
    """
    marked = replace(whole, model=copy.deepcopy(whole.model))
    stages = [whole.stage(name) for name in whole.body]
    for stage in stages:
        norm = _last_norm(marked, stage)
        if norm.num_features != stage.width:
            raise PlanError(
                f"stage {stage.name!r}: shows {stage.width} channels, but its last batch-norm has {norm.num_features}"
            )
        norm.weight.data = torch.arange(stage.width, dtype=norm.weight.dtype, device=norm.weight.device)
    left = apply(marked, [cut for cut in cuts if isinstance(cut, Cut)], image)
    keep = {stage.name: _last_norm(left, stage).weight.detach().long() for stage in stages}
    return replace(whole, keep=keep)


def kept_channels(whole: Staged, cuts: Iterable[Surgery], image: Tensor) -> dict[str, Tensor]:
    """Convolution or linear layer to the positions (O,) of those of its outputs that the cuts leave, in their order.

    Args:
        whole: The network as it was before the cuts; left as it is.
        cuts: What was removed from it.
        image: One image (1, C, H, W) that the network takes.
    """
    marked = replace(whole, model=copy.deepcopy(whole.model))
    for layer in _layers(marked.model).values():
        numbers = torch.arange(len(layer.weight), dtype=layer.weight.dtype)
        layer.weight.data = numbers.view(-1, *[1] * (layer.weight.ndim - 1)).expand_as(layer.weight).clone()
    left = _layers(apply(marked, cuts, image).model)
    return {name: layer.weight.detach().flatten(1)[:, 0].long() for name, layer in left.items()}


def _layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def _last_norm(network: Staged, stage: Stage) -> nn.BatchNorm2d:
    norms = [
        module
        for path, module in network.model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and network.owns([stage.name], path)
    ]
    if not norms:
        raise PlanError(f"stage {stage.name!r}: has no batch-norm whose channels could be followed")
    return norms[-1]
