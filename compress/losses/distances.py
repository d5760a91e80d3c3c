"""The distances between the images of a batch, as the student's features have them and as the teacher's have."""

from __future__ import annotations

import torch
from torch import Tensor


def mkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean difference of the Euclidean distances of all pairs of images: the mean over i < j of |s_ij - t_ij|.

    Invariant to shifts and rotations of either side. Computed in float64 where the device has it, as close images leave
    nothing right of their distance in float32. Images that coincide have distance 0, and no gradient comes of them.

    Args:
        student: Features (B, ...), B at least 2; flattened to (B, D).
        teacher: Features (B, ...) of any width.

    Raises:
        ValueError: The batch sizes differ, or a batch has less than two images.

    Reference: Yu, Yazici, Liu, van de Weijer, Cheng and Ramisa, "Learning Metrics from Teachers: Compact Networks for
        Image Embedding", CVPR 2019 (relative teacher).
    """
    if len(student) != len(teacher):
        raise ValueError(
            f"mkt_loss: {len(student)} images of the student and {len(teacher)} of the teacher; pass one batch"
        )
    if len(student) < 2:
        raise ValueError(f"mkt_loss: a batch of {len(student)}; distances need at least 2 images")
    return (_distances(student) - _distances(teacher)).abs().mean().to(student.dtype)


def _distances(features: Tensor) -> Tensor:
    """The distance of each pair (B * (B - 1) / 2,), each once."""
    wide = features.flatten(1).to(torch.float64 if features.device.type != "mps" else torch.float32)
    return torch.nn.functional.pdist(wide)
