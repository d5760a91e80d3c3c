"""Images brought to the size and channels that a network sees, and augmented; a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torchvision.transforms import v2

from compress.data.draws import Draws
from compress.preprocessing import Preprocessing, Size

functional: Any = v2.functional  # its names are re-exported implicitly, which strict typing does not see

LUMINANCE = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class View:
    """What is done to the images of a split.

    Attributes:
        see: How the network sees an image.
        augment: Some of "flip" and "crop", for training only.
    """

    see: Preprocessing
    augment: tuple[str, ...] = ()

    @property
    def margin(self) -> Size:
        """How far a random crop may move an image down and right: an eighth of its size (4 at 32), at least 1."""
        height, width = self.see.size
        return max(1, height // 8), max(1, width // 8)

    def fit(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 of the network's channels and size; images that have them already come back as they are.

        The box is cropped first and resized then: the same as resizing and cropping, at a cost that a very long image
        cannot raise.

        Args:
            images: (B, 1 or 3, H, W) uint8.
        """
        see = self.see
        if images.shape[1] != see.channels:
            images = functional.rgb_to_grayscale(images) if see.channels == 1 else images.expand(-1, 3, -1, -1)
        if tuple(images.shape[2:]) == see.size and see.crop == 1:
            return images
        if see.border:
            images = functional.pad(images, [see.border])
        box = functional.center_crop(images, list(see.box((images.shape[2], images.shape[3]))))
        resized: Tensor = functional.resize(box, list(see.size), antialias=True)
        return resized.contiguous()

    def vary(self, images: Tensor, draws: Draws, *, fill: int = 0) -> Tensor:
        """(B, C, H, W) uint8, each image cropped and flipped by its own draw.

        Args:
            images: (B, C, H, W) uint8, from `fit`, or masks.
            draws: B draws.
            fill: What stands where a crop reaches beyond the image.
        """
        varied = images.numpy()
        if "crop" in self.augment:
            down, right = self.margin
            padded = functional.pad(images, [right, down], fill=fill).numpy()
            windows = sliding_window_view(padded, images.shape[2:], axis=(2, 3))
            varied = windows[np.arange(len(images)), :, draws.corner[:, 0], draws.corner[:, 1]]
        if "flip" in self.augment:
            varied = varied.copy()
            varied[draws.flip] = varied[draws.flip, ..., ::-1]
        return torch.from_numpy(np.ascontiguousarray(varied))


def to_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """The mean or std of images that were converted to `channels`.

    Grey to RGB repeats it. RGB to grey weighs it by luminance: exact for a mean, an upper bound for a std, close
    to it in natural images, whose channels go together.
    """
    if len(values) == channels:
        return values
    if channels == 1:
        return (round(sum(weight * value for weight, value in zip(LUMINANCE, values, strict=True)), 4),)
    return values * channels
