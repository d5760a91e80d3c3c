"""The entries of a folder: its images, and what is skipped with a note."""

from __future__ import annotations

import os
from pathlib import Path

from compress.errors import DataError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = ("train", "test", "val")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name; nothing that is hidden.

    Raises:
        DataError: It cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error


def listed(root: Path, folder: str, extensions: tuple[str, ...], strays: list[str]) -> list[str]:
    """The files of a folder with one of the extensions, as paths relative to `root`; the rest is put with the strays.

    Raises:
        DataError: What has such a name is no file.
    """
    files: list[str] = []
    for entry in entries(root / folder):
        name = below(folder, entry.name)
        if not entry.name.lower().endswith(extensions):
            strays.append(name)
        elif entry.is_file():
            files.append(name)
        else:
            raise DataError(f"{entry.path}: is not an image file; remove it, or hide it with a leading dot")
    return files


def note_strays(root: Path, strays: list[str], what: str = "are no images by their names") -> tuple[str, ...]:
    """A note on what was skipped, if anything was, and why."""
    if not strays:
        return ()
    more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
    return (f"{root}: skipped {len(strays)} that {what}: {', '.join(strays[:3])}{more}",)


def below(folder: str, name: str) -> str:
    """The path of an entry relative to the root that `folder` is relative to."""
    return f"{folder}/{name}" if folder else name
