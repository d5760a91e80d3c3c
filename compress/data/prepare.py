"""How a network sees an image: brought to its size and channels, augmented, normalised; a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torchvision.transforms import v2

from compress.data.draws import Draws
from compress.errors import DataError

functional: Any = v2.functional  # its names are re-exported implicitly, which strict typing does not see

LUMINANCE = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class View:
    """The preprocessing of a data set.

    Attributes:
        size: Height and width in pixels of what the network gets.
        channels: 1 or 3.
        mean: One value a channel, in 0..1.
        std: One value a channel, above 0.
        augment: Some of "flip" and "crop", for training only.
        border: Black pixels put around an image of another size before it is resized.

    Raises:
        DataError: The mean or the std does not have one value a channel.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: tuple[str, ...] = ()
    border: int = 0

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise DataError(f"{name}: got {len(values)} values for {self.channels} channels; give one a channel")

    @property
    def margin(self) -> int:
        """How far a random crop may move an image, in pixels: an eighth of its size (4 at 32), at least 1."""
        return max(1, self.size // 8)

    def fit(self, images: Tensor) -> Tensor:
        """(B, C, S, S) uint8 of the view's channels and size; images that have them already come back as they are.

        The border is added, then the square in the middle resized (bilinear, antialiased): the same as resizing the
        short side and cropping the middle, at a cost that a very long image cannot raise.

        Args:
            images: (B, 1 or 3, H, W) uint8.
        """
        if images.shape[1] != self.channels:
            images = functional.rgb_to_grayscale(images) if self.channels == 1 else images.expand(-1, 3, -1, -1)
        if images.shape[2:] == (self.size, self.size):
            return images
        if self.border:
            images = functional.pad(images, [self.border])
        square = functional.center_crop(images, [min(images.shape[2:])])
        resized: Tensor = functional.resize(square, [self.size, self.size], antialias=True)
        return resized.contiguous()

    def vary(self, images: Tensor, draws: Draws) -> Tensor:
        """(B, C, S, S) uint8, each image cropped and flipped by its own draw.

        Args:
            images: (B, C, S, S) uint8, from `fit`.
            draws: B draws.
        """
        varied = images.numpy()
        if "crop" in self.augment:
            padded = functional.pad(images, [self.margin]).numpy()
            windows = sliding_window_view(padded, (self.size, self.size), axis=(2, 3))
            varied = windows[np.arange(len(images)), :, draws.corner[:, 0], draws.corner[:, 1]]
        if "flip" in self.augment:
            varied = varied.copy()
            varied[draws.flip] = varied[draws.flip, ..., ::-1]
        return torch.from_numpy(varied)

    def normalise(self, images: Tensor) -> Tensor:
        """(B, C, S, S) float32, (value / 255 - mean) / std.

        Args:
            images: (B, C, S, S) uint8.
        """
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return images.float().mul_(1 / (255 * std)).sub_(mean / std)


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
