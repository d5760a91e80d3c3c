"""The images that an exported file is compared on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from compress.checkpoint import Card

BATCH = 64


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
    from compress.data import status
    from compress.errors import DataError

    if data is not None:
        return _test_images(card, data, count)
    trained_on = _training_data(card)
    if trained_on is None:
        return _noise(card, count, "the checkpoint names no data; pass --data for real images")
    known = {row.name: row.path for row in status()}
    if trained_on not in known:
        return _noise(card, count, f"trained on a folder of images, {trained_on}: pass it with --data")
    if known[trained_on] is None:
        return _noise(card, count, f"{trained_on} is not on this machine; pass --data to get it")
    try:
        return _test_images(card, trained_on, count)
    except DataError as error:
        return _noise(card, count, f"its training data cannot be used: {error}")


def _training_data(card: Card) -> str | None:
    """The name of the data set in the latest step of lineage that has one."""
    named = (step["data"].get("name") for step in reversed(card.lineage) if isinstance(step.get("data"), Mapping))
    return next((name for name in named if isinstance(name, str)), None)


def _test_images(card: Card, data: str, count: int | None) -> Samples:
    from compress.data import DataOptions
    from compress.opening import data_for

    test = data_for(card, data, DataOptions()).test
    wanted = len(test) if count is None else min(count, len(test))

    def images() -> Iterator[Tensor]:
        whole, rest = divmod(wanted, BATCH)
        for number, batch in enumerate(islice(test.batches(BATCH), whole + bool(rest))):
            yield card.scale(batch.image if number < whole else batch.image[:rest])

    return Samples(images(), f"{'all ' if wanted == len(test) else ''}{wanted:,} test images of {data}")


def _noise(card: Card, count: int | None, reason: str) -> Samples:
    from exports import noise

    return Samples([noise(card, count or 256)], f"uniform noise ({reason})")
