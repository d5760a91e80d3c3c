"""Where a network looks: the energy of a map over its pixels, whatever its channels are."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from compress.losses.sizes import to_smaller


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean over images and pixels of the squared difference of the attention maps of two features.

    The attention map of an image is the mean over the channels of the squares, divided by its Euclidean norm over the
    pixels; all zero where the feature is. Invariant to the order and the number of channels and to the scale of each
    feature. Where the sizes differ the larger map of squares is average-pooled to the smaller.

    Args:
        student: (B, C, H, W).
        teacher: (B, D, H', W').

    Raises:
        ValueError: A feature is no map, or the batch sizes differ.

    Reference: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, Eq. 2,
        with F_sum^2 (Sec. 3.1).
    Deviates: the paper writes the norm of the difference; as in its released code this is the mean square.
    """
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
        raise ValueError(
            f"attention_loss: student {tuple(student.shape)} and teacher {tuple(teacher.shape)}; "
            "expected maps (B, C, H, W) of one batch"
        )
    energies = (feature.square().mean(dim=1, keepdim=True) for feature in (student, teacher))
    first, second = (F.normalize(energy.flatten(1), dim=1) for energy in to_smaller(*energies))
    return F.mse_loss(first, second)
