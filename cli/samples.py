"""The images that an exported file is compared on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from compress.checkpoint import Card


class Samples(NamedTuple):
    """Batches of normalised images, and what they are."""

    images: Iterable[Tensor]
    origin: str


def samples_for(card: Card, data: str | None, count: int | None) -> Samples:
    """Of the data asked for, else of the network's training data where they are at hand, else noise.

    Args:
        card: Of the network.
        data: Name or folder of a data set.
        count: How many images; None for a whole test split, or 256 of noise.

    Raises:
        DataError: The data asked for cannot be used.
    """
    from compress.errors import DataError
    from compress.opening import training_data

    if data is not None:
        return _test_images(card, data, count)
    trained_on = training_data(card)
    if trained_on is None:
        return _noise(card, count, "the checkpoint names no data that are on this machine; pass --data for real images")
    try:
        return _test_images(card, trained_on, count)
    except DataError as error:
        return _noise(card, count, f"its training data cannot be used: {error}")


def _test_images(card: Card, data: str, count: int | None) -> Samples:
    from compress.data import DataOptions
    from compress.opening import data_for
    from exports.source import samples

    test = data_for(card, data, DataOptions()).test
    wanted = len(test) if count is None else min(count, len(test))
    whole = "all " if wanted == len(test) else ""
    return Samples(samples(card, test, count), f"{whole}{wanted:,} test images of {data}")


def _noise(card: Card, count: int | None, reason: str) -> Samples:
    from exports import noise

    return Samples([noise(card, count or 256)], f"uniform noise ({reason})")
