"""What a data set is to the rest of edgepress: splits that give batches of (image, target, index)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from compress.data.augment import View, draw_view
from compress.data.chance import Positions, plan_batches
from compress.data.decode import check_listing, read_batches, read_masks
from compress.data.found import VOID as VOID
from compress.data.found import Listing, Masks, Pixels
from compress.data.prepare import fit_pixels
from compress.preprocessing import Preprocessing, Scale

WORKERS = min(8, (os.cpu_count() or 1) // 2)


class Batch(NamedTuple):
    """Some images of a split, with what they show and where they stand.

    Attributes:
        image: (B, C, H, W) uint8, of the size and channels that the network sees.
        target: (B,) int64, the class; (B, classes) float32, the shares of mixed images; or (B, H, W) int64, the class
            of each pixel or `VOID`.
        index: (B,) int64, the position in the split.
    """

    image: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, of no use here


class Split(Protocol):
    """A part of a data set: training, validation or test."""

    @property
    def targets(self) -> Tensor:
        """(N,) int64, the class of every image; or (N, H, W) uint8, of each pixel, which a stream reads when asked."""

    @property
    def masks(self) -> bool:
        """Whether the targets are masks."""

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


def _batches(
    self: _Read,
    batch_size: int,
    *,
    order: int | None = None,
    view: int | None = None,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    even: bool = True,
) -> Iterator[Batch]:
    """The images of one pass, a batch at a time; see `Split.batches`."""
    plan = plan_batches(len(self), batch_size, order=order, seed=seed, shard=shard, even=even)
    drawn = None
    if view is not None and self.augment:
        drawn = draw_view(self.augment, self.see.size, len(self), seed=seed, epoch=view)
    return _play(self, plan, drawn)


def _play(split: _Read, plan: Sequence[Positions], view: View | None) -> Iterator[Batch]:
    for positions, (images, masks) in zip(plan, split.read(plan, view), strict=True):
        seen = view or View()
        targets = seen.targets(split.targets, positions, split.classes) if masks is None else masks.long()
        yield Batch(images, targets, torch.from_numpy(positions))


class _Read(Protocol):
    """What `_batches` needs of a split."""

    @property
    def targets(self) -> Tensor: ...
    @property
    def see(self) -> Preprocessing: ...
    @property
    def augment(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> int: ...
    def __len__(self) -> int: ...
    def read(self, plan: Sequence[Positions], view: View | None) -> Iterator[tuple[Tensor, Tensor | None]]: ...


class MemorySplit:
    """A `Split` of pixels.

    Args:
        pixels: The images; those that are not ready are fitted a batch at a time. Masks have the network's size.
        see: How the network sees an image.
        augment: Names of `AUGMENTATIONS`, for the passes that have a view.
        classes: How many there are: what mixed targets need.
    """

    def __init__(self, pixels: Pixels, see: Preprocessing, augment: tuple[str, ...] = (), *, classes: int = 0) -> None:
        self.targets = pixels.targets
        self.masks = pixels.targets.ndim > 1
        self.fixed = not augment
        self.see = see
        self.augment = augment
        self.classes = classes
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self.targets)

    batches = _batches

    def read(self, plan: Sequence[Positions], view: View | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(images, masks or None) of every batch of the plan, in that view."""
        view = view or View()
        for positions in plan:
            images = self._pixels.images.index_select(0, torch.from_numpy(view.sources(positions))).numpy()
            if not self._pixels.ready:
                images = fit_pixels(images, self.see)
            masks = None
            if self.masks:
                masks = torch.from_numpy(view.masks(self.targets[torch.from_numpy(positions)].numpy(), positions))
            yield torch.from_numpy(view.images(images, positions)), masks


class StreamSplit:
    """A `Split` of files that are decoded as they are needed, to the same images bit for bit as a `MemorySplit` has.

    Args:
        listing: The files.
        see: How the network sees an image.
        augment: Names of `AUGMENTATIONS`, for the passes that have a view.
        classes: How many there are: what mixed targets need.
        workers: Processes that decode; 0 decodes in this one. Half of the processors by default: the rest trains.

    Raises:
        DataError: A file is not an image or no mask of one; a pass over the split raises it for an image that is
            damaged further inside.
    """

    def __init__(
        self,
        listing: Listing,
        see: Preprocessing,
        augment: tuple[str, ...] = (),
        *,
        classes: int = 0,
        workers: int = WORKERS,
    ) -> None:
        check_listing(listing)
        self.masks = isinstance(listing.targets, Masks)
        self.fixed = not augment
        self.see = see
        self.augment = augment
        self.classes = classes
        self._listing = listing
        self._workers = workers

    @property
    def targets(self) -> Tensor:
        """(N,) int64 classes; or (N, H, W) uint8 masks, read anew whenever they are asked for."""
        targets = self._listing.targets
        return read_masks(self._listing, self.see) if isinstance(targets, Masks) else targets

    def __len__(self) -> int:
        return len(self._listing.files)

    batches = _batches

    def read(self, plan: Sequence[Positions], view: View | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(images, masks or None) of every batch of the plan, in that view."""
        return read_batches(self._listing, plan, self.see, view=view, workers=self._workers)


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
        notes: What the user should know about how it was read, a sentence each.
    """

    name: str
    classes: tuple[str, ...]
    see: Preprocessing
    train: Split
    val: Split | None
    test: Split
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def masks(self) -> bool:
        """Whether the targets are masks: a class, or `VOID`, for each pixel."""
        return self.train.masks

    @property
    def scale(self) -> Scale:
        """How a new network for the images should scale them."""
        return Scale(self.see.mean, self.see.std)
