"""Which channels matter: scores of filters, of channels by what they do on data, and the choice of the best.

The scores are pure functions of tensors; `compress.pruning.scores` asks them about layers.
"""

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


def filter_lengths(weight: Tensor) -> Tensor:
    """The L2 norm of each output filter (out,), without gradient.

    Args:
        weight: (out, in, ...), of a convolution or a linear layer.

    Reference: Li et al., "Pruning Filters for Efficient ConvNets", 2017, section 4.5.
    """
    return weight.detach().flatten(1).square().sum(dim=1).sqrt()


def scale_sizes(scale: Tensor) -> Tensor:
    """The absolute factors (N,) by which a batch-norm multiplies its channels.

    Args:
        scale: (N,), or (N, 1): the batch-norm's weight (gamma).

    Reference: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", 2017.
    Deviates: Nothing pushes the factors of the network to 0 before.
    """
    return scale.detach().flatten().abs()


def distances_to_others(weight: Tensor) -> Tensor:
    """The sum (out,) of each filter's Euclidean distances to all others: the least is the nearest to their median.

    Args:
        weight: (out, in, ...), of a convolution or a linear layer.

    Reference: He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
        2019, equation 8.
    """
    rows = weight.detach().flatten(1)
    return torch.cdist(rows, rows).sum(dim=1)


def shares_of_the_rest(sizes: Tensor) -> Tensor:
    """Each size (N,) as a share of the sum of those that are not smaller, itself among them; the largest has 1.

    So scores of several layers can be ranked together: what is left of a layer always has one that scores 1. Of equal
    sizes the later one is taken for the larger.

    Args:
        sizes: (N,) squared norms, at least 0.

    Reference: Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021, equation 2.
    Deviates: Of channels, where the paper scores single weights.
    """
    ascending, order = sizes.sort(stable=True)
    rest = ascending.flip(0).cumsum(0).flip(0)
    return torch.empty_like(sizes).index_copy(0, order, ascending / rest.clamp_min(torch.finfo(rest.dtype).tiny))


def loss_changes(products: Tensor) -> Tensor:
    """The mean (N,) of squares over batches: how much the loss changes, to first order, where a channel is removed.

    Args:
        products: (batches, N): the sum of parameter * gradient over the parameters of each channel.

    Reference: Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019, equations 8 and 9.
    """
    return products.square().mean(dim=0)


def removal_errors(contributions: Tensor) -> Tensor:
    """How far the next layer's outputs are off (N,) once a channel and all that go before it are removed.

    Channels are removed one by one, each time the one whose removal leaves the least squared error. A score is that
    error as a share of the squared outputs, and never less than that of a channel that went before; equal ones are
    told apart by their order, by less than 1e-6.

    Args:
        contributions: (samples, N): what each channel adds to an output of the next layer, less its mean.

    Reference: Luo et al., "ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression", 2017,
        algorithm 1; He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017.
    Deviates: What is left is not scaled by least squares.
    """
    products = contributions.double().T @ contributions.double()
    count = len(products)
    whole = products.sum().clamp_min(1e-30)
    added, error, worst = products.diagonal().clone(), 0.0, 0.0
    scores = torch.empty(count, dtype=torch.float64)
    gone = torch.zeros(count, dtype=torch.bool)
    for number in range(count):
        channel = int(added.masked_fill(gone, torch.inf).argmin())
        error += float(added[channel])
        worst = max(worst, error / float(whole))
        scores[channel] = worst + 1e-6 * number / count
        gone[channel] = True
        added += 2 * products[channel]
    return scores


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
