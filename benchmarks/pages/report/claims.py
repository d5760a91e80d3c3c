"""The claims of a benchmark, file by file: what was measured, beside its bound, and whether it was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks import claims
from benchmarks.claims import BOUNDS, Seen
from benchmarks.pages.report import svg
from benchmarks.pages.report.markup import Cell, section, signed, table, text
from benchmarks.pages.report.view import Entry, View
from benchmarks.pages.words import amount
from compress.errors import DataError

MARKS = {"met": "\u2713", "broken": "\u2717", "not shown": "?"}
KINDS = {"met": "good", "broken": "bad", "not shown": "open"}
WIDTH, HEIGHT, EDGE = 120.0, 18.0, 6.0
SPEED, DROP = "min-speedup", "max-drop"
PREFIXED = ("max-size", "max-params", "max-macs")


def tally(view: View) -> str:
    """How many claims are met, broken and not shown, each a badge; "" where nothing was claimed."""
    held = Counter(one["held"] for one in view.document["claims"])
    badges = [
        f'<li class="badge {KINDS[name]}">{mark} <b>{held[name]}</b> {name}</li>'
        for name, mark in MARKS.items()
        if held[name]
    ]
    return f'<ul class="tally" aria-label="Claims">{"".join(badges)}</ul>\n' if badges else ""


def draw(view: View) -> str:
    """The section of the claims."""
    found = view.document["claims"]
    if not found:
        return section("claims", "Claims", "<p>Nothing was claimed: --max-size, --min-speedup and the like claim.</p>")
    names = list(dict.fromkeys(one["claim"] for one in found))
    bounds = {one["claim"]: one["bound"] for one in found}
    heads = ["file", *(f"{_called(name, view)}<small>{_asked(name, bounds[name])}</small>" for name in names)]
    held = [entry for entry in view.entries if not entry.base or view.base is None]
    judged = _judged(view, found, len(names))
    rows = [
        [_name(entry), *(_cell(entry, one) for one in judged[entry.place])] for entry in held if entry.place in judged
    ]
    said = "Met only where the whole 95 % interval lies within the bound; broken only where all of it lies outside."
    caption = f"{said}{_both_clocks(view)}"
    return section("claims", "Claims", table(caption, heads, rows, kind="claims"))


def _both_clocks(view: View) -> str:
    """Why the interval of a claimed speed-up is not that of the table of files; "" where it is, or none is claimed."""
    claimed = any(one["claim"] == SPEED for one in view.document["claims"])
    if not claimed or not any(one.record("speedup_cpu") for one in view.measured):
        return ""
    return (
        " A speed-up is that by wall time; the interval that it is held to spans both clocks, wall and CPU time, and "
        "so may be wider than the one among the files, which is of wall time alone."
    )


def _judged(view: View, found: list[Mapping[str, Any]], width: int) -> dict[int, list[Mapping[str, Any]]]:
    """The claims on each file, by its place: they stand in the document file by file.

    Raises:
        DataError: One of them is missing.
    """
    places = [one.place for one in sorted(view.entries, key=lambda one: one.place) if not one.base]
    if len(found) != width * len(places):
        raise DataError(f"the document has {len(found)} claims; {width} on each of {len(places)} files were expected")
    return {place: found[at * width : (at + 1) * width] for at, place in enumerate(places)}


def _name(entry: Entry) -> Cell:
    return Cell(f'<span class="no">{entry.number}</span> {text(entry.name)}', entry.number)


def _called(name: str, view: View) -> str:
    about = BOUNDS[name]
    return text(about.words or view.score)


def _asked(name: str, bound: float) -> str:
    sign = "\u2264" if BOUNDS[name].most else "\u2265"
    return f"{sign} {_amount(name, bound)}"


def _amount(name: str, value: float) -> str:
    unit = {"bytes": "B"}.get(BOUNDS[name].unit, BOUNDS[name].unit)
    if name in PREFIXED:
        return text(amount(value, unit))
    return text(f"{claims.number_text(value)}{'' if unit in ('x', '%') else ' '}{unit}")


def _cell(entry: Entry, one: Mapping[str, Any]) -> Cell:
    held, seen = one["held"], claims.look(entry.file, one["claim"])
    badge = f'<span class="badge {KINDS[held]}">{MARKS[held]} {held}</span>'
    if seen is None:
        return Cell(f"{badge}<small>not measured</small>")
    value = f'<span class="value">{_value(one["claim"], seen.value)}</span> <small>{_ends(one["claim"], seen)}</small>'
    return Cell(f"{badge}{value}{_beside(one['claim'], one['bound'], seen)}", seen.value)


def _value(name: str, value: float) -> str:
    return f"{signed(value)} {text(BOUNDS[name].unit)}" if name == DROP else _amount(name, value)


def _ends(name: str, seen: Seen) -> str:
    if seen.sure:
        return ""
    if seen.least is None or seen.most is None:
        return "no interval"
    words = _points if name == DROP else claims.number_text
    return f"[{words(seen.least)}, {words(seen.most)}]"


def _points(value: float) -> str:
    return signed(value, 3)  # a digit more than among the files: ends are compared with a bound


def _beside(name: str, bound: float, seen: Seen) -> str:
    """The value and its interval on a line, and the side of the bound that is allowed; it says nothing new."""
    ends = [one for one in (bound, seen.value, seen.least, seen.most) if one is not None]
    at = svg.padded(ends, EDGE, WIDTH - EDGE, log=min(ends) > 0 and max(ends) > 4 * min(ends), share=0.12)
    middle, edge = HEIGHT / 2, at(bound)
    start, end = (0.0, edge) if BOUNDS[name].most else (edge, WIDTH)
    parts = [svg.box(start, 3, end - start, HEIGHT - 6, "allowed"), svg.line((edge, 1), (edge, HEIGHT - 1), "bound")]
    if seen.least is not None and seen.most is not None:
        parts.append(svg.line((at(seen.least), middle), (at(seen.most), middle), "span"))
    parts.append(f'<circle cx="{at(seen.value):.1f}" cy="{middle:.1f}" r="3.5" class="at"/>')
    return f'<svg class="beside" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true">{"".join(parts)}</svg>'
