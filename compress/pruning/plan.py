"""Structured pruning: which channels of a network to cut, so that a given share of every layer goes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from compress.edits import Cut
from compress.errors import PlanError
from compress.pruning.importance import largest
from compress.pruning.surgery import Graph, apply, named_failures, trace
from compress.stages import Staged

Importance = Callable[[Any], Tensor | None]

ROUNDING = 1e-9
L1_NORM: Importance = torch_pruning.importance.MagnitudeImportance(p=1)


def prune(
    network: Staged, image: Tensor, ratio: float, *, importance: Importance = L1_NORM
) -> tuple[Staged, tuple[Cut, ...]]:
    """A smaller copy of the network, and the cuts that `apply` replays on a freshly built one.

    Layers that have to be equally wide are cut together. Of each such group the share `ratio` of the channels goes,
    rounded up, but one always stays. Where a layer works in groups of channels, each group loses as many: the number
    nearest to the share, which with few channels a group may be far from it (see `shares_left`). The stage "logits" and
    whatever else makes the network's output keep their outputs.

    Args:
        network: Left as it is.
        image: One image (1, C, H, W) that the network takes.
        ratio: Share of the channels to cut, in (0, 1).
        importance: A group of coupled layers, as torch-pruning makes it, to one score per channel, or None to leave it
            alone; by default the L1 norms of a channel's weights in all of these layers, averaged.

    Raises:
        ValueError: The ratio is out of range.
        PlanError: No layer can be cut, or the network's taps are narrowed.
        CompressError: torch-pruning cannot follow the network's layers.

    Reference: Li et al., "Pruning Filters for Efficient ConvNets", 2017; Fang et al., "DepGraph: Towards Any
        Structural Pruning", 2023.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio {ratio}: the share of channels to cut must be between 0 and 1")
    model = copy.deepcopy(network.model)
    head = [module for path, module in model.named_modules() if network.owns(["logits"], path)]
    graph = trace(model, image)
    with named_failures(model):
        cuts = tuple(_cuts(graph, head, ratio, importance))
    if not cuts:
        raise PlanError(f"ratio {ratio}: {type(network.model).__name__} has no layer that could lose a channel")
    return apply(network, cuts, image), cuts


def _cuts(graph: Graph, head: Sequence[nn.Module], ratio: float, importance: Importance) -> Iterator[Cut]:
    names = {module: name for name, module in graph.model.named_modules()}
    for group in graph.get_all_groups(ignored_layers=list(head)):
        root, prune_fn = group[0].dep.target.module, group[0].dep.handler
        scores = importance(group)
        if scores is None or _makes_the_output(graph, group):
            continue
        removed = _least(scores.cpu(), _channel_groups(graph, group), ratio)
        if removed and graph.check_pruning_group(graph.get_pruning_group(root, prune_fn, removed)):
            yield Cut(names[root], True, tuple(removed))


def _makes_the_output(graph: Graph, group: Any) -> bool:
    """Whether the channels of this group reach the network's output as they are, with no other layer in between."""
    for dep, _ in group:
        pruner = graph.get_pruner_of_module(dep.target.module)
        if not dep.target.outputs and dep.handler == pruner.prune_out_channels:
            return True
    return False


def _least(scores: Tensor, channel_groups: int, ratio: float) -> list[int]:
    """The channels that go, ascending: in each group of channels those at the places with the least mean score."""
    places = scores.view(channel_groups, -1).mean(dim=0)
    stay = len(places) * (1 - ratio)
    kept = max(1, math.floor(stay + ROUNDING) if channel_groups == 1 else math.ceil(stay - 0.5 - ROUNDING))
    stays = torch.zeros(len(places), dtype=torch.bool)
    stays[largest(places, kept)] = True
    return (~stays).repeat(channel_groups).nonzero().flatten().tolist()


def _channel_groups(graph: Graph, group: Any) -> int:
    """How many equal groups the channels must keep forming: grouped convolutions, group-norms, attention heads."""
    counts = [1]
    for dep, _ in group:
        module = dep.target.module
        if isinstance(module, nn.MultiheadAttention):
            counts.append(module.num_heads)
        elif not (isinstance(module, nn.Conv2d) and module.groups == module.out_channels):
            pruner = graph.get_pruner_of_module(module)
            is_out = graph.is_out_channel_pruning_fn(dep.handler)
            counts.append(pruner.get_out_channel_groups(module) if is_out else pruner.get_in_channel_groups(module))
    return max(counts)
