"""What each weight of a convolution or of a linear layer meets."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def patches(layer: nn.Conv2d | nn.Linear, inputs: Tensor) -> Tensor:
    """(G, N, D): for each of G groups of channels and each of N positions of all images, what meets D weights.

    Args:
        layer: Its filters have D weights each.
        inputs: What it sees: (B, I, H, W), or (B, ..., I).
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(1, -1, inputs.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(inputs, list(layer._reversed_padding_repeated_twice), mode)
    columns = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    by_group = columns.reshape(len(columns), layer.groups, -1, columns.shape[2])
    return by_group.permute(1, 0, 3, 2).flatten(1, 2)
