"""Every random choice about data: pure functions of a key, never of a global generator."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.preprocessing import Size


@dataclass(frozen=True)
class Draws:
    """What chance decided for N images.

    Attributes:
        flip: (N,) bool, mirror left and right.
        corner: (N, 2) int, where the crop begins in the padded image, down and right.
    """

    flip: npt.NDArray[np.bool_]
    corner: npt.NDArray[np.int64]

    def of(self, index: npt.NDArray[np.int64]) -> Draws:
        """The draws of the images at `index`."""
        return Draws(self.flip[index], self.corner[index])


def generator(*key: int | str) -> np.random.Generator:
    """A generator that depends on the key alone: equal on every machine and in every process."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def draw_augmentation(count: int, margin: Size, *, seed: int, epoch: int) -> Draws:
    """One draw for each of the `count` images of a split, by position, whatever the order and the batches are.

    Args:
        count: Images in the split.
        margin: Padding in pixels above and beside the image; a corner is 0 to twice the margin.
        seed: Of the run.
        epoch: From 0.
    """
    chance = generator("augmentation", seed, epoch)
    most = 2 * np.asarray(margin)
    return Draws(chance.random(count, np.float32) < 0.5, chance.integers(0, most, (count, 2), endpoint=True))
