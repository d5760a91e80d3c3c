"""The statistics of batch-norm, as a changed network has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def reestimate(model: nn.Module, batches: Sequence[Tensor]) -> int:
    """Give each batch-norm the mean of what it sees over some images; all else stays, in eval mode.

    Args:
        model: Changed in place.
        batches: (B, C, H, W) scaled images; a batch of fewer images than half of the first one is left out.

    Returns:
        How many there are.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for batch in batches:
        if 2 * len(batch) >= len(batches[0]):
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return len(norms)
