"""Published values beside those of a study: for which of its rows each one stands.

They are a list of objects such as

    {"method": "indistill", "fraction": 0.1, "scores": {"top1": 0.9057}, "source": "InDistill, Table 2"}

`scores` are fractions between 0 and 1. Of PLACES any may be given: a value stands for every row of the study that
agrees in all of them; for the controls of equal epochs only where `epochs` is one of them. `source` says where it was
published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.errors import DataError

PLACES = ("student", "depth", "fraction", "method", "task", "ratio", "epochs")
SCORES, SOURCE = "scores", "source"

Entry = Mapping[str, Any]


def read_published(path: Path) -> list[dict[str, Any]]:
    """The entries in a JSON file.

    Raises:
        DataError: There is no such file, or what it holds are no published values.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give the JSON of published values")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    try:
        check_published(entries)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return list(entries)


def check_published(entries: Any) -> None:
    """Nothing, if these are entries.

    Raises:
        DataError: They are not; it says which one, and why.
    """
    if not isinstance(entries, list):
        raise DataError(f"published values are a {type(entries).__name__}; give a list of objects")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not entry.get(SCORES) or not isinstance(entry[SCORES], dict):
            raise DataError(f"published value {number} has no scores; give an object such as {{'top1': 0.9}}")
        unknown = [key for key in entry if key not in (*PLACES, SCORES, SOURCE)]
        if unknown:
            allowed = ", ".join((*PLACES, SCORES, SOURCE))
            raise DataError(f"published value {number} has {', '.join(unknown)}; it may have {allowed}")
        for name, value in entry[SCORES].items():
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise DataError(f"published value {number}: {name} is {value!r:.40}; scores are fractions in [0, 1]")


def published_for(cell: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, float]:
    """Score to published value for one row of a table; where two entries stand for it, the later one."""
    found: dict[str, float] = {}
    for entry in entries:
        places = [key for key in PLACES if key in entry]
        if all(entry[key] == cell[key] for key in places) and (not cell["control"] or "epochs" in entry):
            found |= entry[SCORES]
    return found


def sources(entries: Sequence[Entry]) -> list[str]:
    """Where they were published, each once."""
    return list(dict.fromkeys(str(entry[SOURCE]) for entry in entries if entry.get(SOURCE)))
