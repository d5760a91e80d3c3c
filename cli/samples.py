"""The images that an exported file is compared on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from compress.text import counted

if TYPE_CHECKING:
    from torch import Tensor

    from compress.checkpoint import Card
    from exports.artefact import Input


class Samples(NamedTuple):
    """Batches of images of the type that a file takes, and what they are."""

    images: Iterable[Tensor]
    origin: str


def samples_for(card: Card, data: str | None, count: int | None, takes: Input) -> Samples:
    """Of the data asked for, else of the network's training data where they are at hand, else noise.

    Args:
        card: Of the network.
        data: Name or folder of a data set.
        count: How many images; None for a whole test split, or 256 of noise.
        takes: What the file takes.

    Raises:
        DataError: The data asked for cannot be used.
    """
    from compress.errors import DataError
    from compress.opening import training_data

    if data is not None:
        return _test_images(card, data, count, takes)
    trained_on = training_data(card)
    if trained_on is None:
        why = "the checkpoint names no data that are on this machine; pass --data for real images"
        return _noise(card, count, takes, why)
    try:
        return _test_images(card, trained_on, count, takes)
    except DataError as error:
        return _noise(card, count, takes, f"its training data cannot be used: {error}")


def _test_images(card: Card, data: str, count: int | None, takes: Input) -> Samples:
    from compress.data import DataOptions
    from compress.opening import data_for
    from exports.source import samples

    test = data_for(card, data, DataOptions()).test
    wanted = len(test) if count is None else min(count, len(test))
    whole = "all " if wanted == len(test) else ""
    return Samples(samples(card, test, count, takes), f"{whole}{counted(wanted, 'test image')} of {data}")


def _noise(card: Card, count: int | None, takes: Input, reason: str) -> Samples:
    from exports import noise

    return Samples([noise(card, count or 256, takes)], f"uniform noise ({reason})")
