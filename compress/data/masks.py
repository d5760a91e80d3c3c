"""Mask folders: images/<split>/* and, under the same names, masks/<split>/*.png, found, paired and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.data.decode import read_values
from compress.data.entries import EXTENSIONS, PARTS, listed, note_strays
from compress.data.found import VOID, Listing, Masks, Parts
from compress.errors import DataError

MASK_LAYOUT = "images/train/* and images/test/* or images/val/*, and masks/<split>/*.png of the same names"
VOID_WORDS = ("void", "ignore", "unlabel")
NUMBERED = re.compile(r"(\d+)\s+(\S.*)")

Pairs = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Legend:
    """What the values of masks mean.

    Attributes:
        classes: Their names.
        values: The value of each.
        void: The values of pixels that are left open, besides 255.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    void: tuple[int, ...] = ()


def is_mask_folder(root: Path) -> bool:
    """Whether a folder holds images/ and masks/ and no train/ of classes."""
    return (root / "images").is_dir() and (root / "masks").is_dir() and not (root / "train").is_dir()


def scan_masks(root: Path) -> Parts:
    """The files of a mask folder; `test` is the test split, else val, and a val beside a test is `val`.

    The classes are those of classes.txt, else the values that the masks hold, which are then all read, with a note.
    Files without a partner that would need one are an error; what is no image, and a mask without an image, is skipped
    with a note.

    Args:
        root: The folder that holds images/ and masks/.

    Raises:
        DataError: A split, a mask or a class is missing, two images have one name, or classes.txt cannot be read.
    """
    present = [part for part in PARTS if (root / "images" / part).is_dir()]
    if "train" not in present or len(present) == 1:
        missing = "images/test/ or images/val/" if "train" in present else "images/train/"
        raise DataError(f"{root}: has no {missing}; it must hold {MASK_LAYOUT}")
    strays: list[str] = []
    pairs = {part: _pair(root, part, strays) for part in present}
    notes = note_strays(root, strays, "are no images, or masks of none")
    path = root / "classes.txt"
    if path.is_file():
        legend = read_legend(path)
    else:
        legend = _found_legend(root, [mask for _, masks in pairs.values() for mask in masks])
        values = ", ".join(map(str, legend.values))
        notes = (f"{root}: has no classes.txt, so the classes are the values that its masks hold: {values}", *notes)
    parts = [Listing(root, images, Masks(masks, legend.values, legend.void)) for images, masks in pairs.values()]
    train, test, *val = parts
    return Parts(legend.classes, train, val[0] if val else None, test, notes)


def read_legend(path: Path) -> Legend:
    """The classes of a classes.txt: one a line, a name, or its value and its name.

    Without values the first line is 0. A name with "void", "ignore" or "unlabel" in it marks pixels that are left open.

    Raises:
        DataError: The file is not such a list; the line is named.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    lines = [line for line in lines if line]
    matches = [NUMBERED.fullmatch(line) for line in lines]
    plain = [line for line, match in zip(lines, matches, strict=True) if match is None]
    if plain and len(plain) < len(lines):
        raise DataError(
            f"{path}: some lines begin with a value and {plain[0]!r} does not; give every line one, or none"
        )
    named = [(int(match[1]), match[2]) if match else (number, lines[number]) for number, match in enumerate(matches)]
    void = [value for value, name in named if any(word in name.lower() for word in VOID_WORDS)]
    kept = [(value, name) for value, name in named if value not in void]
    _check_legend(path, named, kept)
    return Legend(tuple(name for _, name in kept), tuple(value for value, _ in kept), tuple(void))


def _check_legend(path: Path, named: Sequence[tuple[int, str]], kept: Sequence[tuple[int, str]]) -> None:
    for column in zip(*named, strict=True):
        twice = next((entry for entry in column if column.count(entry) > 1), None)
        if twice is not None:
            raise DataError(f"{path}: {twice!r} stands there twice; values and names must differ")
    high = next((value for value, _ in named if value > VOID), None)
    if high is not None:
        raise DataError(f"{path}: value {high}; the values of masks are 0 to 255")
    if VOID in dict(kept):
        raise DataError(
            f"{path}: {VOID} is {dict(kept)[VOID]!r}, but {VOID} is always void; give that class another value"
        )
    if len(kept) < 2:
        raise DataError(f"{path}: names {len(kept)} classes besides void; at least 2 are needed, one a line")


def _found_legend(root: Path, masks: Sequence[str]) -> Legend:
    found = np.zeros(256, bool)
    for mask in masks:
        found |= np.bincount(read_values(f"{root}/{mask}").reshape(-1), minlength=256) > 0
    values = tuple(int(value) for value in np.flatnonzero(found) if value != VOID)
    if len(values) < 2:
        raise DataError(
            f"{root / 'masks'}: hold {len(values)} values besides {VOID}; at least 2 classes are needed; name them in "
            f"{root / 'classes.txt'}, a value and a name a line"
        )
    return Legend(tuple(map(str, values)), values)


def _pair(root: Path, part: str, strays: list[str]) -> Pairs:
    """The images of a split and their masks, each by name; what is neither is put with the strays."""
    images = _by_stem(root, f"images/{part}", EXTENSIONS, strays)
    if not (root / "masks" / part).is_dir():
        raise DataError(f"{root / 'masks' / part}: is missing; every image of images/{part}/ needs its mask there")
    others: list[str] = []
    masks = _by_stem(root, f"masks/{part}", (".png",), others)
    if not images:
        raise DataError(
            f"{root / 'images' / part}: holds no image; add images ({' '.join(EXTENSIONS)}); "
            f"the layout is {MASK_LAYOUT}"
        )
    for stem, image in images.items():
        if stem not in masks:
            near = next((other for other in others if Path(other).stem == stem), None)
            instead = f"; there is {near}, and masks are 8-bit PNG files" if near else ""
            raise DataError(f"{root / image}: has no mask {root / 'masks' / part / stem}.png{instead}; add it")
    strays += others + [mask for stem, mask in masks.items() if stem not in images]
    return tuple(images.values()), tuple(masks[stem] for stem in images)


def _by_stem(root: Path, folder: str, extensions: tuple[str, ...], strays: list[str]) -> dict[str, str]:
    """Base names to the files of a folder that have one of the extensions."""
    files: dict[str, str] = {}
    for name in listed(root, folder, extensions, strays):
        stem = Path(name).stem
        if stem in files:
            raise DataError(f"{root / name}: {files[stem]} has the same base name, and one mask; rename one of them")
        files[stem] = name
    return files
