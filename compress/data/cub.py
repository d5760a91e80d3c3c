"""CUB-200-2011 as it is published: images/<class>/*, and lists that say which image is of which part and class."""

from __future__ import annotations

from pathlib import Path

import torch

from compress.data.found import Listing, Parts
from compress.errors import DataError

IMAGES, SPLIT, LABELS, CLASSES = "images.txt", "train_test_split.txt", "image_class_labels.txt", "classes.txt"


def is_cub(root: Path) -> bool:
    """Whether a folder holds images/ and the lists of CUB-200-2011."""
    return (root / "images").is_dir() and all((root / name).is_file() for name in (IMAGES, SPLIT, LABELS))


def scan_cub(root: Path) -> Parts:
    """The files that the lists name, in their order; nothing is decoded yet.

    A class is called as in classes.txt, else as its folder: 001.Black_footed_Albatross is "Black footed Albatross".

    Args:
        root: The folder that holds images/ and the lists.

    Raises:
        DataError: A list is damaged or names a file that is missing, or a part is without an image of a class.
    """
    files, trains, labels = (_read(root / name) for name in (IMAGES, SPLIT, LABELS))
    for name, table in ((SPLIT, trains), (LABELS, labels)):
        if table.keys() != files.keys():
            raise DataError(f"{root / name}: lists {len(table)} images, not the {len(files)} of {IMAGES}; get it again")
    known = _read(root / CLASSES) if (root / CLASSES).is_file() else {}
    folders = {labels[key]: known.get(labels[key], files[key].partition("/")[0]) for key in files}
    order = sorted(folders, key=lambda label: (len(label), label))
    if len(order) < 2:
        raise DataError(f"{root / LABELS}: names {len(order)} classes; at least 2 are needed")
    missing = next((file for file in files.values() if not (root / "images" / file).is_file()), None)
    if missing is not None:
        raise DataError(f"{root / 'images' / missing}: is in {IMAGES} and missing; get the data set again")

    def part(is_train: str) -> Listing:
        keys = [key for key in files if trains[key] == is_train]
        targets = torch.tensor([order.index(labels[key]) for key in keys], dtype=torch.int64)
        empty = sorted(set(range(len(order))) - set(targets.tolist()))
        if empty:
            of = "training" if is_train == "1" else "test"
            raise DataError(f"{root / SPLIT}: leaves class {folders[order[empty[0]]]!r} without a {of} image")
        return Listing(root, tuple(f"images/{files[key]}" for key in keys), targets)

    return Parts(tuple(_spoken(folders[label]) for label in order), part("1"), None, part("0"))


def _read(path: Path) -> dict[str, str]:
    """The first word of every line to the rest of it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    words = [line.split(maxsplit=1) for line in lines if line.strip()]
    short = next((" ".join(pair) for pair in words if len(pair) < 2), None)
    if short is not None:
        raise DataError(f"{path}: line {short!r} must be a number and a value; get the data set again")
    return {key: value.strip() for key, value in words}


def _spoken(folder: str) -> str:
    number, dot, name = folder.partition(".")
    return (name if dot and number.isdigit() else folder).replace("_", " ")
