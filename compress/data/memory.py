"""A split whose images are in memory as uint8 and are augmented a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from compress.data.draws import Draws, draw_augmentation
from compress.data.found import Pixels
from compress.data.order import plan_batches
from compress.data.prepare import View
from compress.data.split import Batch

VOID = 255  # the class of a pixel that a mask leaves open


class MemorySplit:
    """A `Split` of pixels.

    Args:
        pixels: The images, of any size where `view` is to fit each batch anew, else fitted already.
        view: What the network gets; its augmentation applies to epochs only.
    """

    def __init__(self, pixels: Pixels, view: View) -> None:
        self.targets = pixels.targets
        self.fixed = not view.augment
        self._images = pixels.images
        self._view = view

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
        return (self._batch(positions, draws) for positions in plan)

    def _batch(self, positions: npt.NDArray[np.int64], draws: Draws | None) -> Batch:
        index = torch.from_numpy(positions)
        images, targets = self._view.fit(self._images.index_select(0, index)), self.targets.index_select(0, index)
        if draws is not None:
            images = self._view.vary(images, draws.of(positions))
            if targets.ndim > 1:
                targets = self._view.vary(targets[:, None], draws.of(positions), fill=VOID)[:, 0]
        return Batch(images, targets.long(), index)
