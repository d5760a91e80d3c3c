"""A benchmark held against an earlier one of the same files: what grew, slowed down or lost more than it may.

A file is known by its name, with as many of its folders as tell it from the others. Sizes are counted, so they are met
or broken. Time is compared by the speed-up over the same baseline file, where both benchmarks have one, or else on the
same processor; the two intervals are combined as those of independent measurements. What was lost of the score is
compared on the same data, with Newcombe's interval for the difference of two shares, which does not know that the
images are the same and is the wider for it.

A file that is new has nothing that it could fall behind: it is named, and no limit is held against it. One that is gone
is named too, and no limit of it is shown: a gate that a file passes by not being there would guard nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.claims import Verdict, at_most, line
from benchmarks.document import Document, File, baseline, number, record, short_names
from compress.text import printable

COUNTED = {"max-size": ("size", "bytes"), "max-params": ("parameters", ""), "max-macs": ("macs", "")}
MARKS: Mapping[str, str] = {
    "met": "✅ met",
    "broken": "❌ broken",
    "not shown": "❔ not shown",
    "new": "➕ new",
    "gone": "➖ gone",
}


@dataclass(frozen=True)
class Change:
    """What became of one quantity of one file.

    Attributes:
        words: What it was and is.
        least: By which share it grew at least, or points it lost; None where that cannot be told, as the words say.
        most: The same at most.
    """

    words: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Apart:
    """A file that only one of two benchmarks measured.

    Attributes:
        file: What it is called.
        kind: "new" or "gone".
        sentence: What that means.
    """

    file: str
    kind: Literal["new", "gone"]
    sentence: str

    def to_dict(self) -> dict[str, str]:
        """The same as JSON-able data."""
        return {"file": self.file, "kind": self.kind, "sentence": self.sentence}


def check(new: Document, old: Document, limits: Mapping[str, float]) -> list[Verdict]:
    """Every limit held against every file of the earlier benchmark.

    Args:
        new: A benchmark.
        old: The one it must not fall behind.
        limits: "max-size", "max-params", "max-macs" and "max-latency" to the share by which it may grow, 0.01 for 1 %;
            "max-drop" to the points of the score that may be lost.
    """
    found = _by_name(new)
    verdicts = []
    for name, file in _by_name(old).items():
        for limit, bound in limits.items() if not file["reason"] else ():
            change = _change(limit, name, (new, found.get(name)), (old, file))
            said = f"{name}: {change.words}, allowed: {bound_text(limit, bound)}"
            held = at_most(bound, change.least, change.most)
            verdicts.append(Verdict(name, limit, bound, held, said))
    return verdicts


def apart(new: Document, old: Document) -> list[Apart]:
    """The files that only one of them measured.

    Args:
        new: A benchmark.
        old: The one that it is held against.
    """
    now, then = _by_name(new), _by_name(old)
    measured = {name for name, file in then.items() if not file["reason"]}
    come = [name for name, file in now.items() if name not in measured and not file["reason"]]
    gone = [name for name in then if name in measured and name not in now]
    return [
        *(Apart(name, "new", f"{name}: not compared, for it {_place(name, old, 'earlier')}") for name in come),
        *(Apart(name, "gone", f"{name}: {_place(name, new, 'new')}, so no limit of it is shown") for name in gone),
    ]


def compared(verdicts: Iterable[Verdict], found: Iterable[Apart]) -> list[Verdict]:
    """The verdicts on files that both benchmarks measured: what is gone is said once, and not limit by limit."""
    gone = {one.file for one in found if one.kind == "gone"}
    return [one for one in verdicts if one.file not in gone]


def lines(found: Sequence[Apart]) -> list[str]:
    """A line for each."""
    return [line(one.kind, one.sentence) for one in found]


def bound_text(limit: str, bound: float) -> str:
    """A limit as it was typed: "+1 %", "0.3 points"."""
    return f"{bound:g} points" if limit == "max-drop" else f"{100 * bound:+.4g} %"


def markdown(verdicts: Sequence[Verdict], new: Document, found: Sequence[Apart] = ()) -> str:
    """How many limits are met, and a table of verdicts, for a pull request.

    Args:
        verdicts: See `check`.
        new: The benchmark that they are about.
        found: See `apart`.
    """
    said = [
        *((one.held, one.sentence) for one in compared(verdicts, found)),
        *((one.kind, one.sentence) for one in found),
    ]
    rows = [f"| {MARKS[kind]} | {sentence.replace('|', chr(92) + '|')} |" for kind, sentence in said]
    machine = new["machine"]
    about = f"Measured {new['created']} on {machine['cpu']}, edgepress {machine['edgepress']}."
    met = sum(one.held == "met" for one in verdicts)
    head = f"**edgepress gate: {met} of {len(verdicts)} limits met**"
    return "\n".join([head, "", "| verdict | limit |", "| --- | --- |", *rows, "", about, ""])


def _by_name(document: Document) -> dict[str, File]:
    """What to call each file but the baseline, and the file."""
    base, files = baseline(document), document["files"]
    return {name: file for name, file in zip(_names(document), files, strict=True) if file is not base}


def _names(document: Document) -> list[str]:
    return short_names([file["name"] for file in document["files"]])


def _place(name: str, document: Document, which: str) -> str:
    """Why a file is not among those that a benchmark holds against its baseline."""
    place = document["baseline"]
    if place is not None and _names(document)[place] == name:
        return f"is the baseline of the {which} benchmark"
    there = name in _names(document)
    return f"was not measured in the {which} benchmark" if there else f"is not in the {which} benchmark"


def _change(limit: str, name: str, since: tuple[Document, File | None], old: tuple[Document, File]) -> Change:
    document, now = since
    if now is None:
        return Change(_place(name, document, "new"))
    if now["reason"]:
        return Change(f"was not measured: {printable(now['reason'])}")
    return _compared(limit, (document, now), old)


def _compared(limit: str, new: tuple[Document, File], old: tuple[Document, File]) -> Change:
    if limit == "max-latency":
        return _of_time(new, old)
    if limit == "max-drop":
        return _of_score(new, old)
    quantity, unit = COUNTED[limit]
    was, now = number(old[1], quantity), number(new[1], quantity)
    if not was or now is None:
        return Change(f"{quantity} is not known")
    grew = (now - was) / was
    return Change(f"{quantity} {was:,.0f} -> {now:,.0f} {unit}".rstrip() + f" ({100 * grew:+.2f} %)", grew, grew)


def _of_time(new: tuple[Document, File], old: tuple[Document, File]) -> Change:
    bases = [baseline(document) for document, _ in (new, old)]
    if all(bases) and bases[0]["sha256"] == bases[1]["sha256"]:  # type: ignore[index]
        was, now = (record(file, "speedup") for _, file in (old, new))
        if was is not None and now is not None:
            return _of_ratio(was, now, "speed-up", "x")
    if new[0]["machine"]["cpu"] != old[0]["machine"]["cpu"]:
        return Change("latency was measured on another processor, without the same baseline")
    was, now = (record(file, "latency") for _, file in (old, new))
    if was is None or now is None:
        return Change("latency is not known")
    return _of_ratio(now, was, "latency", "ms", turned=True)


def _of_ratio(
    top: Mapping[str, Any], bottom: Mapping[str, Any], words: str, unit: str, *, turned: bool = False
) -> Change:
    """How many times as long it takes, less 1: `top` over `bottom`."""
    middle = math.log(top["value"] / bottom["value"])
    half = math.hypot(*(math.log(one["high"] / one["low"]) / 2 for one in (top, bottom)))
    grew, least, most = (math.expm1(at) for at in (middle, middle - half, middle + half))
    was, now = (bottom, top) if turned else (top, bottom)
    told = f"{words} {was['value']:.4g} -> {now['value']:.4g} {unit}, takes {100 * grew:+.1f} %"
    return Change(f"{told} [{100 * least:+.1f}, {100 * most:+.1f}]", least, most)


def _of_score(new: tuple[Document, File], old: tuple[Document, File]) -> Change:
    datas = [document["data"] for document, _ in (new, old)]
    if None in datas or datas[0]["fingerprint"] != datas[1]["fingerprint"]:
        return Change("the score was not measured on the same data")
    metric = old[1]["metric"]
    was, now = (record(file, metric or "") for _, file in (old, new))
    if was is None or now is None or new[1]["metric"] != metric:
        return Change("the score is not known")
    lost = was["value"] - now["value"]
    least = lost - math.hypot(was["value"] - was["low"], now["high"] - now["value"])
    most = lost + math.hypot(was["high"] - was["value"], now["value"] - now["low"])
    if old[1]["sha256"] == new[1]["sha256"]:
        least = most = lost
    told = f"{metric} {100 * was['value']:.2f} -> {100 * now['value']:.2f} %, lost {100 * lost:+.2f} points"
    return Change(f"{told} [{100 * least:+.2f}, {100 * most:+.2f}]", 100 * least, 100 * most)
