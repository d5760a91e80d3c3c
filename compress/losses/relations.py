"""Losses that match how the images of a batch relate to each other, so that widths may differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]

ZERO_NORM = 1e-8
SMALLEST_SIMILARITY = 1e-7


def cosine_kernel(features: Tensor) -> Tensor:
    """The similarities (1 + cos) / 2 of all pairs of rows, in [0, 1].

    The cosine of a zero vector (norm up to 1e-8) with anything, itself included, is 0, and its gradient is 0. That of
    a row that is not finite is NaN.

    Args:
        features: (B, D).

    Returns:
        (B, B), symmetric.
    """
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    unit = torch.where(norm <= ZERO_NORM, 0.0, features / norm.clamp_min(ZERO_NORM))
    return (1 + unit @ unit.T) / 2


def student_t_kernel(features: Tensor) -> Tensor:
    """The similarities 1 / (1 + Euclidean distance) of all pairs of rows, in (0, 1].

    Distances below the rounding of the features count as 0, and have the gradient 0. Those of a row that is not finite
    are NaN, except its own to itself.

    Args:
        features: (B, D); float64 where close rows matter, since the squared distances are differences of products.

    Returns:
        (B, B), symmetric, 1 on the diagonal.
    """
    centred = features - features.mean(dim=0)
    square = centred.square().sum(dim=1, keepdim=True)
    scale = square + square.T
    distance2 = torch.addmm(scale, centred, centred.T, alpha=-2)
    together = distance2 <= scale.detach() * torch.finfo(features.dtype).eps ** 0.75
    together.fill_diagonal_(True)
    distance = distance2.masked_fill(together, 1.0).sqrt().masked_fill(together, 0.0)
    return 1 / (1 + distance)


PKT_KERNELS: tuple[Kernel, ...] = (cosine_kernel, student_t_kernel)


def pkt_loss(student: Tensor, teacher: Tensor, kernels: Sequence[Kernel] = PKT_KERNELS) -> Tensor:
    """The divergence of the student's neighbourhood probabilities in a batch from the teacher's.

    For each kernel the similarities of all pairs of images, rows normalised to sum 1 with the diagonal included, give
    p from the teacher and q from the student; the loss is the mean over i, j of (p_ij - q_ij)(ln p_ij - ln q_ij),
    summed over the kernels; NaN where a feature is not finite. Computed in float64: of images that are close, or of a
    student close to its teacher, products in float32 leave nothing right, and exact float32 distances are slower.

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
    losses = [_divergence(_rows(kernel(wide_teacher)), _rows(kernel(wide_student))) for kernel in kernels]
    return torch.stack(losses).sum().to(student.dtype)


def _widen(features: Tensor) -> Tensor:
    has_float64 = features.device.type != "mps"
    return features.flatten(1).to(torch.float64 if has_float64 else torch.float32)


def _rows(similarity: Tensor) -> Tensor:
    similarity = similarity.clamp_min(SMALLEST_SIMILARITY)
    return similarity / similarity.sum(dim=1, keepdim=True)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    return ((p - q) * (p.log() - q.log())).mean()
