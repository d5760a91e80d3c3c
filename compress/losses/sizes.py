"""Maps of different sizes, brought to one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def to_smaller(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps, average-pooled to the smaller of their heights and of their widths; as they are where these agree.

    Args:
        first: (B, C, H, W).
        second: (B, D, H', W').
    """
    size = min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3])
    pooled = [m if m.shape[2:] == size else F.adaptive_avg_pool2d(m, size) for m in (first, second)]
    return pooled[0], pooled[1]
