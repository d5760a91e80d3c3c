"""What a data set is to the rest of edgepress: splits that give batches of (image, target, index)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from compress.errors import DataError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

AUGMENTATIONS = ("flip", "crop")
MAX_SIZE = 4096


class Batch(NamedTuple):
    """Some images of a split, with what they show and where they stand.

    Attributes:
        image: (B, C, H, W) float32, normalised.
        target: (B,) int64, the class.
        index: (B,) int64, the position in the split.
    """

    image: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, of no use here


class Split(Protocol):
    """A part of a data set: training, validation or test."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64, the class of every image."""

    @property
    def fixed(self) -> bool:
        """True: an index gives the same image in every epoch, for nothing is augmented."""

    def __len__(self) -> int:
        """The number of images, N."""

    def batches(
        self, batch_size: int, *, epoch: int | None = None, seed: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """The images of one pass, a batch at a time.

        Args:
            batch_size: Images a batch, at least 1; the last batch may be smaller.
            epoch: None: every image once, in order, not augmented. Otherwise shuffled and augmented: a pure function
                of `seed` and `epoch`, and a last batch of one image is dropped.
            seed: Of the order and the augmentation of an epoch.
            shard: (rank, count): only the rank's share. The shares of an epoch are equally large, so up to count - 1
                images are left out; without an epoch they hold every image and may differ by one.

        Raises:
            ValueError: A batch size below 1 or a rank outside 0..count - 1.
            DataError: An image that is read only now cannot be.
        """


@dataclass(frozen=True)
class Dataset:
    """A data set, ready to train on.

    Attributes:
        name: The known name, or the name of the folder.
        classes: Their names; a target is a position in here.
        channels: Of its images, 1 or 3.
        size: Height and width of its images in pixels.
        mean: Of each channel, in 0..1; subtracted.
        std: Of each channel, in 0..1; divided by.
        train: What to learn from.
        val: What to choose by, or None.
        test: What to report.
        fingerprint: 16 hex digits; equal for equal images, labels, preprocessing and augmentation.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    val: Split | None
    test: Split
    fingerprint: str


@dataclass(frozen=True)
class DataOptions:
    """How a data set is to be read; None leaves it to the data set.

    Attributes:
        size: Height and width in pixels, 1 to 4096.
        channels: 1 (grey) or 3 (RGB); images are converted.
        mean: One value a channel, in 0..1.
        std: One value a channel, above 0.
        augment: Some of "flip" and "crop"; () is none.
        fraction: Share of each class of the training split that is kept, in (0, 1].
        val_fraction: Share of each class of the training split that is held out for validation first, in [0, 1).
        seed: Of the choice that the two fractions make.

    Raises:
        DataError: A value outside its range.
    """

    size: int | None = None
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    augment: tuple[str, ...] | None = None
    fraction: float = 1.0
    val_fraction: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= MAX_SIZE:
            raise DataError(f"image size: got {self.size}; give a number of pixels from 1 to {MAX_SIZE}")
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
        if self.std is not None and not all(value > 0 for value in self.std):
            raise DataError(f"std: got {self.std}; every value must be above 0")
