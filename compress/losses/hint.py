"""A map of the student that is to become the teacher's through a regressor, which is learnt along."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from compress.losses.sizes import to_smaller


class Hint(nn.Module):
    """The mean squared difference of the teacher's map and what a 1x1 convolution makes of the student's.

    Of maps of different sizes the larger is average-pooled to the smaller first. Features (B, C) count as maps of one
    pixel.

    Args:
        width: Channels of the student's map.
        wide: Channels of the teacher's.
        same: Whether the channels of the two maps are the same ones: the regressor begins as the identity, and asks
            nothing of a student that has the teacher's map already. Both maps then have as many. Otherwise it begins at
            random, and the student's map has to follow wherever that leads.

    Raises:
        ValueError: The channels are to be the same, but one map has more.

    Reference: Romero, Ballas, Kahou, Chassang, Gatta and Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015, Eq. 3.
    Deviates: the paper's regressor has a kernel that brings the student's map to the teacher's size, and writes half
        the squared norm; this one has a kernel of 1, and is a mean over elements.
    """

    def __init__(self, width: int, wide: int, *, same: bool = False) -> None:
        super().__init__()
        self.regressor = nn.Conv2d(width, wide, 1)
        if same:
            if width != wide:
                raise ValueError(f"hint: {width} and {wide} channels cannot be the same ones; expected equally many")
            nn.init.dirac_(self.regressor.weight)
            nn.init.zeros_(self.regressor.bias)  # type: ignore[arg-type]

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, width, H, W) and (B, wide, H', W') to a scalar.

        Raises:
            ValueError: A feature is no map of so many channels, or the batch sizes differ.
        """
        widths = (self.regressor.in_channels, self.regressor.out_channels)
        shapes = tuple(student.shape), tuple(teacher.shape)
        wrong = any(f.ndim not in (2, 4) or f.shape[1] != w for f, w in zip((student, teacher), widths, strict=True))
        if wrong or len(student) != len(teacher):
            raise ValueError(
                f"hint: student {shapes[0]} and teacher {shapes[1]}; expected (B, {widths[0]}, H, W) and "
                f"(B, {widths[1]}, H, W), or without H, W"
            )
        student, teacher = (f if f.ndim == 4 else f[:, :, None, None] for f in (student, teacher))
        small, target = to_smaller(student, teacher)
        return F.mse_loss(self.regressor(small), target)
