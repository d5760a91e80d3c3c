"""Image folders: the files of train/<class>/*, test/<class>/* and val/<class>/*, found and checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from compress.data.found import Listing, Parts
from compress.errors import DataError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUT = "train/<class>/* and test/<class>/* or val/<class>/*"


def scan(root: Path) -> Parts:
    """The files of an image folder, every part with the same classes; nothing is decoded yet.

    The classes are the sub-folders of train/ by name. `test` is test/, else val/; a val/ beside a test/ is `val`.
    Hidden files are skipped.

    Args:
        root: The folder that holds train/.

    Raises:
        DataError: The folder or a part of it is missing, empty, or holds something that is no image; or the classes of
            two parts differ.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{root} {found}; give a folder that holds {LAYOUT}")
    present = [name for name in ("test", "val") if (root / name).is_dir()]
    if not (root / "train").is_dir() or not present:
        missing = "test/ or val/" if (root / "train").is_dir() else "train/"
        raise DataError(f"{root}: has no {missing}; it must hold {LAYOUT}")
    classes = _class_names(root / "train")
    if len(classes) < 2:
        raise DataError(f"{root / 'train'}: holds {len(classes)} class folders; at least 2 are needed")
    train, test = (_list_part(root, name, classes) for name in ("train", present[0]))
    val = _list_part(root, "val", classes) if len(present) == 2 else None
    return Parts(classes, train, val, test)


def _class_names(part: Path) -> tuple[str, ...]:
    for entry in _entries(part):
        if not entry.is_dir():
            raise DataError(f"{entry.path}: is not a class folder; move it away, or hide it with a leading dot")
    return tuple(entry.name for entry in _entries(part))


def _list_part(root: Path, part: str, classes: Sequence[str]) -> Listing:
    found = _class_names(root / part)
    if set(found) != set(classes):
        odd = [f"has no {name!r}" for name in classes if name not in found]
        odd += [f"{name!r} is not in train/" for name in found if name not in classes]
        raise DataError(f"{root / part}: its class folders are not those of train/: {', '.join(odd)}")
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = [f"{part}/{name}/{entry.name}" for entry in _entries(root / part / name) if _check_image(entry)]
        if not images:
            raise DataError(
                f"{root / part / name}: the class folder is empty; add images, or remove the class everywhere"
            )
        files += images
        labels += [label] * len(images)
    return Listing(root, tuple(files), torch.tensor(labels))


def _check_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.lower().endswith(EXTENSIONS) and entry.is_file():
        return True
    kinds = " ".join(EXTENSIONS)
    raise DataError(f"{entry.path}: is not an image file ({kinds}); move it away, or hide it with a leading dot")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
