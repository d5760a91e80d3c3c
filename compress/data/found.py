"""A data set as it was found, before it is cut into splits: pixels in memory, or a list of files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    from compress.data.chance import Positions

VOID = 255  # the class of a pixel that a mask leaves open


@dataclass(frozen=True)
class Masks:
    """Masks in files, one for each file of a `Listing`.

    Attributes:
        files: N paths relative to the root of the listing.
        values: The value of each class in the files, by class.
        void: Other values, of pixels that are left open; 255 is one in any case.
    """

    files: tuple[str, ...]
    values: tuple[int, ...]
    void: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def table(self) -> npt.NDArray[np.int16]:
        """(256,): the class of each value, `VOID`, or -1 where the value is not allowed."""
        table = np.full(256, -1, np.int16)
        table[list(self.values)] = np.arange(len(self.values))
        table[[*self.void, VOID]] = VOID
        return table

    def pick(self, index: Positions) -> Masks:
        """The masks at `index`, (M,)."""
        return Masks(tuple(self.files[position] for position in index.tolist()), self.values, self.void)


@dataclass(frozen=True)
class Pixels:
    """Images in memory.

    Attributes:
        images: (N, C, H, W) uint8.
        targets: (N,) int64 classes, or (N, H, W) uint8 masks.
        ready: Whether they are what the network sees; else they are still to be fitted.
    """

    images: Tensor
    targets: Tensor
    ready: bool = False

    def pick(self, index: Positions) -> Pixels:
        """The images at `index`, (M,)."""
        return Pixels(self.images[index], self.targets[index], self.ready)


@dataclass(frozen=True)
class Listing:
    """Images in files.

    Attributes:
        root: The folder of the data set.
        files: N paths relative to `root`.
        targets: (N,) int64 classes, or N masks.
    """

    root: Path
    files: tuple[str, ...]
    targets: Tensor | Masks

    def path(self, position: int) -> str:
        """The whole path of one file; text, for it is needed once an image."""
        return f"{self.root}/{self.files[position]}"

    def pick(self, index: Positions) -> Listing:
        """The files at `index`, (M,)."""
        targets = self.targets.pick(index) if isinstance(self.targets, Masks) else self.targets[index]
        return Listing(self.root, tuple(self.files[position] for position in index.tolist()), targets)


Part = Pixels | Listing


@dataclass(frozen=True)
class Parts:
    """All of a data set.

    Attributes:
        classes: Their names.
        train: To learn from.
        val: Only where the data set came with one of its own beside a test part.
        test: To report.
        notes: What the user should know about how it was found, a sentence each.
    """

    classes: tuple[str, ...]
    train: Part
    val: Part | None
    test: Part
    notes: tuple[str, ...] = ()

    def first(self, count: int) -> Parts:
        """The images of the first `count` classes alone."""

        def of(part: Part) -> Part:
            return part.pick(np.flatnonzero(np.asarray(part.targets) < count))

        val = None if self.val is None else of(self.val)
        return Parts(self.classes[:count], of(self.train), val, of(self.test), self.notes)
