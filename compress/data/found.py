"""A data set as it was found, before it is cut into splits: pixels in memory, or a list of files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pixels:
    """Images in memory.

    Attributes:
        images: (N, C, H, W) uint8.
        targets: (N,) int64 classes, or (N, H, W) uint8 masks.
    """

    images: Tensor
    targets: Tensor

    def pick(self, index: Tensor) -> Pixels:
        """The images at `index`, (M,) int64."""
        return Pixels(self.images[index], self.targets[index])


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

    def pick(self, index: Tensor) -> Listing:
        """The files at `index`, (M,) int64."""
        return Listing(self.root, tuple(self.files[position] for position in index.tolist()), self.targets[index])


Part = Pixels | Listing


@dataclass(frozen=True)
class Parts:
    """All of a data set; `val` only where it came with one of its own beside a test part."""

    classes: tuple[str, ...]
    train: Part
    val: Part | None
    test: Part
