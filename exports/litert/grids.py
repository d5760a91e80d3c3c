"""The grids of int8 codes: what a code of an activation means, and weights as an integer kernel takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exports.litert.lowered import Constant

_LARGEST_BIAS = 2**30  # half of what the sum of a kernel can hold
_EMPTY_BIAS = 2**20  # what the bias of an output without weights is told in: of more bits than it is rounded to


@dataclass(frozen=True)
class Grid:
    """What the int8 codes of a tensor mean: (code - zero) * step.

    Attributes:
        step: Above 0.
        zero: The code of 0, from -128 to 127.
    """

    step: float
    zero: int

    def code(self, value: float) -> int:
        """The code nearest to a float value."""
        return min(max(round(value / self.step) + self.zero, -128), 127)

    def holds(self, value: float) -> bool:
        """Whether a float value is that of a code, but for what float32 rounds."""
        return abs((self.code(value) - self.zero) * self.step - value) < 1e-4 * self.step


@dataclass(frozen=True)
class Whole:
    """A weight and a bias as an integer kernel takes them.

    Attributes:
        codes: Of the weight, from -127 to 127.
        scale: What the weight is `codes` times of, above 0, of as many dimensions: one for each output.
        sums: (O,), the bias in units of the sums of the kernel.
        units: (O,), those units: the scale times the step of what the weight meets.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    sums: NDArray[np.int32]
    units: NDArray[np.float32]


def whole(weight: Constant, bias: Constant | None, axis: int, step: float) -> Whole | None:
    """The weight and the bias for an integer kernel; None where the weight is of no int8 codes, or the bias too large.

    A scale below 0 turns the codes of its output around. That of an output whose codes are all 0 may be any, so it is
    made to fit the bias.

    Args:
        weight: Of a convolution or a dense layer.
        bias: (O,); None for none.
        axis: Of the outputs in the weight.
        step: Of what the weight meets.
    """
    codes, scale = weight.values, weight.scale
    if scale is None or codes.dtype != np.int8 or scale.size not in (1, scale.shape[axis]) or codes.min() < -127:
        return None
    lanes = [-1 if other == axis else 1 for other in range(codes.ndim)]
    signed = np.broadcast_to(scale.ravel(), codes.shape[axis])
    offsets = np.zeros(len(signed)) if bias is None else bias.dense.astype(np.float64)
    turned = codes * np.where(signed < 0, -1, 1).astype(np.int8).reshape(lanes)
    empty = ~codes.any(tuple(other for other in range(codes.ndim) if other != axis))
    wide = np.maximum(np.abs(offsets) / step, 1) / _EMPTY_BIAS
    scales: NDArray[np.float32] = np.where(empty, wide, np.abs(signed)).astype(np.float32)
    if offsets.shape != scales.shape or not scales.all():
        return None
    units = (scales * np.float32(step)).astype(np.float32)
    sums = np.round(offsets / units)
    if np.abs(sums).max() > _LARGEST_BIAS:
        return None
    return Whole(turned, scales.reshape(lanes), sums.astype(np.int32), units)
