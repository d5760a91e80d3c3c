"""How many channels a cut has left of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from compress.stages import Staged


@dataclass(frozen=True)
class Share:
    """Channels before and after a cut."""

    channels: tuple[int, int]

    @property
    def channels_left(self) -> float:
        """The share of the channels that is left, in [0, 1]."""
        return self.channels[1] / self.channels[0]


@dataclass(frozen=True)
class Shares:
    """What a cut left of a network.

    Attributes:
        layers: Dotted name of each convolution and linear layer, but those of the stage "logits", to its share; of a
            layer in a block that is gone no channel is left.
        channels_left: The share of the output channels of all of these layers that is left, in [0, 1].
    """

    layers: Mapping[str, Share]
    channels_left: float

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Layer to its channels before and after."""
        return {name: share.channels for name, share in self.layers.items()}


def shares_left(before: Staged, after: Staged) -> Shares:
    """What a cut left of a network, layer by layer and in all.

    Args:
        before: As it was; with a convolution or linear layer outside of the stage "logits".
        after: The same network with fewer channels or blocks.

    Raises:
        ValueError: They are not the same network, or there is no such layer.
    """
    whole, small = _layers(before), _layers(after)
    if not whole or not whole.keys() >= small.keys():
        raise ValueError(f"shares_left: {len(whole)} layers before and {len(small)} after; pass a network and its cut")
    layers = {
        name: Share((_channels(layer), _channels(small[name]) if name in small else 0)) for name, layer in whole.items()
    }
    first, last = (sum(share.channels[when] for share in layers.values()) for when in (0, 1))
    return Shares(layers, last / first)


def _layers(network: Staged) -> dict[str, nn.Module]:
    return {
        name: module
        for name, module in network.model.named_modules()
        if isinstance(module, _ConvNd | nn.Linear) and not network.owns(["logits"], name)
    }


def _channels(layer: nn.Module) -> int:
    channels = layer.out_channels if isinstance(layer, _ConvNd) else layer.out_features
    assert isinstance(channels, int)
    return channels
