"""Where the image folders of this machine lie, by their fingerprint: what is exported later can be held against its own
data, and two folders of one name are not taken for each other.

A network's lineage keeps the fingerprint and no path; this note stays below the data root.
"""

from __future__ import annotations

import json
from pathlib import Path

from compress.data.known import data_root
from compress.errors import OutputError
from compress.files import write_whole

MOST = 200


def remember(fingerprint: str, folder: Path) -> None:
    """Note where the folder of a data set lies; where nothing can be noted, nothing is.

    Args:
        fingerprint: Of the data set, see `compress.data.Dataset`.
        folder: Where it was read from, absolute.
    """
    path, known = _note(), _read()
    if known.get(fingerprint) == str(folder):
        return
    known.pop(fingerprint, None)
    known[fingerprint] = str(folder)
    text = json.dumps(dict(list(known.items())[-MOST:]), indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda target: _write(target, text), force=True)
    except (OSError, OutputError):
        return


def recall(fingerprint: str) -> Path | None:
    """Where the data of that fingerprint were last read from, if there is still a folder; None where none is known."""
    folder = Path(_read().get(fingerprint, ""))
    return folder if folder.name and folder.is_dir() else None


def _note() -> Path:
    return data_root() / ".folders.json"


def _read() -> dict[str, str]:
    try:
        known = json.loads(_note().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: value for key, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
