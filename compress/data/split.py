"""What a data set is to the rest of edgepress: splits that give batches of (image, target, index)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from compress.data.chance import Draws, Positions, draw_augmentation, plan_batches
from compress.data.decode import check_listing, read_batches, read_masks
from compress.data.found import VOID as VOID
from compress.data.found import Listing, Masks, Pixels
from compress.data.prepare import fit_pixels, margin, vary
from compress.preprocessing import Preprocessing
from compress.stages import Scale

WORKERS = min(8, (os.cpu_count() or 1) // 2)


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


class MemorySplit:
    """A `Split` of pixels.

    Args:
        pixels: The images; those that are not ready are fitted a batch at a time. Masks have the network's size.
        see: How the network sees an image.
        augment: Some of "flip" and "crop", of the passes that have a view.
    """

    def __init__(self, pixels: Pixels, see: Preprocessing, augment: tuple[str, ...] = ()) -> None:
        self.targets = pixels.targets
        self.masks = pixels.targets.ndim > 1
        self.fixed = not augment
        self._pixels = pixels
        self._see = see
        self._augment = augment

    def __len__(self) -> int:
        return len(self.targets)

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
        """The images of one pass, a batch at a time; see `Split.batches`."""
        plan = plan_batches(len(self), batch_size, order=order, seed=seed, shard=shard, even=even)
        draws = None if self.fixed else _draw(len(self), self._see, seed, view)
        return (self._batch(positions, draws) for positions in plan)

    def _batch(self, positions: Positions, draws: Draws | None) -> Batch:
        index = torch.from_numpy(positions)
        images = self._pixels.images.index_select(0, index).numpy()
        if not self._pixels.ready:
            images = fit_pixels(images, self._see)
        targets = self.targets.index_select(0, index)
        if draws is not None:
            images = vary(images, self._augment, draws.of(positions))
            if targets.ndim > 1:
                masks = vary(targets[:, None].numpy(), self._augment, draws.of(positions), fill=VOID)
                targets = torch.from_numpy(masks[:, 0])
        return Batch(torch.from_numpy(images), targets.long(), index)


class StreamSplit:
    """A `Split` of files that are decoded as they are needed, to the same images bit for bit as a `MemorySplit` has.

    Args:
        listing: The files.
        see: How the network sees an image.
        augment: Some of "flip" and "crop", of the passes that have a view.
        workers: Processes that decode; 0 decodes in this one. Half of the processors by default: the rest trains.

    Raises:
        DataError: A file is not an image or no mask of one; a pass over the split raises it for an image that is
            damaged further inside.
    """

    def __init__(
        self, listing: Listing, see: Preprocessing, augment: tuple[str, ...] = (), *, workers: int = WORKERS
    ) -> None:
        check_listing(listing)
        self.masks = isinstance(listing.targets, Masks)
        self.fixed = not augment
        self._listing = listing
        self._see = see
        self._augment = augment
        self._workers = workers

    @property
    def targets(self) -> Tensor:
        """(N,) int64 classes; or (N, H, W) uint8 masks, read anew whenever they are asked for."""
        targets = self._listing.targets
        return read_masks(self._listing, self._see) if isinstance(targets, Masks) else targets

    def __len__(self) -> int:
        return len(self._listing.files)

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
        """The images of one pass, a batch at a time; see `Split.batches`."""
        plan = plan_batches(len(self), batch_size, order=order, seed=seed, shard=shard, even=even)
        draws = None if self.fixed else _draw(len(self), self._see, seed, view)
        return self._play(plan, draws)

    def _play(self, plan: Sequence[Positions], draws: Draws | None) -> Iterator[Batch]:
        decoded = read_batches(self._listing, plan, self._see, self._augment, draws=draws, workers=self._workers)
        for positions, (images, masks) in zip(plan, decoded, strict=True):
            index = torch.from_numpy(positions)
            targets = self.targets.index_select(0, index) if masks is None else masks.long()
            yield Batch(images, targets, index)


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


def _draw(count: int, see: Preprocessing, seed: int, view: int | None) -> Draws | None:
    return None if view is None else draw_augmentation(count, margin(see.size), seed=seed, epoch=view)
