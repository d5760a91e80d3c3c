"""From image files to pixels: one file, or the files of a list in batches and in several processes."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from compress.data.chance import Draws, Positions
from compress.data.found import Listing
from compress.data.prepare import Bytes, fit, vary
from compress.errors import DataError
from compress.preprocessing import Preprocessing

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
DEEP_MODES = ("F", "I")
EXIF_ORIENTATION = 0x0112
READ_CHUNK = 250
PARALLEL_FROM_FILES = 4 * READ_CHUNK


def read_image(path: str, see: Preprocessing) -> Bytes:
    """(C, H, W): an image file as `Preprocessing` describes it, before it is scaled.

    Raises:
        DataError: The file is no whole image, has more than 8 bits a channel, or so many pixels that Pillow warns of a
            decompression bomb; it is named.
    """
    with _opened(path) as opened:
        if opened.mode.startswith(DEEP_MODES):
            raise ValueError(f"its pixels are of mode {opened.mode}; 8 bits a channel are needed")
        opened.load()
        turned = opened.getexif().get(EXIF_ORIENTATION, 1) != 1
        return fit(ImageOps.exif_transpose(opened) if turned else opened, see)


def check_listing(listing: Listing) -> None:
    """Make sure that the header of every file is that of an image; a file cut short may be found only when decoded.

    Raises:
        DataError: A file is not an image; it is named.
    """
    for position in range(len(listing.files)):
        with _opened(listing.path(position)) as image:
            image.verify()


def read_batches(
    listing: Listing,
    plan: Sequence[Positions],
    see: Preprocessing,
    augment: tuple[str, ...] = (),
    *,
    draws: Draws | None = None,
    workers: int,
) -> Iterator[Tensor]:
    """For every batch of the plan its images, (B, C, H, W) uint8, fitted and, with draws, augmented.

    Args:
        listing: The files.
        plan: The positions of every batch.
        see: How the network sees an image.
        augment: What the draws are used for.
        draws: One for each file of the list; None augments nothing.
        workers: Processes that decode, ahead of the caller; 0 decodes in this one, when asked.

    Raises:
        DataError: A file cannot be decoded; it is named.
    """
    loader: DataLoader[Any] = DataLoader(
        _Reader(listing, see, augment, draws),
        batch_sampler=plan,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # without one of its own the loader draws from the global generator
    )
    with _interrupted_later():
        read = iter(loader)
    try:
        for images in read:
            if isinstance(images, DataError):
                raise images
            yield torch.from_numpy(images)
    finally:
        del read  # its workers end now, and not with the last traceback that shows this frame


def read_listing(listing: Listing, see: Preprocessing) -> Tensor:
    """(N, C, H, W) uint8: every image of the list, fitted.

    Raises:
        DataError: A file cannot be decoded; it is named.
    """
    count = len(listing.files)
    images = torch.empty(count, *see.shape, dtype=torch.uint8)
    plan = np.array_split(np.arange(count), -(-count // READ_CHUNK))
    workers = (os.cpu_count() or 1) if count >= PARALLEL_FROM_FILES else 0
    for positions, batch in zip(plan, read_batches(listing, plan, see, workers=workers), strict=True):
        images[positions[0] : positions[-1] + 1] = batch
    return images


class _Reader(Dataset[Any]):
    """The images of a batch, or the error that stopped it: a worker would wrap an exception in its own traceback.

    Arrays, not tensors, leave the workers: tensors would pass through shared memory, of which containers have little.
    """

    def __init__(self, listing: Listing, see: Preprocessing, augment: tuple[str, ...], draws: Draws | None) -> None:
        self._listing = listing
        self._see = see
        self._augment = augment
        self._draws = draws

    def __getitems__(self, positions: Positions) -> Bytes | DataError:
        try:
            images = np.stack([read_image(self._listing.path(at), self._see) for at in positions])
        except DataError as error:
            return error
        return images if self._draws is None else vary(images, self._augment, self._draws.of(positions))


def _unchanged(batch: Any) -> Any:
    return batch


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Ctrl-C inside the `with` counts only after it, and never in a process that was forked off in it.

    A fork would swallow it, and a worker would show a traceback of its own.
    """
    usual = signal.getsignal(signal.SIGINT)
    if usual is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if came:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise DataError(f"{path}: cannot be read as an image ({error}); replace it or remove it") from error
