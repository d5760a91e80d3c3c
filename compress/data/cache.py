"""Decoded image folders, kept below the data root so that the next command need not decode them again."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import PIL
import torch
from PIL import features
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from compress.data.decode import read_listing
from compress.data.found import Listing
from compress.data.known import data_root
from compress.errors import OutputError
from compress.files import write_whole
from compress.preprocessing import Preprocessing

FORMAT = 1
KEPT_FROM_BYTES = 2**20  # of the files; fewer are decoded as quickly as they are looked up
MOST_BYTES = 4 * 2**30
STALE_S = 24 * 3600  # by then nobody is writing a file any more


def read_kept(listing: Listing, see: Preprocessing) -> Tensor:
    """(N, C, H, W) uint8: every image of the list, fitted; decoded unless an earlier command has left it here.

    What is left below `data_root()`/.decoded is known by the folder, by the name, size and time of change of every
    file, by how the network sees an image and by the versions of the decoders; its pixels carry their digest, and what
    does not hold is decoded anew. At most 4 GiB are kept, the latest used; EDGEPRESS_CACHE=off keeps and reads nothing.

    Raises:
        DataError: A file cannot be decoded; it is named.
    """
    files = [(file, os.stat(f"{listing.root}/{file}")) for file in listing.files]  # noqa: PTH116  a Path costs more
    if os.environ.get("EDGEPRESS_CACHE") == "off" or sum(stat.st_size for _, stat in files) < KEPT_FROM_BYTES:
        return read_listing(listing, see)
    known = [(file, stat.st_size, stat.st_mtime_ns) for file, stat in files]
    rule = (see.size, see.channels, see.resize, see.crop, see.border)
    key = hashlib.sha256(repr((FORMAT, str(listing.root.resolve()), rule, _decoders(), known)).encode()).hexdigest()
    path = data_root() / ".decoded" / f"{key[:32]}.safetensors"
    shape = (len(files), *see.shape)
    images = _read(path, shape)
    if images is None:
        images = read_listing(listing, see)
        _write(path, images)
    return images


def _decoders() -> tuple[str | None, ...]:
    return (PIL.__version__, *(features.version(name) for name in ("jpg", "libtiff", "webp", "zlib")))


def _read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """What was kept, mapped from the file, or None where it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            images: Tensor = file.get_tensor("images")
            digest = (file.metadata() or {}).get("sha256")
        os.utime(path)
    except (OSError, SafetensorError):
        return None
    whole = images.dtype == torch.uint8 and tuple(images.shape) == shape and _digest(images) == digest
    return images if whole else None


def _write(path: Path, images: Tensor) -> None:
    """Keep the images, if that is possible, and let go of what was not used for the longest time."""
    metadata = {"sha256": _digest(images)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda target: save_file({"images": images}, target, metadata), force=True)
        kept = [(entry.stat(), entry) for entry in path.parent.glob("*.safetensors") if entry != path]
        free = MOST_BYTES - images.nbytes
        for stat, entry in sorted(kept, key=lambda pair: -pair[0].st_mtime_ns):
            free -= stat.st_size
            if free < 0:
                entry.unlink(missing_ok=True)
        for left in path.parent.glob(".*.partial"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left, ignore_errors=True)
    except (OSError, SafetensorError, OutputError):
        return


def _digest(images: Tensor) -> str:
    return hashlib.sha256(images.numpy().data).hexdigest()
