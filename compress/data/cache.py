"""Decoded image folders, kept below the data root so that the next command need not decode them again."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import PIL
import torch
from PIL import features
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from compress.data.decode import read_listing
from compress.data.found import Listing, Masks, Pixels
from compress.data.known import data_root
from compress.errors import OutputError
from compress.files import write_whole
from compress.preprocessing import Preprocessing

FORMAT = 1
KEPT_FROM_BYTES = 2**20  # of the files; fewer are decoded as quickly as they are looked up
MOST_BYTES = 4 * 2**30
STALE_S = 24 * 3600  # by then nobody is writing a file any more


def read_kept(listing: Listing, see: Preprocessing) -> Pixels:
    """Every image of the list, and its mask, fitted; decoded unless an earlier command has left them here.

    What is left below `data_root()`/.decoded is known by the folder, by the name, size and time of change of every
    file, by how the network sees an image and by the versions of the decoders; its pixels carry their digest, and what
    does not hold is decoded anew. At most 4 GiB are kept, the latest used; EDGEPRESS_CACHE=off keeps and reads nothing.

    Raises:
        DataError: A file cannot be decoded; it is named.
    """
    masks = listing.targets if isinstance(listing.targets, Masks) else None
    names = listing.files + (masks.files if masks is not None else ())
    files = [(file, os.stat(f"{listing.root}/{file}")) for file in names]  # noqa: PTH116  a Path costs more
    if os.environ.get("EDGEPRESS_CACHE") == "off" or sum(stat.st_size for _, stat in files) < KEPT_FROM_BYTES:
        return read_listing(listing, see)
    known = [(file, stat.st_size, stat.st_mtime_ns) for file, stat in files]
    rule: tuple[object, ...] = (see.size, see.channels, see.resize, see.crop, see.border)
    if masks is not None:
        rule = (*rule, masks.values, masks.void)
    key = hashlib.sha256(repr((FORMAT, str(listing.root.resolve()), rule, _decoders(), known)).encode()).hexdigest()
    path = data_root() / ".decoded" / f"{key[:32]}.safetensors"
    shapes: dict[str, tuple[int, ...]] = {"images": (len(listing.files), *see.shape)}
    if masks is not None:
        shapes["masks"] = (len(masks), *see.size)
    tensors = _read(path, shapes)
    if tensors is not None:
        targets = tensors["masks"] if isinstance(listing.targets, Masks) else listing.targets
        return Pixels(tensors["images"], targets, ready=True)
    pixels = read_listing(listing, see)
    kept = {"images": pixels.images}
    if masks is not None:
        kept["masks"] = pixels.targets
    _write(path, kept)
    return pixels


def _decoders() -> tuple[str | None, ...]:
    return (PIL.__version__, *(features.version(name) for name in ("jpg", "libtiff", "webp", "zlib")))


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor] | None:
    """What was kept, mapped from the file, or None where it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in shapes}
            digest = (file.metadata() or {}).get("sha256")
        os.utime(path)
    except (OSError, SafetensorError):
        return None
    fits = all(tensors[name].dtype == torch.uint8 and tuple(tensors[name].shape) == shapes[name] for name in shapes)
    return tensors if fits and _digest(tensors) == digest else None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Keep the tensors, if that is possible, and let go of what was not used for the longest time."""
    metadata = {"sha256": _digest(tensors)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda target: save_file(tensors, target, metadata), force=True)
        kept = [(entry.stat(), entry) for entry in path.parent.glob("*.safetensors") if entry != path]
        free = MOST_BYTES - sum(tensor.nbytes for tensor in tensors.values())
        for stat, entry in sorted(kept, key=lambda pair: -pair[0].st_mtime_ns):
            free -= stat.st_size
            if free < 0:
                entry.unlink(missing_ok=True)
        for left in path.parent.glob(".*.partial"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left, ignore_errors=True)
    except (OSError, SafetensorError, OutputError):
        return


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
