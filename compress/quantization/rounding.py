"""Rounding that makes up for itself: what one weight loses, those that are not rounded yet take over."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compress.patches import patches
from compress.quantization.grids import Layer

PART = 2304  # weights of a filter that make up for each other; more take a cubic time
BLOCK = 128  # weights whose errors are handed on to those behind the block at once
DAMPING = 0.01  # of the mean diagonal of the products, so that they can be inverted


def products(layer: Layer, inputs: Tensor) -> list[Tensor]:
    """(G, D, D) sums over all positions of the products of what meets each weight of a filter; G groups.

    One for each part of at most `PART` of a filter's weights, in order: D is the number of weights in it.

    Args:
        layer: A convolution or a linear layer.
        inputs: What it sees: (B, I, H, W), or (B, ..., I).
    """
    return [part.mT @ part for part in torch.split(patches(layer, inputs), PART, dim=2)]


@torch.no_grad()
def compensated(weight: Tensor, steps: Tensor, bounds: tuple[int, int], products: Sequence[Tensor]) -> Tensor:
    """The weight on its grid (O, I, ...), each of a filter's values rounded in turn.

    The error of each is spread over those after it in its part of the filter, such that the output on the inputs
    changes least; values that meet larger inputs come first.

    Args:
        weight: (O, I, ...).
        steps: (O,).
        bounds: The least and the largest code.
        products: (G, D, D) of each part, see `products`.

    Reference: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers", 2023.
    """
    groups = len(products[0])
    rows, grid = weight.detach().reshape(groups, len(weight) // groups, -1), steps.reshape(groups, -1)
    parts = zip(torch.split(rows, PART, dim=2), products, strict=True)
    done = [
        torch.stack([_round(*group, bounds) for group in zip(part, grid, product, strict=True)])
        for part, product in parts
    ]
    return torch.cat(done, dim=2).reshape(weight.shape)


def _round(rows: Tensor, steps: Tensor, product: Tensor, bounds: tuple[int, int]) -> Tensor:
    """(F, D) parts of the filters of one group on their grids."""
    order = product.diagonal().argsort(descending=True)
    left, spread = rows[:, order], _spread(product[order][:, order])
    rounded, errors = torch.empty_like(left), torch.empty_like(left)
    for start in range(0, left.shape[1], BLOCK):
        stop = min(start + BLOCK, left.shape[1])
        for at in range(start, stop):
            rounded[:, at] = (left[:, at] / steps).clamp(*bounds).round() * steps
            errors[:, at] = (left[:, at] - rounded[:, at]) / spread[at, at]
            left[:, at:stop] -= errors[:, at, None] * spread[at, at:stop]
        left[:, stop:] -= errors[:, start:stop] @ spread[start:stop, stop:]
    return rounded[:, order.argsort()]


def _spread(product: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of the damped products."""
    exact = product.double()
    damped = exact + torch.eye(len(exact), dtype=exact.dtype) * (DAMPING * exact.diagonal().mean() + 1e-12)
    spread: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    return spread.to(product.dtype)
