"""From the parts of a data set to its splits: what is held out and kept, where it lives, and its fingerprint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from compress.data.decode import read_listing
from compress.data.found import Listing, Part, Parts, Pixels
from compress.data.memory import MemorySplit
from compress.data.prepare import View
from compress.data.split import DataOptions, Dataset, Split
from compress.data.stream import StreamSplit
from compress.data.subset import hold_out, keep_fraction

FIT_CHUNK = 4096


def assemble(name: str, parts: Parts, view: View, *, options: DataOptions, memory_limit_bytes: int) -> Dataset:
    """The data set: its validation split held out first, then the fraction of the rest kept.

    Args:
        name: How it is called.
        parts: What was found.
        view: Its preprocessing, with the options already in it.
        options: The two fractions and their seed.
        memory_limit_bytes: Up to this size, as uint8 at the view's size, all of it is held in memory ready to use;
            above, pixels are fitted a batch at a time and files are streamed.

    Raises:
        DataError: A fraction leaves a class empty, or an image cannot be read.
    """
    parts = _choose(parts, options)
    present = [part for part in (parts.train, parts.val, parts.test) if part is not None]
    count = sum(len(part.targets) for part in present)
    if count * math.prod(view.see.shape) <= memory_limit_bytes:
        present = [_ready(part, view) for part in present]
    plain = replace(view, augment=())
    train, *val, test = (_split(part, view if part is present[0] else plain) for part in present)
    return Dataset(
        name=name,
        classes=parts.classes,
        see=view.see,
        train=train,
        val=val[0] if val else None,
        test=test,
        fingerprint=_fingerprint(parts.classes, view, present),
    )


def _choose(parts: Parts, options: DataOptions) -> Parts:
    train, val = parts.train, parts.val
    if options.val_fraction > 0:
        stay, held = hold_out(train.targets, parts.classes, fraction=options.val_fraction, seed=options.seed)
        train, val = train.pick(stay), train.pick(held)
    if options.fraction < 1:
        train = train.pick(keep_fraction(train.targets, parts.classes, fraction=options.fraction, seed=options.seed))
    return replace(parts, train=train, val=val)


def _ready(part: Part, view: View) -> Pixels:
    if isinstance(part, Listing):
        return read_listing(part, view)
    if part.images.shape[1:] == view.see.shape:
        return part
    return Pixels(torch.cat([view.fit(chunk) for chunk in torch.split(part.images, FIT_CHUNK)]), part.targets)


def _split(part: Part, view: View) -> Split:
    return StreamSplit(part, view) if isinstance(part, Listing) else MemorySplit(part, view)


def _fingerprint(classes: tuple[str, ...], view: View, parts: Sequence[Part]) -> str:
    digest = hashlib.sha256(repr((classes, view)).encode())
    for part in parts:
        digest.update(repr(len(part.targets)).encode())
        digest.update(part.targets.numpy().data)
        if isinstance(part, Listing):
            sizes = [(file, (part.root / file).stat().st_size) for file in part.files]
            digest.update(repr(sizes).encode())
        else:
            digest.update(part.images.contiguous().numpy().data)
    return digest.hexdigest()[:16]
