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
from compress.pruning.tracing import followed
from compress.stages import Stage, Staged, feature_shapes, passed

FOLLOWED = "_followed"
LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def show_survivors(whole: Staged, cuts: Iterable[Surgery], image: Tensor) -> Staged:
    """The whole network, showing at each intermediate stage only the channels that the cuts leave, in their order.

    So that a pruned network can be taught map by map by the network it came from, without an auxiliary. A layer whose
    weights are the numbers of its channels shows which it loses: a stage is such a layer, or goes through a norm. In a
    network that is cut part by part (see `tracing.regions`) what lies between the parts keeps all of its channels.

    Args:
        whole: The network as it was before the cuts; left as it is.
        cuts: What was removed from it; a block that was has no channels of its own to follow.
        image: One image (1, C, H, W) that the network takes.

    Raises:
        PlanError: The channels of a stage could not be followed through the cuts.
    """
    marked, shapes, places = replace(whole, model=copy.deepcopy(whole.model)), feature_shapes(whole, image), {}
    if followed(whole.model):
        places = {name: _follow(marked.model, whole.stage(name), shapes[name]) for name in whole.body}
    left = apply(marked, [cut for cut in cuts if isinstance(cut, Cut)], image)
    keep = {name: torch.arange(whole.width(name)) for name in whole.body}
    keep |= {name: _numbers(left.model.get_submodule(place)) for name, place in places.items()}
    for name, channels in keep.items():
        if len(channels) != left.width(name):
            raise PlanError(
                f"stage {name!r}: {left.width(name)} of its channels are left, but {len(channels)} could be followed; "
                "take a method of logits or embeddings, such as okd or pkt"
            )
    return replace(whole, keep=keep)


def _number(layer: nn.Module) -> None:
    """Make the weights of each output of a layer its number, from 0."""
    weight = layer.get_parameter("weight")
    numbers = torch.arange(len(weight), dtype=weight.dtype, device=weight.device)
    weight.data = numbers.view(-1, *[1] * (weight.ndim - 1)).expand_as(weight).clone()


def _numbers(layer: nn.Module) -> Tensor:
    weight = layer.get_parameter("weight").detach()
    return weight.reshape(len(weight), -1)[:, 0].long()


def _follow(model: nn.Module, stage: Stage, shape: tuple[int, ...]) -> str:
    """The name of a layer that has the channels of a stage, and its weights their numbers.

    A new one is the child of a layer without children, for a container might run whatever it holds.
    """
    tapped = model.get_submodule(stage.tap)
    if isinstance(tapped, LAYERS) and not stage.before:
        _number(tapped)
        return stage.tap
    own = next(name for name, module in tapped.named_modules() if not list(module.children()))
    kinds = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d}
    norm = nn.LayerNorm(stage.width) if stage.channels_last else kinds[len(shape)](stage.width)
    _number(norm)
    tapped.get_submodule(own).add_module(FOLLOWED, norm.eval())
    place = f"{own}.{FOLLOWED}" if own else FOLLOWED
    passed(model, stage, lambda module, value: module.get_submodule(place)(value))
    return f"{stage.tap}.{place}" if stage.tap else place


def kept_channels(whole: Staged, cuts: Iterable[Surgery], image: Tensor) -> dict[str, Tensor]:
    """Convolution or linear layer to the positions (O,) of those of its outputs that the cuts leave, in their order.

    Args:
        whole: The network as it was before the cuts; left as it is.
        cuts: What was removed from it.
        image: One image (1, C, H, W) that the network takes.
    """
    marked = replace(whole, model=copy.deepcopy(whole.model))
    for layer in _layers(marked.model).values():
        _number(layer)
    left = _layers(apply(marked, cuts, image).model)
    return {name: _numbers(layer) for name, layer in left.items()}


def _layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
