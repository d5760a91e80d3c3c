"""What a data set is to the rest of edgepress: splits that give batches of (image, target, index)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from compress.errors import DataError, unknown_name
from compress.preprocessing import LARGEST_SIDE, Preprocessing, Size

if TYPE_CHECKING:
    from torch import Tensor

AUGMENTATIONS = ("flip", "crop")


class Batch(NamedTuple):
    """Some images of a split, with what they show and where they stand.

    Attributes:
        image: (B, C, H, W) uint8, of the size and channels that the network sees.
        target: (B,) int64, the class; or (B, H, W) int64, the class of each pixel.
        index: (B,) int64, the position in the split.
    """

    image: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, of no use here


class Split(Protocol):
    """A part of a data set: training, validation or test."""

    @property
    def targets(self) -> Tensor:
        """(N,) int64, the class of every image; or (N, H, W) uint8, of each pixel."""

    @property
    def fixed(self) -> bool:
        """True: an index gives the same image in every epoch, for nothing is augmented."""

    def __len__(self) -> int:
        """The number of images, N."""

    def batches(
        self,
        batch_size: int,
        *,
        order: int | None = None,
        view: int | None = None,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
        even: bool = True,
    ) -> Iterator[Batch]:
        """The images of one pass, a batch at a time.

        Args:
            batch_size: Images a batch, at least 1; the last batch may be smaller.
            order: None: as they stand. Otherwise the epoch whose shuffle it is, a pure function of `seed` and `order`.
            view: None: not augmented. Otherwise the epoch whose augmentation it is, a pure function of `seed` and
                `view` for each image, whatever the order is.
            seed: Of the order and the augmentation.
            shard: (rank, count): only the rank's share.
            even: What training needs of an order: equally large shares and no batch of one image, so that up to
                count - 1 images and a last one are left out. False, or without an order: every image once.

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
        see: How its images were brought to size, and how a new network for them should scale them.
        train: What to learn from.
        val: What to choose by, or None.
        test: What to report.
        fingerprint: 16 hex digits; equal for equal images, labels, preprocessing and augmentation.
    """

    name: str
    classes: tuple[str, ...]
    see: Preprocessing
    train: Split
    val: Split | None
    test: Split
    fingerprint: str


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
        augment: Some of "flip" and "crop"; () is none.
        fraction: Share of each class of the training split that is kept, in (0, 1].
        val_fraction: Share of each class of the training split that is held out for validation first, in [0, 1).
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
