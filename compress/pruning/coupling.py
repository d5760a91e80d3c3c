"""Layers that lose their channels together, and what each of them does with these channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch_pruning.ops import _SliceOp

from compress.pruning.tracing import Region

Side = Literal["makes", "scales", "reads"]


@dataclass(frozen=True)
class Role:
    """What one layer does with coupled channels.

    Attributes:
        name: Dotted name of the layer.
        layer: It makes them (a convolution or linear layer), scales them (a batch-norm) or reads them.
        side: Which of these.
        places: (n,) int64, its channels that are meant.
        channels: (n,) int64, the coupled channel that each of them belongs to.
    """

    name: str
    layer: nn.Module
    side: Side
    places: Tensor
    channels: Tensor

    def rows(self) -> Tensor:
        """(n, K) on the CPU: what its weight holds of each place: a filter, a scale, or what reads a channel."""
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        values = weight.detach().cpu()
        if self.side == "scales":
            return values[self.places, None]
        return (filters if self.side == "makes" else readers)(self.layer, values)[self.places]


@dataclass(frozen=True)
class Coupling:
    """Channels that run through several layers, which lose them together.

    Attributes:
        root: Dotted name of the layer whose outputs number them.
        width: How many there are.
        groups: How many equal groups they must keep forming: those of grouped convolutions, attention heads.
        roles: Of the layers that make, scale or read them.
    """

    root: str
    width: int
    groups: int
    roles: tuple[Role, ...]

    def side(self, side: Side) -> tuple[Role, ...]:
        """The roles of that kind."""
        return tuple(role for role in self.roles if role.side == side)

    @property
    def places(self) -> int:
        """How many channels there are in each group."""
        return self.width // self.groups

    @property
    def makers(self) -> tuple[str, ...]:
        """The names of the layers whose outputs they are."""
        return tuple(role.name for role in self.side("makes"))

    def outputs_left(self, layer: str, outputs: int, removed: Iterable[int]) -> Tensor:
        """The positions (O,) of those outputs of a layer that stay where some of these channels go.

        Args:
            layer: Its name; of one that does not make the channels all outputs stay.
            outputs: How many it has.
            removed: The channels that go.
        """
        goes, stays = torch.zeros(self.width, dtype=torch.bool), torch.ones(outputs, dtype=torch.bool)
        goes[list(removed)] = True
        for role in self.side("makes"):
            if role.name == layer:
                stays[role.places[goes[role.channels]]] = False
        return stays.nonzero().flatten()


def filters(layer: nn.Module, weight: Tensor) -> Tensor:
    """(out, K): the weights, or what is of their shape, that make each output of a convolution or linear layer."""
    if not isinstance(layer, _ConvTransposeNd):
        return weight.flatten(1)
    ways = weight.view(layer.groups, layer.in_channels // layer.groups, layer.out_channels // layer.groups, -1)
    return ways.transpose(1, 2).reshape(layer.out_channels, -1)


def readers(layer: nn.Module, weight: Tensor) -> Tensor:
    """(in, K): the weights, or what is of their shape, that read each input of a convolution or linear layer."""
    if isinstance(layer, _ConvTransposeNd):
        return weight.flatten(1)
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    ways = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return ways.transpose(1, 2).reshape(groups * weight.shape[1], -1)


def couplings(region: Region, kept: Iterable[nn.Module]) -> Iterator[Coupling]:
    """All channels of a part of a network that may be cut, each once.

    Args:
        region: See `compress.pruning.tracing`.
        kept: Modules whose outputs stay.
    """
    graph = region.graph
    names = {module: region.prefix + name for name, module in graph.model.named_modules()}
    for group in graph.get_all_groups(ignored_layers=[*kept, *_sliced(graph)]):
        held = any(dep.target.module in region.held for dep, _ in group)
        if not held and not _makes_the_output(graph, group):
            group = _from_fewest(graph, group)
            root = group[0].dep.target.module
            yield Coupling(names[root], len(group[0].idxs), _groups(graph, group), tuple(_roles(graph, group, names)))


def _from_fewest(graph: Any, group: Any) -> Any:
    """The same group, numbered by the outputs of its narrowest layer, if each of them stands for several of others.

    Where a layer's outputs are concatenated with what is made of them, as in a GhostNet, those that read them all are
    wider, and cannot lose channels one by one.
    """
    makers = [
        dep.target.module
        for dep, _ in group
        if isinstance(dep.target.module, _ConvNd | nn.Linear) and graph.is_out_channel_pruning_fn(dep.handler)
    ]
    narrowest = min(makers, key=graph.get_out_channels)
    count = graph.get_out_channels(narrowest)
    if count == len(group[0].idxs):
        return group
    function = graph.get_pruner_of_module(narrowest).prune_out_channels
    other = graph.get_pruning_group(narrowest, function, list(range(count)))
    return other if _reach(other) == _reach(group) else group


def _reach(group: Any) -> dict[nn.Module, set[int]]:
    """Each layer to its channels that are in a group."""
    found: dict[nn.Module, set[int]] = {}
    for dep, places in group:
        found.setdefault(dep.target.module, set()).update(places)
    return found


def _sliced(graph: Any) -> Iterator[nn.Module]:
    """The layers whose channels run through a slice of channels, which has its ends in numbers that stay."""
    for module, node in graph.module2node.items():
        if isinstance(module, _ConvNd | nn.Linear):
            pruner = graph.get_pruner_of_module(module)
            if _meets_slice(node, pruner.prune_out_channels):
                yield module


def _meets_slice(node: Any, function: Any) -> bool:
    """Whether what is coupled to the outputs of a layer is sliced along its second side on its way."""
    seen, open_ = {(node, function)}, [(node, function)]
    while open_:
        at, trigger = open_.pop()
        for dep in at.dependencies:
            step = (dep.target, dep.handler)
            if dep.is_triggered_by(trigger) and step not in seen:
                if isinstance(dep.target.module, _SliceOp) and dep.target.module.dim == 1:
                    return True
                seen.add(step)
                open_.append(step)
    return False


def _roles(graph: Any, group: Any, names: dict[nn.Module, str]) -> Iterator[Role]:
    for item in group:
        layer, handler = item.dep.target.module, item.dep.handler
        pairs = [(i, root) for i, root in zip(item.idxs, item.root_idxs, strict=True) if root is not None]
        side: Side | None = None
        if isinstance(layer, _ConvNd | nn.Linear):
            side = "makes" if graph.is_out_channel_pruning_fn(handler) else "reads"
        elif isinstance(layer, _BatchNorm) and layer.affine:
            side = "scales"
        if side and pairs:
            places, channels = torch.tensor(pairs).unbind(dim=1)
            yield Role(names[layer], layer, side, places, channels)


def _makes_the_output(graph: Any, group: Any) -> bool:
    """Whether the channels of this group reach the network's output as they are, with no other layer in between."""
    for dep, _ in group:
        pruner = graph.get_pruner_of_module(dep.target.module)
        if not dep.target.outputs and dep.handler == pruner.prune_out_channels:
            return True
    return False


def _groups(graph: Any, group: Any) -> int:
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
