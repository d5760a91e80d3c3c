"""What a text says of a size, a count, a time or a plain number, and what it may say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}  # in milliseconds


@dataclass(frozen=True)
class Amount:
    """A kind of number that somebody writes down.

    Attributes:
        allowed: What may be written, for a message.
        value: The number of a text; None for a text that is none of this kind.
    """

    allowed: str
    value: Callable[[str], float | None]

    def read(self, text: str) -> float:
        """The number that a text says.

        Raises:
            ValueError: It says none, or one that is not allowed.
        """
        found = self.value(text)
        if found is None:
            raise ValueError(f"got {text!r:.60}; give {self.allowed}")
        return found


def within(low: float, high: float, ends: str) -> Amount:
    """A number of an interval.

    Args:
        low: The lower end.
        high: The upper end.
        ends: Which of the two belong to it: "[]", "(]", "[)" or "()".
    """

    def value(text: str) -> float | None:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        inside = low < number < high or (number == low and ends[0] == "[") or (number == high and ends[1] == "]")
        return number if inside else None

    least, most = "at least" if ends[0] == "[" else "above", "at most" if ends[1] == "]" else "below"
    return Amount(f"a number {least} {low:g} and {most} {high:g}", value)


def measured(units: Mapping[str, float], example: str) -> Amount:
    """A number above 0 with one of these units, in the first that counts 1.

    Args:
        units: Lower case, to what they count: `COUNTS` or `TIMES`.
        example: For the message.
    """

    def value(text: str) -> float | None:
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([a-z]*)", text.strip(), re.ASCII | re.IGNORECASE)
        unit = found[2].lower() if found else ""
        return float(found[1]) * units[unit] if found and unit in units and float(found[1]) else None

    unit = " such as" if "" in units else " and its unit, such as"
    return Amount(f"a number above 0{unit} {example}", value)


def _bytes(text: str) -> int | None:
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]?)(i?)B?", text.strip(), re.ASCII | re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        return None
    return int(float(found[1]) * (1024 if found[3] else 1000) ** " KMGT".index(found[2].upper() or " "))


FILE_SIZE = Amount("a size above 0 such as 500KB, 2MB or 1.5MiB", lambda text: _bytes(text) or None)
SIZE = Amount("a size such as 500MB, 2GB or 1.5GiB, or 0", _bytes)
PARAMETERS = measured(COUNTS, "50k or 1.5M")
MACS = measured(COUNTS, "500k or 10M")
LATENCY = measured(TIMES, "1ms or 500us")
SPEEDUP, DROP, PERCENT = within(0, 1e9, "()"), within(-100, 100, "[]"), within(0, 100, "[]")
