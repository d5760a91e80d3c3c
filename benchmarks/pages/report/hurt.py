"""Whom a file hurts, and whether it is as sure as it is right: what its average hides, in words."""

from __future__ import annotations

from benchmarks.pages.hurt import NO_CLASS, calibration_text, flips_text
from benchmarks.pages.report.markup import Cell, facts, signed, table, text
from benchmarks.pages.report.view import Entry

HEADS = ("class", "drop, points", "score, %", "images")


def draw(one: Entry) -> str:
    """What is to be said of a file; "" where nothing is."""
    said = [("Images", text(flips_text(one.file))), ("Confidence", text(calibration_text(one.file)))]
    pairs = [(term, words) for term, words in said if words]
    found = one.file["hurt"]
    if found is not None and not found["classes"]:
        pairs.insert(0, ("Hurts", text(NO_CLASS)))
    return (facts(pairs) if pairs else "") + (_classes(one) if found is not None and found["classes"] else "")


def _classes(one: Entry) -> str:
    """The classes that lost more than chance explains, the one that lost the most first."""
    caption = (
        "Hurt: classes that lost more than chance explains. In brackets intervals of which all hold at once (95 %)."
    )
    return table(caption, HEADS, [_row(one, name) for name in one.file["hurt"]["classes"]], kind="hurt")


def _row(one: Entry, name: str) -> list[Cell]:
    drop = one.record(f"drop {name}")
    score = one.record(f"{'iou' if one.metric == 'miou' else one.metric} {name}")
    assert drop is not None
    ends = f"<small>[{signed(drop['low'])}, {signed(drop['high'])}]</small>"
    value = "" if score is None else f"{100 * score['value']:.2f}"
    return [Cell(text(name)), Cell(f"{signed(drop['value'])}{ends}"), Cell(value), Cell(f"{drop['n']:,}")]
