"""Image folders: the files of train/<class>/*, test/<class>/* and val/<class>/*, or of <class>/*, found and checked."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from compress.data.chance import split_off
from compress.data.found import Listing, Parts
from compress.errors import DataError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUT = "train/<class>/* and test/<class>/* or val/<class>/*, or <class>/* alone"
PARTS = ("train", "test", "val")
TEST_SHARE = 0.2

Files = dict[str, list[str]]  # the name of a class to its images, as paths relative to the root


def scan(root: Path) -> Parts:
    """The files of an image folder, every part with the same classes; nothing is decoded yet.

    The classes are the sub-folders of train/ by name. `test` is test/, else val/; a val/ beside a test/ is `val`. Where
    there is none of the three, the classes are the sub-folders of the folder itself, and a fifth of each, at least one
    image, is `test`: chosen by the names of the files and by nothing else. Files that are no images by their names are
    skipped, with a note; hidden ones without.

    Args:
        root: The folder that holds train/, or the classes.

    Raises:
        DataError: The folder, a part or a class of it is missing or without an image, or the parts have other classes.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{root} {found}; give a folder that holds {LAYOUT}")
    present = [part for part in PARTS if (root / part).is_dir()]
    if present and ("train" not in present or len(present) == 1):
        missing = "test/ or val/" if "train" in present else "train/"
        raise DataError(f"{root}: has no {missing}; it must hold {LAYOUT}")
    strays: list[str] = []
    parts = {part: _list_classes(root, part, strays) for part in present or [""]}
    notes = _note_strays(root, strays)
    if not present:
        notes = (_note_share(root), *notes)
        parts = _split_test_off(root, parts[""])
    classes = tuple(parts["train"])
    for part in present:
        _check_classes(root / part, tuple(parts[part]), classes)
    train, test, *val = (_join(root, parts[part]) for part in PARTS if part in parts)
    return Parts(classes, train, val[0] if val else None, test, notes)


def _list_classes(root: Path, part: str, strays: list[str]) -> Files:
    """The images of a part; what is no image is put with the strays."""
    folder = root / part
    names: list[str] = []
    for entry in _entries(folder):
        if entry.is_dir():
            names.append(entry.name)
        else:
            strays.append(_below(part, entry.name))
    if len(names) < 2:
        inner = [name for name in names if (folder / name / "train").is_dir()]
        advice = f"did you mean {folder / inner[0]}?" if inner else f"the layout is {LAYOUT}"
        raise DataError(f"{folder}: holds {len(names)} class folders; at least 2 are needed; {advice}")
    return {_readable(folder, name): _list_images(root, _below(part, name), strays) for name in names}


def _list_images(root: Path, folder: str, strays: list[str]) -> list[str]:
    images: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    for entry in _entries(root / folder):
        if not entry.name.lower().endswith(EXTENSIONS):
            (folders if entry.is_dir() else others).append(_below(folder, entry.name))
        elif entry.is_file():
            images.append(_below(folder, entry.name))
        else:
            raise DataError(f"{entry.path}: is not an image file; remove it, or hide it with a leading dot")
    if not images:
        inside = f" but the folder {folders[0]}: images lie directly in the folder of their class" if folders else ""
        raise DataError(
            f"{root / folder}: the class folder holds no image{inside}; add images ({' '.join(EXTENSIONS)}), or remove "
            f"the class everywhere; the layout is {LAYOUT}"
        )
    strays += others + folders
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


def _note_strays(root: Path, strays: list[str]) -> tuple[str, ...]:
    if not strays:
        return ()
    more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
    return (f"{root}: skipped {len(strays)} that are no images by their names: {', '.join(strays[:3])}{more}",)


def _readable(folder: Path, name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{folder}: the name of the class folder {os.fsencode(name)!r} is not UTF-8; rename it"
        ) from error
    return name


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
