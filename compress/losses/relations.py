"""Losses that match how the images of a batch relate to each other, so that widths may differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Kernel = Callable[[Tensor], Tensor]

ZERO_NORM = 1e-8
SMALLEST_SIMILARITY = 1e-7


def cosine_kernel(features: Tensor) -> Tensor:
    """The similarities (1 + cos) / 2 of all pairs of rows, in [0, 1].

    The cosine of a zero vector (norm up to 1e-8) with anything, itself included, is 0, and its gradient is 0.

    Args:
        features: (B, D).

    Returns:
        (B, B), symmetric.
    """
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    unit = torch.where(norm > ZERO_NORM, features / norm.clamp_min(ZERO_NORM), 0.0)
    return (1 + unit @ unit.T) / 2


def student_t_kernel(features: Tensor) -> Tensor:
    """The similarities 1 / (1 + Euclidean distance) of all pairs of rows, in (0, 1].

    Distances below the rounding of the features count as 0, and have the gradient 0.

    Args:
        features: (B, D); float64 where close rows matter, since the squared distances are differences of products.

    Returns:
        (B, B), symmetric, 1 on the diagonal.
    """
    centred = features - features.mean(dim=0)
    square = centred.square().sum(dim=1)
    scale = square[:, None] + square[None, :]
    distance2 = scale - 2 * centred @ centred.T
    apart = distance2 > scale * torch.finfo(features.dtype).eps ** 0.75
    distance = torch.where(apart, torch.where(apart, distance2, 1.0).sqrt(), 0.0)
    return 1 / (1 + distance.fill_diagonal_(0.0))


PKT_KERNELS: tuple[Kernel, ...] = (cosine_kernel, student_t_kernel)


def pkt_loss(student: Tensor, teacher: Tensor, kernels: Sequence[Kernel] = PKT_KERNELS) -> Tensor:
    """The divergence of the student's neighbourhood probabilities in a batch from the teacher's.

    For each kernel the similarities of all pairs of images, rows normalised to sum 1 with the diagonal included, give
    p from the teacher and q from the student; the loss is the mean over i, j of (p_ij - q_ij)(ln p_ij - ln q_ij),
    summed over the kernels. Computed in float64: on the CPU that is faster than exact float32 distances.

    Args:
        student: Features (B, ...), B at least 2; flattened to (B, D).
        teacher: Features (B, ...) of any width.
        kernels: What makes similarities (B, B) in [0, 1] of features (B, D).

    Raises:
        ValueError: The batch sizes differ, a batch has less than two images, or there is no kernel.

    Reference: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018;
        Passalis, Tzelepi and Tefas, "Heterogeneous Knowledge Distillation Using Information Flow Modeling", CVPR 2020.
    Deviates: the 2018 paper sums p ln(p / q) of the cosine kernel; as in the 2020 one the divergence is symmetric
        and has both kernels, and as in their code it is a mean.
    """
    if len(student) != len(teacher):
        raise ValueError(
            f"pkt_loss: {len(student)} images of the student and {len(teacher)} of the teacher; pass one batch"
        )
    if len(student) < 2:
        raise ValueError(f"pkt_loss: a batch of {len(student)}; relations need at least 2 images")
    if not kernels:
        raise ValueError("pkt_loss: no kernel; give at least one")
    wide_student, wide_teacher = _widen(student), _widen(teacher)
    losses = [_divergence(_log_rows(kernel(wide_teacher)), _log_rows(kernel(wide_student))) for kernel in kernels]
    return torch.stack(losses).sum().to(student.dtype)


def _widen(features: Tensor) -> Tensor:
    has_float64 = features.device.type != "mps"
    return features.flatten(1).to(torch.float64 if has_float64 else torch.float32)


def _log_rows(similarity: Tensor) -> Tensor:
    return F.normalize(similarity.clamp_min(SMALLEST_SIMILARITY), p=1.0, dim=1).log()


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).mean()
