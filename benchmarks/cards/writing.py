"""The cards of a shipped file, written: a folder of them for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.cards.cyclonedx import bom
from benchmarks.cards.huggingface import readme
from benchmarks.cards.intoto import statement
from benchmarks.cards.known import Known
from compress.files import write_whole

BOM, TEST, README = "bom.cdx.json", "test-result.intoto.json", "README.md"


def cards(known: Known) -> dict[str, str]:
    """Name to content of all that can be said of a file: a test result only where something was claimed of it.

    Args:
        known: The file.
    """
    tested = statement(known)
    found = {README: readme(known), BOM: _json(bom(known))}
    return found | ({TEST: _json(tested)} if tested else {})


def write(folder: Path, written: Mapping[str, Mapping[str, str]], *, force: bool = False) -> Path:
    """`folder`, holding a folder of cards for each file, whole.

    Args:
        folder: Where they go.
        written: Name of the file to what `cards` gave.
        force: Allow a folder that already exists to be replaced.

    Raises:
        OutputError: It may not or cannot be written.
    """
    return write_whole(folder, partial(_fill, written), force=force, folder=True)


def _fill(written: Mapping[str, Mapping[str, str]], folder: Path) -> None:
    for name, texts in written.items():
        (folder / name).mkdir(parents=True)
        for title, text in texts.items():
            (folder / name / title).write_text(text, encoding="utf-8")


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
