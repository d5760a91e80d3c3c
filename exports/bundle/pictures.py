"""The raw images of a bundle: of a test split, or noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from compress.data import DATASETS
from compress.data.raw import raw_test_images
from compress.preprocessing import Preprocessing


@dataclass(frozen=True)
class Pictures:
    """Upright images of 8 bits a channel, as a camera or a data set gives them.

    Attributes:
        images: Grey or RGB, of any size.
        origin: What they are, in words.
    """

    images: tuple[Image.Image, ...]
    origin: str


def pictures_of(data: str, count: int) -> Pictures:
    """So many images of a test split, spread evenly over it; all of it where it has no more.

    Args:
        data: Name or path of a data set.
        count: How many, at least 2.

    Raises:
        DataError: There is no such data set, or an image cannot be read.
    """
    images, known = tuple(raw_test_images(data, count)), DATASETS.get(data.partition(":")[0])
    terms = f" (licence: {known.licence})" if known else ""
    return Pictures(images, f"{len(images)} test images of {data if known else Path(data).name}{terms}")


def noise_pictures(see: Preprocessing, count: int) -> Pictures:
    """So many images of coarse noise, always the same, larger than what the network sees and of another shape.

    Args:
        see: How the network sees images.
        count: How many, at least 2.
    """
    chance, (height, width) = np.random.default_rng(0), see.size
    shape = (height // 2 + 2, width // 2 + 3, 3)
    coarse = [Image.fromarray(chance.integers(0, 256, shape, np.uint8)) for _ in range(count)]
    size = (2 * width + 3, height + height // 2 + 1)
    return Pictures(tuple(one.resize(size, Image.Resampling.BICUBIC) for one in coarse), f"{count} images of noise")
