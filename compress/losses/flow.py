"""How a network goes from one map to the next: the inner products of their channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.losses.sizes import to_smaller


def flow_matrix(first: Tensor, second: Tensor) -> Tensor:
    """The inner products (B, C, D) over the pixels of the channels of two maps, divided by the number of pixels.

    Args:
        first: (B, C, H, W).
        second: (B, D, H', W'); of maps of different sizes the larger is average-pooled to the smaller.

    Reference: Yim, Joo, Bae and Kim, "A Gift from Knowledge Distillation", CVPR 2017, Eq. 1.
    Deviates: the paper has maps of equal sizes, or max-pools the larger.
    """
    first, second = (feature.flatten(2) for feature in to_smaller(first, second))
    return torch.bmm(first, second.transpose(1, 2)) / first.shape[2]


def fsp_loss(student: Tensor, student_next: Tensor, teacher: Tensor, teacher_next: Tensor) -> Tensor:
    """The mean over all elements of the squared difference of the student's flow matrix and the teacher's.

    Args:
        student: (B, C, H, W), a map of the student.
        student_next: (B, D, H', W'), a later one.
        teacher: (B, C, ...), that of the teacher; its size may be another, its channels not.
        teacher_next: (B, D, ...).

    Raises:
        ValueError: A feature is no map, or student and teacher differ in batch or channels.

    Reference: Yim, Joo, Bae and Kim, "A Gift from Knowledge Distillation", CVPR 2017, Eq. 2.
    Deviates: the paper sums over the matrix; this is the mean, as in Kulkarni et al., 2019.
    """
    pairs = ((student, teacher), (student_next, teacher_next))
    for ours, theirs in pairs:
        if ours.ndim != 4 or theirs.ndim != 4 or ours.shape[:2] != theirs.shape[:2]:
            raise ValueError(
                f"fsp_loss: student {tuple(ours.shape)} and teacher {tuple(theirs.shape)}; expected maps (B, C, H, W) "
                "of one batch with equally many channels: take networks of equal widths, or a loss that asks for none "
                "(attention, pkt)"
            )
    return F.mse_loss(flow_matrix(student, student_next), flow_matrix(teacher, teacher_next))
