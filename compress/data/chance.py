"""Every choice about data that chance makes: pure functions of a key, never of a global generator."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.errors import DataError
from compress.preprocessing import Size

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """What chance decided for N images.

    Attributes:
        flip: (N,) bool, mirror left and right.
        corner: (N, 2) int, where the crop begins in the padded image, down and right.
    """

    flip: npt.NDArray[np.bool_]
    corner: npt.NDArray[np.int64]

    def of(self, index: Positions) -> Draws:
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


def plan_batches(
    count: int, batch_size: int, *, order: int | None, seed: int, shard: tuple[int, int], even: bool
) -> list[Positions]:
    """The positions of every batch of one pass over a split, as `Split.batches` describes it.

    Args:
        count: Images in the split.
        batch_size: At least 1.
        order: None: as they stand, every image; else the epoch whose shuffle it is.
        seed: Of the shuffle.
        shard: (rank, count of ranks).
        even: With an order, leave out what makes shares unequal, and a last batch of one image.

    Raises:
        ValueError: A batch size below 1, or a rank outside 0..ranks - 1.
    """
    rank, ranks = shard
    if batch_size < 1:
        raise ValueError(f"batch size: got {batch_size}; at least 1 is needed")
    if not 0 <= rank < ranks:
        raise ValueError(f"shard: got rank {rank} of {ranks}; give (rank, count) with a rank from 0 to count - 1")
    images = np.arange(count) if order is None else generator("order", seed, order).permutation(count)
    even = even and order is not None
    share = images[rank : count // ranks * ranks if even else count : ranks]
    batches = [share[start : start + batch_size] for start in range(0, len(share), batch_size)]
    if even and batches and len(batches[-1]) == 1 < batch_size:
        return batches[:-1]
    return batches


def keep_fraction(labels: Positions, classes: Sequence[str], *, fraction: float, seed: int) -> Positions:
    """(M,) int64, ascending: the positions of the share of every class that is kept.

    Of a class of n images floor(n * fraction) are kept. A smaller fraction keeps a subset of what a larger one keeps.

    Args:
        labels: (N,) int64.
        classes: Their names; one that is "" stands for all images, which have no class.
        fraction: In (0, 1].
        seed: Of the choice.

    Raises:
        DataError: A class would be left without an image.
    """
    kept = []
    for label, own in enumerate(_shuffled(labels, classes, "fraction", seed)):
        count = _floor(len(own) * fraction)
        if count == 0:
            least = min(int((labels == other).sum()) for other in range(len(classes)))
            left = f"class {classes[label]!r} of {len(own)}" if classes[label] else f"the {len(own)}"
            raise DataError(
                f"fraction {fraction}: leaves {left} training images without one; "
                f"the smallest that keeps an image of every class is {_round_up(1 / least)}"
            )
        kept.append(own[:count])
    return np.sort(np.concatenate(kept))


def hold_out(labels: Positions, classes: Sequence[str], *, fraction: float, seed: int) -> tuple[Positions, Positions]:
    """(M,) and (N - M,) int64, ascending: the positions that stay for training, and those held out for validation.

    Of a class of n images floor(n * fraction) are held out, at least one.

    Args:
        labels: (N,) int64.
        classes: Their names; one that is "" stands for all images, which have no class.
        fraction: In (0, 1).
        seed: Of the choice.

    Raises:
        DataError: A class has only one image.
    """
    stay, held = [], []
    for label, own in enumerate(_shuffled(labels, classes, "validation", seed)):
        if len(own) < 2:
            what = f"class {classes[label]!r}" if classes[label] else "the data set"
            raise DataError(
                f"validation fraction {fraction}: {what} has one training image, and needs one to learn from and one "
                "to hold out; add images, keep a larger fraction of them, or leave the validation fraction at 0"
            )
        count = max(1, _floor(len(own) * fraction))
        held.append(own[:count])
        stay.append(own[count:])
    return np.sort(np.concatenate(stay)), np.sort(np.concatenate(held))


def split_off(names: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """The names that stay and those that are split off, each in the order they came in.

    Of n names floor(n * share) are split off, at least one: those that come first by a digest. Each name has its own,
    so that a name more or less moves hardly another one.
    """
    count = max(1, _floor(len(names) * share))
    ranked = sorted(names, key=lambda name: hashlib.sha256(repr(("test", 0, name)).encode()).digest())
    off = set(ranked[:count])
    return [name for name in names if name not in off], [name for name in names if name in off]


def _shuffled(labels: Positions, classes: Sequence[str], purpose: str, seed: int) -> list[Positions]:
    positions = [np.flatnonzero(labels == label) for label in range(len(classes))]
    return [own[generator(purpose, seed, label).permutation(len(own))] for label, own in enumerate(positions)]


def _floor(value: float) -> int:
    return math.floor(value + 1e-9)


def _round_up(fraction: float) -> float:
    """The fraction with three significant digits, never less than it."""
    scale = 10.0 ** (2 - math.floor(math.log10(fraction)))
    return min(1.0, math.ceil(fraction * scale - 1e-9) / scale)
