"""What is claimed of files, and whether a benchmark shows it: met, broken, or not shown.

A claim is met only where the whole interval of what was measured lies within its bound, and broken only where all of it
lies outside. Whatever lies between was not shown, by a measurement as long as this one; nor is a file shown to be the
faster by one whose verdict is that it is too noisy to judge.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from benchmarks.document import Document, File, record
from compress import amounts
from compress.amounts import Amount
from compress.errors import DataError, unknown_name
from compress.text import counted

Held = Literal["met", "broken", "not shown"]


@dataclass(frozen=True)
class Bound:
    """What a claim is about.

    Attributes:
        quantity: Of the record; "" for the metric that stands for all.
        most: Whether it may be at most so much, or has to be at least so much.
        words: What it is called.
        kind: What it may be; see `read_claims`.
        unit: Of the claim.
        scale: The record's value in the unit of the claim, times this, is what is compared.
        alone: It is about the file alone; else about the file and the baseline.
    """

    quantity: str
    most: bool
    words: str
    kind: Amount
    unit: str = ""
    scale: float = 1.0
    alone: bool = True


BOUNDS: Mapping[str, Bound] = {
    "max-size": Bound("size", True, "size", amounts.FILE_SIZE, "bytes"),
    "max-params": Bound("parameters", True, "parameters", amounts.PARAMETERS),
    "max-macs": Bound("macs", True, "MACs", amounts.MACS),
    "max-latency": Bound("latency", True, "latency", amounts.LATENCY, "ms"),
    "min-speedup": Bound("speedup", False, "speed-up", amounts.SPEEDUP, "x", alone=False),
    "max-drop": Bound("drop", True, "drop", amounts.DROP, "points", alone=False),
    "min-accuracy": Bound("", False, "", amounts.PERCENT, "%", 100.0),
}
WITH_UNITS = ("max-size", "max-params", "max-macs", "max-latency")
_EXAMPLE = 'max-size = "28KB"'
SCORES = ("max-drop", "min-accuracy")


@dataclass(frozen=True)
class Verdict:
    """Whether one claim about one file was shown.

    Attributes:
        file: Its name, as it was given.
        claim: A key of `BOUNDS`.
        bound: In the unit of the claim.
        held: What may be said.
        sentence: The same in words, with value and interval.
    """

    file: str
    claim: str
    bound: float
    held: Held
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON-able data."""
        return {name: getattr(self, name) for name in ("file", "claim", "bound", "held", "sentence")}


@dataclass(frozen=True)
class Seen:
    """What a claim is held against, in its unit.

    Attributes:
        value: What was measured.
        least: What it may be at least; None where there is no interval.
        most: What it may be at most, likewise.
        sure: It was counted, and not estimated.
    """

    value: float
    least: float | None
    most: float | None
    sure: bool


def check_possible(claims: Iterable[str], *, paired: bool, scored: bool) -> None:
    """Nothing, once a benchmark can show all claims.

    Args:
        claims: Keys of `BOUNDS`.
        paired: There is a baseline.
        scored: There are data to be right or wrong on.

    Raises:
        DataError: One of them is about a baseline or a score, and there will be none.
    """
    for name in claims:
        if not BOUNDS[name].alone and not paired:
            raise DataError(f"{name}: is about a file and what it is held against; name another file, or --against")
        if name in SCORES and not scored:
            raise DataError(f"{name}: is about what is right; say on which images: --data")


def check(document: Document, claims: Mapping[str, float]) -> list[Verdict]:
    """Every claim held against every file but the baseline, or against a file alone.

    Args:
        document: A benchmark.
        claims: Key of `BOUNDS` to its bound.
    """
    held = [file for at, file in enumerate(document["files"]) if at != document["baseline"]]
    return [_held(file, name, bound) for file in held for name, bound in claims.items()]


