"""Which images of each class are kept, and which are held out: seeded choices that keep the balance of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compress.data.draws import generator
from compress.errors import DataError


def keep_fraction(labels: Tensor, classes: Sequence[str], *, fraction: float, seed: int) -> Tensor:
    """(M,) int64, ascending: the positions of the share of every class that is kept.

    Of a class of n images floor(n * fraction) are kept. A smaller fraction keeps a subset of what a larger one keeps.

    Args:
        labels: (N,) int64.
        classes: Their names.
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
            raise DataError(
                f"fraction {fraction}: leaves class {classes[label]!r} of {len(own)} training images without one; "
                f"the smallest that keeps an image of every class is {_round_up(1 / least)}"
            )
        kept.append(own[:count])
    return torch.cat(kept).sort().values


def hold_out(labels: Tensor, classes: Sequence[str], *, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """(M,) and (N - M,) int64, ascending: the positions that stay for training, and those held out for validation.

    Of a class of n images floor(n * fraction) are held out, at least one.

    Args:
        labels: (N,) int64.
        classes: Their names.
        fraction: In (0, 1).
        seed: Of the choice.

    Raises:
        DataError: A class has only one image.
    """
    stay, held = [], []
    for label, own in enumerate(_shuffled(labels, classes, "validation", seed)):
        if len(own) < 2:
            raise DataError(
                f"validation fraction {fraction}: class {classes[label]!r} has one training image, and a class needs "
                "one to learn from and one to hold out; add images, or leave the validation fraction at 0"
            )
        count = max(1, _floor(len(own) * fraction))
        held.append(own[:count])
        stay.append(own[count:])
    return torch.cat(stay).sort().values, torch.cat(held).sort().values


def _shuffled(labels: Tensor, classes: Sequence[str], purpose: str, seed: int) -> list[Tensor]:
    positions = [(labels == label).nonzero().flatten() for label in range(len(classes))]
    return [
        own[torch.from_numpy(generator(purpose, seed, label).permutation(len(own)))]
        for label, own in enumerate(positions)
    ]


def _floor(value: float) -> int:
    return math.floor(value + 1e-9)


def _round_up(fraction: float) -> float:
    """The fraction with three significant digits, never less than it."""
    scale = 10.0 ** (2 - math.floor(math.log10(fraction)))
    return min(1.0, math.ceil(fraction * scale - 1e-9) / scale)
