"""What was timed to decide how a network is cut, kept beside the result: a run that goes on decides alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.training.journal import Journal

SUFFIX = ".measured.json"


class Measured:
    """What was timed, now or by the run that is resumed.

    Args:
        journal: Of the result.

    Raises:
        OutputError: What an interrupted run kept cannot be read.
    """

    def __init__(self, journal: Journal) -> None:
        self.path = measured_path(journal.output)
        self._kept = _read(self.path) if journal.resume and self.path.exists() else {}

    def once(self, what: str, measure: Callable[[], Any]) -> Any:
        """The value of that name, measured where it is not kept yet.

        Args:
            what: What it is called.
            measure: Gives what JSON can hold.

        Raises:
            OutputError: It cannot be kept.
        """
        from compress.files import write_text

        if what not in self._kept:
            self._kept[what] = measure()
            write_text(self.path, json.dumps(self._kept, indent=2) + "\n", force=True)
        return self._kept[what]


def measured_path(output: Path) -> Path:
    """Where it is kept."""
    return output.with_suffix(SUFFIX)


def _read(path: Path) -> dict[str, Any]:
    from compress.errors import OutputError

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OutputError(f"{path}: is not what an interrupted run measured; begin anew with --force")
    return found