def read_claims(path: Path) -> dict[str, float]:
    """The claims in a TOML file: a name, as of an option, and what the option takes: `max-latency = "0.49ms"`.

    A number that is no text is in the unit of the claim: `max-latency = 0.49`. A name may be written with "_" for "-".

    Raises:
        DataError: There is no such file, or it is not one of claims.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; give a TOML file of claims, such as {_EXAMPLE}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not TOML: {error}; write lines such as {_EXAMPLE}") from error
    if not found:
        raise DataError(f"{path}: holds no claim; write lines such as {_EXAMPLE}")
    claims: dict[str, float] = {}
    for written, bound in found.items():
        name = written.replace("_", "-")
        if name not in BOUNDS:
            raise DataError(f"{path}: {unknown_name('claim', written, BOUNDS)}")
        if name in claims:
            raise DataError(f"{path}: {name} is there with - and with _; leave one of the two out")
        claims[name] = _bound(name, bound, path)
    return claims


def _bound(name: str, written: object, path: Path) -> float:
    """The bound of a claim, in its unit, that a TOML file gives as a text or as a number."""
    kind, text, came = BOUNDS[name].kind, str(written), str(written)
    if isinstance(written, str):
        came = repr(written)
    elif isinstance(written, int | Decimal) and not isinstance(written, bool):
        text = f"{Decimal(written):f}{'ms' if kind is amounts.LATENCY else ''}"
    try:
        return float(kind.read(text))
    except ValueError as error:
        quoted = " (in quotes where it has a unit)" if name in WITH_UNITS else ""
        raise DataError(f"{path}: {name} = {came:.60}; give {kind.allowed}{quoted}") from error


def lines(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """A line for each."""
    return (line(one.held, one.sentence) for one in verdicts)


def judged(document: Document) -> tuple[list[Mapping[str, Any]], list[tuple[str, str]]]:
    """The claims on files that were measured, and of each that was not: its name, and what to say once of all its own.

    Args:
        document: A benchmark, with what became of its claims.
    """
    left_out = {file["name"] for file in document["files"] if file["reason"]}
    often = Counter(one["file"] for one in document["claims"] if one["file"] in left_out)
    said = [(name, f"{counted(count, 'claim')}, for it could not be measured") for name, count in often.items()]
    return [one for one in document["claims"] if one["file"] not in left_out], said


def line(held: str, sentence: str) -> str:
    """What may be said of one claim, and the sentence about it, in a line."""
    return f"{held:<10} {sentence}"


def look(file: File, name: str) -> Seen | None:
    """What a benchmark says of a file on what a claim is about; None where it was not measured.

    Args:
        file: Of a document.
        name: A key of `BOUNDS`.
    """
    about = BOUNDS[name]
    found = record(file, about.quantity or file.get("metric") or "")
    if found is None:
        return None
    sure = found["n"] is None
    least, most = _ends(file, found, about, sure=sure)
    return Seen(about.scale * found["value"], least, most, sure)


def number_text(value: float | None) -> str:
    """A number in four digits, or whole where it is large; "?" for none."""
    if value is None:
        return "?"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def asked_text(name: str, bound: float) -> str:
    """What a claim asks: "at most 0.49 ms"."""
    about = BOUNDS[name]
    return f"{'at most' if about.most else 'at least'} {_amount(bound, about.unit)}"


def _held(file: File, name: str, bound: float) -> Verdict:
    about, seen, asked = BOUNDS[name], look(file, name), asked_text(name, bound)
    called = f"{file['name']}: {about.words or about.quantity or file.get('metric') or 'score'}"
    if seen is None:
        return Verdict(file["name"], name, bound, "not shown", f"{called} was not measured, asked: {asked}")
    held = at_most(bound, seen.least, seen.most) if about.most else _at_least(bound, seen.least, seen.most)
    if (
        held == "met"
        and about.quantity == "speedup"
        and bound >= 1
        and (file.get("verdict") or {}).get("kind") == "noisy"
    ):
        held, called = "not shown", f"{called} (too noisy to judge)"
    value = _amount(seen.value, about.unit)
    return Verdict(file["name"], name, bound, held, f"{called} {value}{_ends_text(seen)}, asked: {asked}")


def _ends_text(seen: Seen) -> str:
    if seen.sure:
        return ""
    if seen.least is None:
        return ", without an interval"
    return f" [{number_text(seen.least)}, {number_text(seen.most)}]"


def _ends(file: File, found: Mapping[str, Any], about: Bound, *, sure: bool) -> tuple[float, float] | tuple[None, None]:
    """What the value may be at least and at most; of a speed-up by both clocks, where two were read."""
    if sure:
        return about.scale * found["value"], about.scale * found["value"]
    other = record(file, f"{about.quantity}_cpu") if not about.most else None
    ends = [one[end] for one in (found, other) if one for end in ("low", "high")]
    return (None, None) if None in ends else (about.scale * min(ends), about.scale * max(ends))


def at_most(bound: float, least: float | None, most: float | None) -> Held:
    """What may be said of a bound from above.

    Args:
        bound: What it may be at most.
        least: The lower end of the interval; None where there is none.
        most: The upper end, likewise.
    """
    if least is None or most is None:
        return "not shown"
    return "met" if most <= bound else "broken" if least > bound else "not shown"


def _at_least(bound: float, least: float | None, most: float | None) -> Held:
    if least is None or most is None:
        return "not shown"
    return "met" if least >= bound else "broken" if most < bound else "not shown"


def _amount(value: float | None, unit: str) -> str:
    return f"{number_text(value)} {unit}".rstrip()
