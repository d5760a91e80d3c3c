"""The images of a data set as they were found, before they are fitted to a network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from compress.data.assemble import find_parts
from compress.data.decode import read_upright
from compress.data.found import Listing


def raw_test_images(name_or_path: str, count: int) -> Iterator[Image.Image]:
    """So many images of the test split, spread evenly over it, upright, grey or RGB; no more than it has.

    Args:
        name_or_path: As `compress.data.load` takes it.
        count: How many, at least 1.

    Raises:
        DataError: There is no such data set, or an image cannot be read.
    """
    test = find_parts(name_or_path)[2].test
    whole = len(test.targets)
    for position in np.linspace(0, whole - 1, min(count, whole)).round().astype(int).tolist():
        if isinstance(test, Listing):
            yield read_upright(test.path(position))
        else:
            planes = test.images[position].numpy()
            yield Image.fromarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0).copy())
