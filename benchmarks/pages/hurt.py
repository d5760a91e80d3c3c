"""What an average hides, in words: the classes and images that a file lost, and if it is as sure as it is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.document import Document, File, number, record
from benchmarks.scored import CALIBRATION
from compress.text import printable

NAMED = 3  # classes that the terminal names
NO_CLASS = "no class lost more than chance explains"


def lines(document: Document) -> Iterator[str]:
    """A line for each file of which there is something to say.

    Args:
        document: A benchmark, its files called as they are to be called.
    """
    for file in document["files"]:
        said = [part for part in (flips_text(file), hurt_text(file), calibration_text(file)) if part]
        if said:
            yield f"{printable(file['name'])}: {'; '.join(said)}"


def flips_text(file: File) -> str:
    """How many images a file lost and won; "" where that is not known."""
    lost, won = (number(file, f"images_{end}") for end in ("lost", "won"))
    return "" if lost is None or won is None else f"{lost:,.0f} images lost, {won:,.0f} won"


def hurt_text(file: File) -> str:
    """Which classes lost more than chance explains, in a part of a sentence; "" where that is not known."""
    hurt = hurt_texts(file, NAMED)
    return f"{'' if NO_CLASS in hurt else 'hurts '}{', '.join(hurt)}" if hurt else ""


def hurt_texts(file: File, most: int) -> list[str]:
    """Which classes lost more than chance explains, the first of them by name; no text where that is not known."""
    if not file["hurt"]:
        return []
    names = file["hurt"]["classes"]
    if not names:
        return [NO_CLASS]
    named = [f"{printable(name)}: {_points(record(file, f'drop {name}'))}" for name in names[:most]]
    return [*named, f"and {len(names) - most} more"] if len(names) > most else named


def calibration_text(file: File) -> str:
    """How far a file is from being as sure as it is right; "" where that was not measured."""
    found = record(file, CALIBRATION)
    if found is None:
        return ""
    value, low, high = (100 * found[part] for part in ("value", "low", "high"))
    return f"calibration error {value:.2f} % [{low:.2f}, {high:.2f}]"


def _points(drop: Mapping[str, Any] | None) -> str:
    """How much less a class is known than by the baseline, and its interval: what is lost is above 0."""
    assert drop is not None
    value, low, high = (0.0 + drop[part] for part in ("value", "low", "high"))
    return f"drop {value:+.2f} points [{low:+.2f}, {high:+.2f}]"
