"""From image files to pixels: one file, or the files of a list in batches and in several processes."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from compress.data.augment import View
from compress.data.chance import Positions
from compress.data.found import VOID, Listing, Masks, Pixels
from compress.data.prepare import Bytes, convert, fit, fit_mask
from compress.errors import DataError
from compress.preprocessing import Preprocessing

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
MASK_FORMATS = ("PNG",)
DEEP_MODES = ("F", "I")
EXIF_ORIENTATION = 0x0112
READ_CHUNK = 250
PARALLEL_FROM_FILES = 4 * READ_CHUNK


class Look(NamedTuple):
    """What an image shows without its pixels: width and height as stored, and its EXIF orientation (1 is upright)."""

    size: tuple[int, int]
    turned: int


def read_image(path: str, see: Preprocessing) -> Bytes:
    """(C, H, W): an image file as `Preprocessing` describes it, before it is scaled.

    Raises:
        DataError: The file is no whole image, has more than 8 bits a channel, or so many pixels that Pillow warns of a
            decompression bomb; it is named.
    """
    return _read_image(path, see)[0]


def read_upright(path: str) -> Image.Image:
    """The picture in an image file, turned upright: grey as it is, all else in RGB.

    Raises:
        DataError: See `read_image`.
    """
    with _upright(path) as (image, _look):
        return convert(image, 1 if image.mode == "L" else 3).copy()


def read_values(path: str) -> Bytes:
    """(height, width): the values of a mask as they are stored; of a palette image its indices, never its colours.

    Raises:
        DataError: The file is no PNG of one channel of 8 bits.
    """
    return _read_values(path)[0]


def read_mask(listing: Listing, position: int, see: Preprocessing, look: Look | None = None) -> Bytes:
    """(H, W): the mask of an image of the list, brought to size like it; a class or `VOID` at each pixel.

    Args:
        listing: Images with masks.
        position: Of the image.
        see: How the network sees the image.
        look: What the image's file says of itself; None looks.

    Raises:
        DataError: The mask cannot be read, is not of its image's size, is turned otherwise, or holds a value that is
            not allowed.
    """
    masks = listing.targets
    assert isinstance(masks, Masks)
    path, image = f"{listing.root}/{masks.files[position]}", listing.path(position)
    look = look or _look(image)
    values, turned = _read_values(path)
    if turned != look.turned:
        raise DataError(
            f"{path}: its EXIF orientation is {turned} and that of {image} is {look.turned}; save both upright"
        )
    if values.shape[::-1] != look.size:
        height, width = values.shape
        raise DataError(
            f"{path}: is {width}x{height} and its image {image} is {look.size[0]}x{look.size[1]}; they must be equal"
        )
    classes = masks.table[values]
    if classes.min() < 0:
        value = int(values[classes < 0].min())
        allowed = ", ".join(map(str, sorted({*masks.values, *masks.void, VOID})))
        raise DataError(f"{path}: holds the value {value}; allowed are {allowed}; mend it, or name it in classes.txt")
    mask = Image.fromarray(classes.astype(np.uint8))
    if turned != 1:
        mask.getexif()[EXIF_ORIENTATION] = turned
        mask = ImageOps.exif_transpose(mask)
    return fit_mask(np.asarray(mask), see)


def check_listing(listing: Listing) -> None:
    """Make sure that the header of every file is that of an image; a file cut short may be found only when decoded.

    Masks are read whole.

    Raises:
        DataError: A file is not an image, or `read_mask` refuses a mask; it is named.
    """
    smallest = Preprocessing((1, 1), 1, (0.0,), (1.0,))
    for position in range(len(listing.files)):
        with _opened(listing.path(position)) as image:
            image.verify()
        if isinstance(listing.targets, Masks):
            read_mask(listing, position, smallest)


def read_batches(
    listing: Listing,
    plan: Sequence[Positions],
    see: Preprocessing,
    *,
    view: View | None = None,
    workers: int,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """For every batch of the plan its images, (B, C, H, W) uint8, and masks, (B, H, W) uint8, where it has such.

    They are fitted and, with a view, augmented.

    Args:
        listing: The files.
        plan: The positions of every batch.
        see: How the network sees an image.
        view: The augmentation of all the files of the list; None augments nothing.
        workers: Processes that decode, ahead of the caller; 0 decodes in this one, when asked.

    Raises:
        DataError: A file cannot be decoded; it is named.
    """
    loader: DataLoader[Any] = DataLoader(
        _Reader(listing, see, view),
        batch_sampler=plan,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # without one of its own the loader draws from the global generator
    )
    with _interrupted_later():
        read = iter(loader)
    try:
        for batch in read:
            if isinstance(batch, DataError):
                raise batch
            images, masks = batch
            yield torch.from_numpy(images), None if masks is None else torch.from_numpy(masks)
    finally:
        del read  # its workers end now, and not with the last traceback that shows this frame


def read_listing(listing: Listing, see: Preprocessing) -> Pixels:
    """Every image of the list and, where it has masks, every mask, fitted.

    Raises:
        DataError: A file cannot be decoded, or a mask does not fit; it is named.
    """
    count = len(listing.files)
    images = torch.empty(count, *see.shape, dtype=torch.uint8)
    targets = listing.targets
    if isinstance(targets, Masks):
        targets = torch.empty(count, *see.size, dtype=torch.uint8)
    plan = np.array_split(np.arange(count), -(-count // READ_CHUNK))
    workers = (os.cpu_count() or 1) if count >= PARALLEL_FROM_FILES else 0
    for positions, (batch, masks) in zip(plan, read_batches(listing, plan, see, workers=workers), strict=True):
        images[positions[0] : positions[-1] + 1] = batch
        if masks is not None:
            targets[positions[0] : positions[-1] + 1] = masks
    return Pixels(images, targets, ready=True)


def read_masks(listing: Listing, see: Preprocessing) -> Tensor:
    """(N, H, W) uint8: every mask of the list, fitted; no image is decoded.

    Raises:
        DataError: `read_mask` refuses one.
    """
    masks = torch.empty(len(listing.files), *see.size, dtype=torch.uint8)
    for position in range(len(masks)):
        masks[position] = torch.tensor(read_mask(listing, position, see))
    return masks


class _Reader(Dataset[Any]):
    """The images of a batch, or the error that stopped it: a worker would wrap an exception in its own traceback.

    Arrays, not tensors, leave the workers: tensors would pass through shared memory, of which containers have little.
    """

    def __init__(self, listing: Listing, see: Preprocessing, view: View | None) -> None:
        self._listing = listing
        self._see = see
        self._view = view

    def __getitems__(self, positions: Positions) -> tuple[Bytes, Bytes | None] | DataError:
        view = self._view or View()
        try:
            images, masks = self._read(view.sources(positions))
        except DataError as error:
            return error
        return view.images(images, positions), None if masks is None else view.masks(masks, positions)

    def _read(self, positions: Positions) -> tuple[Bytes, Bytes | None]:
        read = [_read_image(self._listing.path(at), self._see) for at in positions]
        images = np.stack([image for image, _ in read])
        if not isinstance(self._listing.targets, Masks):
            return images, None
        pairs = zip(positions, read, strict=True)
        return images, np.stack([read_mask(self._listing, at, self._see, look) for at, (_, look) in pairs])


def _read_image(path: str, see: Preprocessing) -> tuple[Bytes, Look]:
    with _upright(path) as (image, look):
        return fit(image, see), look


@contextmanager
def _upright(path: str) -> Iterator[tuple[Image.Image, Look]]:
    with _opened(path) as opened:
        if opened.mode.startswith(DEEP_MODES):
            raise ValueError(f"its pixels are of mode {opened.mode}; 8 bits a channel are needed")
        opened.load()
        look = Look(opened.size, opened.getexif().get(EXIF_ORIENTATION, 1))
        yield ImageOps.exif_transpose(opened) if look.turned != 1 else opened, look


def _look(path: str) -> Look:
    with _opened(path) as opened:
        return Look(opened.size, opened.getexif().get(EXIF_ORIENTATION, 1))


def _read_values(path: str) -> tuple[Bytes, int]:
    """(height, width) values and the EXIF orientation."""
    with _opened(path, MASK_FORMATS) as opened:
        stored = str(opened.tile[0][3])  # type: ignore[attr-defined]
        if stored != "L" and opened.mode != "P":
            raise ValueError(f"its pixels are {stored}; a mask has one channel of 8 bits, or a palette")
        opened.load()
        return np.asarray(opened), opened.getexif().get(EXIF_ORIENTATION, 1)


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
def _opened(path: str, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                yield image
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise DataError(f"{path}: cannot be read as an image ({error}); replace it or remove it") from error
