"""Losses that match features one to one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean over all elements of the squared difference of two features.

    Args:
        student: Feature of any shape (B, ...).
        teacher: Feature of the same shape.

    Raises:
        ValueError: The shapes differ; nothing is broadcast.

    Reference: Sarridis et al., "InDistill: Information flow-preserving knowledge distillation", Eq. 1.
    Deviates: the paper writes the squared norm; its released code, like this, divides by the number of elements.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"feature_loss: student {tuple(student.shape)} and teacher {tuple(teacher.shape)}; the shapes "
            "must be equal: narrow the teacher to the student's channels, take networks whose maps agree, or a loss "
            "with an adapter (hint) or of relations (attention, pkt)"
        )
    if student.ndim == 4 and student.is_contiguous(memory_format=torch.channels_last):
        student, teacher = student.permute(0, 2, 3, 1), teacher.permute(0, 2, 3, 1)  # torch's gradient is contiguous
    return F.mse_loss(student, teacher)
