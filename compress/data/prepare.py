"""How images are prepared: what may be asked for, the size and channels that a network sees, augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from compress.data.found import VOID
from compress.errors import DataError, unknown_name
from compress.preprocessing import LARGEST_SIDE, Preprocessing, Size

Bytes = npt.NDArray[np.uint8]

AUGMENTATIONS = (
    *("flip", "crop", "resized-crop", "color", "rand-augment", "mixup", "cutmix"),
    *("indistill", "stagewise"),  # the papers' own
)
OF_CLASSES_ALONE = ("rand-augment", "mixup", "cutmix")  # what has no meaning for masks
LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Defaults:
    """The preprocessing of a data set where the options do not say otherwise; see `Preprocessing`."""

    size: Size
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: tuple[str, ...]
    border: int = 0


@dataclass(frozen=True)
class DataOptions:
    """How a data set is to be read; None leaves it to the data set.

    Attributes:
        size: Height and width in pixels, each 1 to 4096.
        channels: 1 (grey) or 3 (RGB); images are converted.
        mean: One value a channel, in 0..1.
        std: One value a channel, above 0.
        resize: "crop" or "stretch", see `Preprocessing`.
        crop: Share of the image that is taken, in (0, 1], see `Preprocessing`.
        augment: Names of `AUGMENTATIONS`; () is none. One of "mixup" and "cutmix" at most.
        fraction: Share of each class of the training split that is kept, in (0, 1]; of all its images where these have
            masks.
        val_fraction: Share of each class of what was kept that is held out for validation, in [0, 1).
        seed: Of the choice that the two fractions make.

    Raises:
        DataError: A value outside its range.
    """

    size: Size | None = None
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: Literal["crop", "stretch"] | None = None
    crop: float | None = None
    augment: tuple[str, ...] | None = None
    fraction: float = 1.0
    val_fraction: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and not all(1 <= side <= LARGEST_SIDE for side in self.size):
            height, width = self.size
            raise DataError(f"image size: got {height}x{width}; give sides of 1 to {LARGEST_SIDE} pixels")
        if self.channels not in (None, 1, 3):
            raise DataError(f"channels: got {self.channels}; give 1 (grey) or 3 (RGB)")
        if not 0 < self.fraction <= 1:
            raise DataError(f"fraction: got {self.fraction}; give a share above 0 and up to 1")
        if not 0 <= self.val_fraction < 1:
            raise DataError(
                f"validation fraction: got {self.val_fraction}; give a share from 0 up to, not including, 1"
            )
        for name in self.augment or ():
            if name not in AUGMENTATIONS:
                raise DataError(unknown_name("augmentation", name, AUGMENTATIONS))
        if {"mixup", "cutmix"} <= set(self.augment or ()):
            raise DataError("augmentation: got mixup and cutmix; an image is mixed once, give one of them")


def preprocessing(options: DataOptions, defaults: Defaults) -> Preprocessing:
    """How a new network is to see the images of a data set.

    Raises:
        DataError: The options do not fit each other.
    """
    channels = options.channels or defaults.channels
    try:
        return Preprocessing(
            size=options.size or defaults.size,
            channels=channels,
            mean=to_channels(defaults.mean, channels) if options.mean is None else options.mean,
            std=to_channels(defaults.std, channels) if options.std is None else options.std,
            resize=options.resize or "crop",
            crop=1.0 if options.crop is None else options.crop,
            border=defaults.border,
        )
    except ValueError as error:
        raise DataError(str(error)) from error


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


def fit(image: Image.Image, see: Preprocessing) -> Bytes:
    """(C, H, W): an upright image of 8 bits a channel as `Preprocessing` describes it, before it is scaled."""
    image = _place(convert(image, see.channels), see, Image.Resampling.BILINEAR, border=0)
    return np.asarray(image).reshape(*see.size, see.channels).transpose(2, 0, 1)


def fit_mask(mask: Bytes, see: Preprocessing) -> Bytes:
    """(H, W): an upright mask brought to size as `fit` brings its image, each pixel from the nearest one.

    Args:
        mask: (height, width) of the image, the class of each pixel or `VOID`; a border is `VOID`.
        see: How the network sees the image.
    """
    return np.asarray(_place(Image.fromarray(mask), see, Image.Resampling.NEAREST, border=VOID))


def fit_pixels(images: Bytes, see: Preprocessing) -> Bytes:
    """(B, C, H, W): what `fit` gives of each of (B, 1 or 3, H, W) images; those that fit already come back as such."""
    if images.shape[1] == 1 < see.channels:
        images = images.repeat(see.channels, axis=1)
    if images.shape[1] == see.channels and see.crop == 1:
        if images.shape[2:] == see.size:
            return images
        if tuple(side + 2 * see.border for side in images.shape[2:]) == see.size:
            return np.pad(images, ((0, 0), (0, 0), (see.border,) * 2, (see.border,) * 2))
    planes = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return np.stack([fit(Image.fromarray(plane), see) for plane in planes])


def convert(image: Image.Image, channels: int) -> Image.Image:
    """The image as L or RGB; grey by way of RGB, which leaves grey images as they are."""
    if image.mode == ("L" if channels == 1 else "RGB"):
        return image
    if "transparency" in image.info:  # Pillow warns of palettes with transparency unless they go by RGBA
        image = image.convert("RGBA")
    return image.convert("RGB") if channels == 3 else image.convert("RGB").convert("L")


def margin(size: Size) -> Size:
    """How far a random crop may move an image down and right: an eighth of its size (4 at 32), at least 1."""
    height, width = size
    return max(1, height // 8), max(1, width // 8)


def _place(image: Image.Image, see: Preprocessing, resampling: Image.Resampling, *, border: int) -> Image.Image:
    """The image with its border, of which the box in the middle is resized; unless it fits as it is."""
    height, width = see.size
    if image.size == (width, height) and see.crop == 1:
        return image
    if see.border:
        image = ImageOps.expand(image, see.border, fill=border)
    down, right = see.box((image.height, image.width))
    top, left = round((image.height - down) / 2), round((image.width - right) / 2)
    return image.resize((width, height), resampling, box=(left, top, left + right, top + down))
