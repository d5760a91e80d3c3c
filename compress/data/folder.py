"""Image folders: the files of train/<class>/*, test/<class>/* and val/<class>/*, or of <class>/*, found and checked.

Folders of masks and the published layout of CUB-200 are known by what they hold.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from compress.data.chance import split_off
from compress.data.cub import is_cub, scan_cub
from compress.data.entries import EXTENSIONS, PARTS, below, entries, listed, note_strays
from compress.data.found import Listing, Parts
from compress.data.masks import MASK_LAYOUT, is_mask_folder, scan_masks
from compress.errors import DataError

LAYOUT = "train/<class>/* and test/<class>/* or val/<class>/*, or <class>/* alone"
TEST_SHARE = 0.2
CLASS_NAMES = "classes.txt"

Files = dict[str, list[str]]  # the name of a class to its images, as paths relative to the root


def scan(root: Path) -> Parts:
    """The files of an image folder, every part with the same classes; no image is decoded yet.

    Folders that hold images/ and masks/ are read by `scan_masks`, the layout of CUB-200 by `scan_cub`. Else the classes
    are the sub-folders of train/ by name, or what a classes.txt calls them, "folder<tab>name" a line. `test` is test/,
    else val/; a val/ beside a test/ is `val`. Where there is none of the three, the classes are the sub-folders of the
    folder itself, and a fifth of each, at least one image, is `test`: chosen by the names of the files and by nothing
    else. Files that are no images by their names are skipped, with a note; hidden ones without.

    Args:
        root: The folder that holds train/, or the classes.

    Raises:
        DataError: The folder, a part or a class of it is missing or without an image, or the parts have other classes.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{root} {found}; give a folder that holds {LAYOUT}, or {MASK_LAYOUT}")
    if is_mask_folder(root):
        return scan_masks(root)
    if is_cub(root):
        return scan_cub(root)
    present = [part for part in PARTS if (root / part).is_dir()]
    if present and ("train" not in present or len(present) == 1):
        missing = "test/ or val/" if "train" in present else "train/"
        raise DataError(f"{root}: has no {missing}; it must hold {LAYOUT}")
    strays: list[str] = []
    parts = {part: _list_classes(root, part, strays) for part in present or [""]}
    names = _read_names(root, tuple(next(iter(parts.values()))))
    strays = [name for name in strays if name != CLASS_NAMES]
    if not names and (root / CLASS_NAMES).is_file():
        strays.append(CLASS_NAMES)
    notes = note_strays(root, strays)
    if not present:
        notes = (_note_share(root), *notes)
        parts = _split_test_off(root, parts[""])
    classes = tuple(parts["train"])
    for part in present:
        _check_classes(root / part, tuple(parts[part]), classes)
    train, test, *val = (_join(root, parts[part]) for part in PARTS if part in parts)
    return Parts(names or classes, train, val[0] if val else None, test, notes)


def _list_classes(root: Path, part: str, strays: list[str]) -> Files:
    """The images of a part; what is no image is put with the strays."""
    folder = root / part
    names: list[str] = []
    for entry in entries(folder):
        if entry.is_dir():
            names.append(entry.name)
        else:
            strays.append(below(part, entry.name))
    if len(names) < 2:
        inner = [name for name in names if (folder / name / "train").is_dir()]
        advice = f"did you mean {folder / inner[0]}?" if inner else f"the layout is {LAYOUT}"
        raise DataError(f"{folder}: holds {len(names)} class folders; at least 2 are needed; {advice}")
    return {_readable(folder, name): _list_images(root, below(part, name), strays) for name in names}


def _read_names(root: Path, folders: tuple[str, ...]) -> tuple[str, ...]:
    """What a classes.txt calls the classes; () where there is none that names every one of their folders."""
    try:
        lines = (root / CLASS_NAMES).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ()
    columns = [[cell.strip() for cell in line.split("\t")] for line in lines]
    known = {cells[0]: cells[1] for cells in columns if len(cells) > 1 and cells[1]}
    if not set(folders) <= known.keys():
        return ()
    names = [known[folder] for folder in folders]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)
    )


def _list_images(root: Path, folder: str, strays: list[str]) -> list[str]:
    others: list[str] = []
    images = listed(root, folder, EXTENSIONS, others)
    if not images:
        inner = next((name for name in others if (root / name).is_dir()), None)
        inside = f" but the folder {inner}: images lie directly in the folder of their class" if inner else ""
        raise DataError(
            f"{root / folder}: the class folder holds no image{inside}; add images ({' '.join(EXTENSIONS)}), or remove "
            f"the class everywhere; the layout is {LAYOUT}"
        )
    strays += others
    return images


def _check_classes(part: Path, found: tuple[str, ...], classes: tuple[str, ...]) -> None:
    if found != classes:
        odd = [f"has no {name!r}" for name in classes if name not in found]
        odd += [f"{name!r} is not in train/" for name in found if name not in classes]
        raise DataError(f"{part}: its class folders are not those of train/: {', '.join(odd)}")


def _split_test_off(root: Path, files: Files) -> dict[str, Files]:
    train, test = {}, {}
    for name, images in files.items():
        if len(images) < 2:
            raise DataError(
                f"{root / name}: holds one image, and a class needs one to learn from and one to test with; add "
                "images, or make train/ and test/ yourself"
            )
        train[name], test[name] = split_off(images, TEST_SHARE)
    return {"train": train, "test": test}


def _join(root: Path, files: Files) -> Listing:
    labels = [label for label, images in enumerate(files.values()) for _ in images]
    return Listing(root, tuple(path for images in files.values() for path in images), torch.tensor(labels))


def _note_share(root: Path) -> str:
    return (
        f"{root}: has no train/ and test/, so {TEST_SHARE:.0%} of each class are the test split, chosen by the names "
        "of the files: the same ones whatever --seed is"
    )


def _readable(folder: Path, name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{folder}: the name of the class folder {os.fsencode(name)!r} is not UTF-8; rename it"
        ) from error
    return name
