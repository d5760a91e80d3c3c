"""A data set as it was found, before it is cut into splits: pixels in memory, or a list of files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from compress.data.chance import Positions


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
        targets: (N,) int64.
    """

    root: Path
    files: tuple[str, ...]
    targets: Tensor

    def path(self, position: int) -> str:
        """The whole path of one file; text, for it is needed once an image."""
        return f"{self.root}/{self.files[position]}"

    def pick(self, index: Positions) -> Listing:
        """The files at `index`, (M,)."""
        return Listing(self.root, tuple(self.files[position] for position in index.tolist()), self.targets[index])


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
