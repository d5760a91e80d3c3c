"""From image files to pixels: one file, or the files of a list in batches and in several processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from compress.data.draws import Draws
from compress.data.found import Listing, Pixels
from compress.data.prepare import View
from compress.errors import DataError

DEEP_MODES = ("F", "I")
EXIF_ORIENTATION = 0x0112
READ_CHUNK = 250
PARALLEL_FROM_FILES = 4 * READ_CHUNK


def decode(path: str) -> Tensor:
    """(1 or 3, H, W) uint8: grey images as one channel, all others as RGB, upright by their EXIF orientation.

    Raises:
        DataError: The file is no whole image, or has more than 8 bits a channel; it is named.
    """
    with _naming(path), Image.open(path) as opened:
        if opened.mode.startswith(DEEP_MODES):
            raise ValueError(f"its pixels are of mode {opened.mode}; 8 bits a channel are needed")
        opened.load()
        image: Image.Image = opened
        if opened.getexif().get(EXIF_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(opened)
        if "transparency" in image.info:
            image = image.convert("RGBA")
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        pixels = np.array(image if image.mode == mode else image.convert(mode))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1))


def check_listing(listing: Listing) -> None:
    """Make sure that the header of every file is that of an image; a file cut short may be found only when decoded.

    Raises:
        DataError: A file is not an image; it is named.
    """
    for position in range(len(listing.files)):
        path = listing.path(position)
        with _naming(path), Image.open(path) as image:
            image.verify()


def read_batches(
    listing: Listing, plan: Sequence[npt.NDArray[np.int64]], view: View, *, draws: Draws | None, workers: int
) -> Iterator[Tensor]:
    """For every batch of the plan its images, (B, C, H, W) uint8, fitted to the view and, with draws, augmented.

    Args:
        listing: The files.
        plan: The positions of every batch.
        view: What the network gets.
        draws: One for each file of the list; None augments nothing.
        workers: Processes that decode, ahead of the caller; 0 decodes in this one, when asked.

    Raises:
        DataError: A file cannot be decoded; it is named.
    """
    loader: DataLoader[Any] = DataLoader(
        _Reader(listing, view, draws),
        batch_sampler=plan,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # without one of its own the loader draws from the global generator
    )
    for images in loader:
        if isinstance(images, DataError):
            raise images
        yield torch.from_numpy(images)


def read_listing(listing: Listing, view: View) -> Pixels:
    """Every image of the list, fitted to the view, in memory.

    Raises:
        DataError: A file cannot be decoded; it is named.
    """
    count = len(listing.files)
    images = torch.empty(count, *view.see.shape, dtype=torch.uint8)
    plan = np.array_split(np.arange(count), -(-count // READ_CHUNK))
    workers = (os.cpu_count() or 1) if count >= PARALLEL_FROM_FILES else 0
    for positions, batch in zip(plan, read_batches(listing, plan, view, draws=None, workers=workers), strict=True):
        images[positions[0] : positions[-1] + 1] = batch
    return Pixels(images, listing.targets)


class _Reader(Dataset[Any]):
    """The images of a batch, or the error that stopped it: a worker would wrap an exception in its own traceback.

    Arrays, not tensors, leave the workers: tensors would pass through shared memory, of which containers have little.
    """

    def __init__(self, listing: Listing, view: View, draws: Draws | None) -> None:
        self._listing = listing
        self._view = view
        self._draws = draws

    def __getitems__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | DataError:
        try:
            images = torch.cat([self._view.fit(decode(self._listing.path(at))[None]) for at in positions])
        except DataError as error:
            return error
        if self._draws is not None:
            images = self._view.vary(images, self._draws.of(positions))
        return images.numpy()


def _unchanged(batch: Any) -> Any:
    return batch


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise DataError(f"{path}: cannot be read as an image ({error}); replace it or remove it") from error
