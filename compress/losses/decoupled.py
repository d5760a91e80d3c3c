"""What the teacher believes, taken apart: how sure it is of the label, and how it ranks the classes besides."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.losses.logits import VOID, as_rows


def dkd_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, tau: float = 4.0, *, alpha: float = 1.0, beta: float = 8.0
) -> Tensor:
    """alpha * TCKD + beta * NCKD, both times tau^2 and a mean over the images.

    TCKD is the Kullback-Leibler divergence, from the student's to the teacher's, of (label, any other class), with
    probabilities softmax(logits / tau); NCKD that of the other classes among themselves. With beta equal to the
    teacher's probability of the other classes and alpha 1 they sum to `kd_loss`.

    Args:
        student: Logits (B, C), or (B, C, H, W), whose pixels count as images; C at least 2.
        teacher: Logits of the same shape.
        labels: Class of each image (B,), int64; a distribution (B, C), whose largest counts; or of each pixel
            (B, H, W), where those that are 255, void, do not count: 0 where all are void.
        tau: Temperature, above 0 and finite.
        alpha: Weight of TCKD, 0 or more.
        beta: Weight of NCKD, 0 or more.

    Raises:
        ValueError: The shapes do not agree, or `tau` is out of its range.

    Reference: Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation", CVPR 2022, Eqs. 5-7.
    """
    if not 0 < tau < math.inf:
        raise ValueError(f"dkd_loss: tau is {tau}; it must be above 0 and finite")
    ours, theirs = as_rows("dkd_loss", student, teacher)
    if labels.is_floating_point() and labels.shape == ours.shape:
        labels = labels.argmax(dim=1)
    masks = student.ndim == 4
    if labels.shape != (len(student), *student.shape[2:]):
        raise ValueError(
            f"dkd_loss: logits {tuple(student.shape)} and labels {tuple(labels.shape)}; expected one label an image, "
            "or a pixel"
        )
    labels = labels.flatten()
    asked = labels != VOID if masks else torch.ones_like(labels, dtype=torch.bool)
    label = F.one_hot(labels.where(asked, 0), ours.shape[1]).bool()
    log_q, log_p = (F.log_softmax(rows / tau, dim=1) for rows in (ours, theirs))
    tckd = _divergence(_pair(log_q, label), _pair(log_p, label))
    nckd = _divergence(*(F.log_softmax(_others(rows, label), dim=1) for rows in (log_q, log_p)))
    rows = alpha * tckd + beta * nckd
    return tau**2 * rows.where(asked, 0.0).sum() / asked.sum().clamp(min=1)


def _others(rows: Tensor, label: Tensor) -> Tensor:
    """(N, C - 1): each row without its label."""
    return rows[~label].view(len(rows), -1)


def _pair(log_q: Tensor, label: Tensor) -> Tensor:
    """(N, 2): the logarithms of the probability of the label and of all other classes together."""
    return torch.stack([log_q[label], _others(log_q, label).logsumexp(dim=1)], dim=1)


def _divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """(N,): sum p (ln p - ln q)."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
