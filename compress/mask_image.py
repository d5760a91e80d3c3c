"""A predicted mask as an image: of the size of its photo, its pixels the classes, with a colour for each."""

from __future__ import annotations

import colorsys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from compress.data.split import VOID
from compress.files import write_whole
from compress.preprocessing import Preprocessing, Size

EXIF_ORIENTATION = 0x0112
ON_ITS_SIDE = (5, 6, 7, 8)
GOLDEN = (5**0.5 - 1) / 2
TONES = ((0.75, 0.95), (0.9, 0.65), (0.45, 0.85))  # saturation and value, in turn
VOID_COLOUR = (0, 0, 0)

Mask = np.ndarray[Any, np.dtype[np.uint8]]
Colour = tuple[int, int, int]


def colours(classes: int) -> list[Colour]:
    """An RGB colour for each class, always the same; none is that of void pixels, which are black.

    Args:
        classes: How many, 1 to 255.
    """
    hues = (colorsys.hsv_to_rgb(number * GOLDEN % 1, *TONES[number % len(TONES)]) for number in range(classes))
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in hues]


def upright_size(path: Path) -> Size:
    """Height and width of an image file once it is turned upright."""
    with Image.open(path) as image:
        turned = image.getexif().get(EXIF_ORIENTATION, 1) in ON_ITS_SIDE
        return (image.width, image.height) if turned else (image.height, image.width)


def seen_box(size: Size, see: Preprocessing) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what a network sees of an image of `size`; beyond it where it sees a border."""
    height, width = size
    if size == see.size and see.crop == 1:
        return 0, 0, height, width
    canvas = height + 2 * see.border, width + 2 * see.border
    down, right = see.box(canvas)
    top, left = (round((whole - part) / 2) - see.border for whole, part in zip(canvas, (down, right), strict=True))
    return top, left, top + down, left + right


def restore(mask: Mask, size: Size, see: Preprocessing) -> Mask:
    """(height, width): a mask of what a network sees, at the size of the image, by the nearest pixel; else `VOID`.

    Args:
        mask: (H, W), of the size that the network sees.
        size: Height and width of the upright image.
        see: How the network sees an image.
    """
    whole = np.full(size, VOID, dtype=np.uint8)
    top, left, bottom, right = seen_box(size, see)
    rows, from_rows = _nearest(top, bottom, size[0], mask.shape[0])
    columns, from_columns = _nearest(left, right, size[1], mask.shape[1])
    whole[rows, columns] = mask[np.ix_(from_rows, from_columns)]
    return whole


def write_mask(mask: Mask, classes: int, path: Path, *, force: bool = False) -> Path:
    """`path`, holding the mask as a palette PNG: a pixel's value is its class, or 255 where it is void.

    Args:
        mask: (H, W), values 0..classes - 1 and `VOID`.
        classes: How many have a colour, 1 to 255.
        path: The target.
        force: Allow what already exists to be replaced.

    Raises:
        OutputError: The target may not or cannot be written.
    """
    image = Image.fromarray(mask)
    known = colours(classes)
    unused = [VOID_COLOUR] * (256 - len(known))
    image.putpalette([part for colour in (*known, *unused) for part in colour])
    return write_whole(path, partial(image.save, format="PNG"), force=force)


def _nearest(start: int, stop: int, side: int, pixels: int) -> tuple[slice, np.ndarray[Any, np.dtype[np.intp]]]:
    """Where on a side of an image a stretch of it lies, and which of the stretch's own pixels is nearest to each there.

    Args:
        start: Of the stretch, in pixels of the image; it may lie beyond its edge.
        stop: Likewise, exclusive.
        side: Pixels of the image.
        pixels: The stretch's own.
    """
    inside = slice(max(start, 0), min(stop, side))
    middles = np.arange(inside.start, inside.stop) - start + 0.5
    return inside, (middles * pixels / (stop - start)).astype(np.intp)
