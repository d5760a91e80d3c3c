"""Files written whole or not at all, and never over one that is already there unless asked."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from compress.errors import OutputError


def check_target(path: Path, *, force: bool = False) -> Path:
    """`path` itself, once it is sure that a file can be written there.

    Args:
        path: Where a result will go.
        force: Allow a file that already exists to be replaced.

    Raises:
        OutputError: The folder is missing or not writable, the path is a folder, or the file exists without `force`.
    """
    folder = path.parent
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of a file to write")
        if not folder.is_dir():
            found = "is a file, not a folder" if folder.exists() else "does not exist; make it first"
            raise OutputError(f"{path}: its folder {folder} {found}")
        if path.exists() and not force:
            raise OutputError(f"{path} already exists; pass --force to replace it")
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}-"):
            pass
    except OSError as error:
        raise OutputError(f"{path}: cannot write into {folder}: {error.strerror}") from error
    return path


def write_whole(path: Path, write: Callable[[Path], None], *, force: bool = False) -> Path:
    """`path`, holding all of what `write` produced: it is written beside the target and then renamed.

    A process that is killed meanwhile leaves a hidden `.partial` file, which the next attempt replaces.

    Args:
        path: The target file.
        write: Writes the whole content to the path it is given.
        force: Allow a file that already exists to be replaced.

    Raises:
        OutputError: The target may not or cannot be written; an older file there is untouched.
    """
    check_target(path, force=force)
    staged = path.with_name(f".{path.name}.partial")
    try:
        write(staged)
        staged.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: not written: {error.strerror or error}") from error
    finally:
        staged.unlink(missing_ok=True)
    return path
