"""Where the image folders of this machine lie, by name: what is exported later can be held against its own data.

A network's lineage keeps the name of its folder and no path; this note stays below the data root.
"""

from __future__ import annotations

import json
from pathlib import Path

from compress.data.known import data_root
from compress.errors import OutputError
from compress.files import write_whole

MOST = 200


def remember(name: str, folder: Path) -> None:
    """Note where a folder lies; where nothing can be noted, nothing is."""
    path, known = _note(), _read()
    if known.get(name) == str(folder):
        return
    known.pop(name, None)
    known[name] = str(folder)
    text = json.dumps(dict(list(known.items())[-MOST:]), indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda target: _write(target, text), force=True)
    except (OSError, OutputError):
        return


def recall(name: str) -> Path | None:
    """Where the folder of that name was when it was last opened, if it is still there."""
    folder = Path(_read().get(name, ""))
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
