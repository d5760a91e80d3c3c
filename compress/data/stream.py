"""A split whose images stay in their files and are decoded as they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from compress.data.decode import check_listing, read_batches
from compress.data.draws import Draws, draw_augmentation
from compress.data.found import Listing
from compress.data.order import plan_batches
from compress.data.prepare import View
from compress.data.split import Batch

WORKERS = min(8, (os.cpu_count() or 1) // 2)


class StreamSplit:
    """A `Split` of files, with the same images bit for bit as a `MemorySplit` of them.

    Args:
        listing: The files.
        view: What the network gets; its augmentation applies to epochs only.
        workers: Processes that decode; 0 decodes in this one. Half of the processors by default: the rest trains.

    Raises:
        DataError: A file is not an image; a pass over the split raises it for one that is damaged further inside.
    """

    def __init__(self, listing: Listing, view: View, *, workers: int = WORKERS) -> None:
        check_listing(listing)
        self.targets = listing.targets
        self.fixed = not view.augment
        self._listing = listing
        self._view = view
        self._workers = workers

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
        draws = None
        if view is not None and not self.fixed:
            draws = draw_augmentation(len(self), self._view.margin, seed=seed, epoch=view)
        return self._play(plan, draws)

    def _play(self, plan: Sequence[npt.NDArray[np.int64]], draws: Draws | None) -> Iterator[Batch]:
        decoded = read_batches(self._listing, plan, self._view, draws=draws, workers=self._workers)
        for positions, images in zip(plan, decoded, strict=True):
            index = torch.from_numpy(positions)
            yield Batch(images, self.targets.index_select(0, index), index)
