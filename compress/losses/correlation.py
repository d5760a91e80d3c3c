"""How the classes of an image correlate between student and teacher, and the images of a class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compress.losses.logits import as_rows


def dist_loss(student: Tensor, teacher: Tensor, tau: float = 1.0, *, beta: float = 1.0, gamma: float = 1.0) -> Tensor:
    """beta * the mean over images of 1 - r of their classes + gamma * the mean over classes of 1 - r of the images.

    r is Pearson's correlation of the student's and the teacher's probabilities, softmax(logits / tau); of what does not
    vary it is 0. Both parts are times tau^2, which keeps the gradient's size independent of tau.

    Args:
        student: Logits (B, C), or (B, C, H, W), whose pixels count as images.
        teacher: Logits of the same shape.
        tau: Temperature, above 0 and finite.
        beta: Weight of the relation of the classes in each image.
        gamma: Weight of the relation of the images in each class.

    Raises:
        ValueError: The shapes differ or are none of these, or `tau` is out of its range.

    Reference: Huang, You, Wang, Qian and Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, Eqs. 6-9.
    """
    if not 0 < tau < math.inf:
        raise ValueError(f"dist_loss: tau is {tau}; it must be above 0 and finite")
    q, p = (rows.div(tau).softmax(dim=1) for rows in as_rows("dist_loss", student, teacher))
    return tau**2 * (beta * (1 - _correlation(q, p)) + gamma * (1 - _correlation(q.T, p.T)))


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """The mean over rows of Pearson's correlation of the rows of two matrices."""
    return (_unit(first) * _unit(second)).sum(dim=1).mean()


def _unit(rows: Tensor) -> Tensor:
    """The rows, each less its mean and of length 1; 0 where a row varies no more than by rounding."""
    kind = torch.finfo(rows.dtype)
    rows = rows / rows.detach().amax(dim=1, keepdim=True).clamp_min(kind.tiny)
    rows = rows - rows.mean(dim=1, keepdim=True)
    square = rows.square().sum(dim=1, keepdim=True)
    varies = square > rows.shape[1] * (4 * kind.eps) ** 2
    return torch.where(varies, rows / square.where(varies, 1.0).sqrt(), 0.0)
