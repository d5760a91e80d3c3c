"""Which channels matter: scores of filters, and the choice of the best."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def filter_norms(weight: Tensor) -> Tensor:
    """The L1 norm of each output filter (out,), without gradient.

    Args:
        weight: (out, in, ...), of a convolution or a linear layer.

    Raises:
        ValueError: It has no filters: less than two dimensions.

    Reference: Li et al., "Pruning Filters for Efficient ConvNets", 2017; Sarridis et al., InDistill, Algorithm 1.
    """
    if weight.ndim < 2:
        raise ValueError(f"filter_norms: a weight of shape {tuple(weight.shape)}; expected (out, in, ...)")
    return weight.detach().abs().flatten(1).sum(dim=1)


def by_chance(seed: int) -> Callable[[Tensor], Tensor]:
    """What scores filters at random: the weight (out, in, ...) to (out,) numbers in [0, 1), others at each call.

    The control of any other score: what remains of a gain when the channels are not chosen.

    Args:
        seed: Of the numbers.
    """
    chance = torch.Generator().manual_seed(seed)
    return lambda weight: torch.rand(len(weight), generator=chance)


def largest(scores: Tensor, count: int) -> Tensor:
    """The positions (count,) of the largest scores, int64, in ascending order; of equal scores the first are taken.

    Args:
        scores: (N,).
        count: How many, 1..N.

    Raises:
        ValueError: The scores are not a vector, or there are not so many.
    """
    if scores.ndim != 1:
        raise ValueError(f"largest: scores of shape {tuple(scores.shape)}; expected (N,)")
    if not 1 <= count <= len(scores):
        raise ValueError(f"largest: {count} of {len(scores)} channels; allowed are 1 to {len(scores)}")
    return scores.sort(descending=True, stable=True).indices[:count].sort().values
