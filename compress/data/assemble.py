"""From a name or a path to a data set: what is held out and kept, where it lives, and its fingerprint."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from compress.data.cache import read_kept
from compress.data.chance import Positions, hold_out, keep_fraction
from compress.data.folder import LAYOUT, scan
from compress.data.found import Listing, Masks, Part, Parts, Pixels
from compress.data.known import DATASETS, FOLDER, read_source
from compress.data.prepare import (
    AUGMENTATIONS,
    OF_CLASSES_ALONE,
    DataOptions,
    Defaults,
    fit_pixels,
    preprocessing,
)
from compress.data.remembered import remember
from compress.data.split import Dataset, MemorySplit, Split, StreamSplit
from compress.errors import DataError, unknown_name
from compress.preprocessing import Preprocessing

MEMORY_LIMIT_BYTES = 2**30
FIT_CHUNK = 4096


def load(
    name_or_path: str,
    options: DataOptions | None = None,
    *,
    see: Preprocessing | None = None,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> Dataset:
    """The data set of that name, or of the image folder at that path; a name in `DATASETS` goes first.

    The fraction is kept first, then a validation split is held out of what was kept; it replaces one that the data set
    came with, which is otherwise left whole.

    Args:
        name_or_path: A name in `DATASETS`, with ":N" for its first N classes alone; or a folder that holds
            train/<class>/* and test/<class>/* or val/<class>/*, or <class>/* alone, or images/<split>/* and
            masks/<split>/*.
        options: What to change about it; None changes nothing.
        see: How the network that is to get the images sees them, instead of what the data set and the options say.
        memory_limit_bytes: Up to this size, as uint8 at the size asked for, all of it is held in memory ready to use;
            above, pixels are fitted a batch at a time and files are streamed.

    Raises:
        DataError: There is no such data set; it cannot be had; it is damaged; or it does not fit the options.
    """
    options = options or DataOptions()
    name, defaults, parts = find_parts(name_or_path)
    if defaults is FOLDER and see is None and options.size is None:
        height, width = defaults.size
        note = f"{name}: images of a folder are prepared at {height}x{width}; --size changes it"
        parts = replace(parts, notes=(*parts.notes, note))
    see = see or preprocessing(options, defaults)
    if see.channels not in (1, 3):
        raise DataError(f"data set {name!r}: its images have 1 or 3 channels; the network sees {see.channels}")
    parts = _settle(parts, options, see, memory_limit_bytes)
    augment = defaults.augment if options.augment is None else options.augment
    _check_augmentation(name, parts, augment)
    fingerprint = _fingerprint(parts, see, augment)
    if defaults is FOLDER:
        remember(fingerprint, Path(name_or_path).expanduser().resolve())
    return Dataset(
        name=name,
        classes=parts.classes,
        see=see,
        train=_split(parts.train, see, augment, classes=len(parts.classes)),
        val=None if parts.val is None else _split(parts.val, see),
        test=_split(parts.test, see),
        fingerprint=fingerprint,
        notes=parts.notes,
    )


def find_parts(name_or_path: str) -> tuple[str, Defaults, Parts]:
    """The name of a data set, its preprocessing where nothing else is said, and its parts as they were found.

    Raises:
        DataError: There is no such data set, or it cannot be had.
    """
    known, colon, count = name_or_path.partition(":")
    if known in DATASETS:
        source = DATASETS[known]
        parts = read_source(known, source)
        return name_or_path, source.defaults, _first(name_or_path, parts, count) if colon else parts
    path = Path(name_or_path).expanduser()
    is_path = os.sep in name_or_path or name_or_path.startswith((".", "~")) or path.exists()
    if not name_or_path or not is_path:
        message = unknown_name("data set", name_or_path, DATASETS)
        raise DataError(f"{message}; or give the path of a folder that holds {LAYOUT}")
    return path.resolve().name, FOLDER, scan(path)


def _first(name: str, parts: Parts, count: str) -> Parts:
    """The parts with their first classes alone."""
    whole = len(parts.classes)
    if _masked(parts.train):
        raise DataError(f"data set {name!r}: its targets are masks, which show all classes; leave out the number")
    if not (count.isascii() and count.isdigit() and 2 <= int(count) <= whole):
        raise DataError(f"data set {name!r}: got {count!r} classes; give a number from 2 to {whole}")
    return parts.first(int(count))


def _settle(parts: Parts, options: DataOptions, see: Preprocessing, limit_bytes: int) -> Parts:
    """The parts after both fractions, in memory if they fit; whole parts are decoded before one is held out of them,
    so that every command finds the same ones kept."""
    if options.fraction == 1:
        return _choose(_in_memory(parts, see, limit_bytes), options)
    return _in_memory(_choose(parts, options), see, limit_bytes)


def _choose(parts: Parts, options: DataOptions) -> Parts:
    train, val = parts.train, parts.val
    if options.fraction < 1:
        train = train.pick(keep_fraction(*_groups(train, parts), fraction=options.fraction, seed=options.seed))
    if options.val_fraction > 0:
        stay, held = hold_out(*_groups(train, parts), fraction=options.val_fraction, seed=options.seed)
        train, val = train.pick(stay), train.pick(held)
    return replace(parts, train=train, val=val)


def _groups(part: Part, parts: Parts) -> tuple[Positions, tuple[str, ...]]:
    """(N,) int64, by what the images are chosen evenly, and its names: the classes; where there are masks, nothing."""
    if isinstance(part.targets, Masks) or part.targets.ndim > 1:
        return np.zeros(len(part.targets), np.int64), ("",)
    return part.targets.numpy(), parts.classes


def _in_memory(parts: Parts, see: Preprocessing, limit_bytes: int) -> Parts:
    count = sum(len(part.targets) for part in (parts.train, parts.val, parts.test) if part is not None)
    masks = math.prod(see.size) if isinstance(parts.train.targets, Masks) else 0
    if count * (math.prod(see.shape) + masks) > limit_bytes:
        return parts
    return replace(
        parts,
        train=_fitted(parts.train, see),
        val=None if parts.val is None else _fitted(parts.val, see),
        test=_fitted(parts.test, see),
    )


def _fitted(part: Part, see: Preprocessing) -> Pixels:
    if isinstance(part, Listing):
        return read_kept(part, see)
    chunks = [torch.from_numpy(fit_pixels(chunk.numpy(), see)) for chunk in torch.split(part.images, FIT_CHUNK)]
    return Pixels(torch.cat(chunks), part.targets, ready=True)


def _split(part: Part, see: Preprocessing, augment: tuple[str, ...] = (), *, classes: int = 0) -> Split:
    if isinstance(part, Listing):
        return StreamSplit(part, see, augment, classes=classes)
    return MemorySplit(part, see, augment, classes=classes)


def _check_augmentation(name: str, parts: Parts, augment: tuple[str, ...]) -> None:
    if not _masked(parts.train):
        return
    for one in augment:
        if one in OF_CLASSES_ALONE:
            fitting = ", ".join(other for other in AUGMENTATIONS if other not in OF_CLASSES_ALONE)
            raise DataError(
                f"data set {name!r}: its targets are masks, which {one} cannot follow; allowed are none, {fitting}"
            )


def _masked(part: Part) -> bool:
    return isinstance(part.targets, Masks) or part.targets.ndim > 1


def _fingerprint(parts: Parts, see: Preprocessing, augment: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr((parts.classes, see, augment)).encode())
    for part in (parts.train, parts.val, parts.test):
        if part is None:
            continue
        digest.update(repr(len(part.targets)).encode())
        if isinstance(part.targets, Masks):
            digest.update(repr((part.targets.values, part.targets.void)).encode())
        else:
            digest.update(part.targets.numpy().data)
        if isinstance(part, Listing):
            files = part.files + (part.targets.files if isinstance(part.targets, Masks) else ())
            sizes = [(file, (part.root / file).stat().st_size) for file in files]
            digest.update(repr(sizes).encode())
        else:
            digest.update(part.images.contiguous().numpy().data)
    return digest.hexdigest()[:16]
