"""Whom a file hurts, and whether it is as sure as it is right: what its average hides."""

from __future__ import annotations

from benchmarks.pages.hurt import calibration_text, flips_text, hurt_texts
from benchmarks.pages.report.markup import Cell, facts, signed, table, text
from benchmarks.pages.report.view import Entry

NAMED = 12  # classes that lost
HEADS = ("class", "IoU, %", "drop, points")


def draw(one: Entry) -> str:
    """What is to be said of a file, and of one that gives masks a table of its classes; "" where nothing is."""
    said = {
        "Whom it hurts": hurt_texts(one.file, NAMED),
        "Images": [flips_text(one.file)],
        "Confidence": [calibration_text(one.file)],
    }
    pairs = [(term, "<br>".join(map(text, parts))) for term, parts in said.items() if any(parts)]
    return (facts(pairs) if pairs else "") + _classes(one)


def _classes(one: Entry) -> str:
    """The IoU of every class, and how much less than the baseline's it is."""
    named = [found["quantity"].partition(" ")[2] for found in one.file["records"] if found["quantity"][:4] == "iou "]
    caption = "In brackets intervals of the drop that hold for all classes at once (95 %)."
    return table(caption, HEADS, [_row(one, name) for name in named], kind="sortable classes") if named else ""


def _row(one: Entry, name: str) -> list[Cell]:
    score, drop = one.value(f"iou {name}") or 0.0, one.record(f"drop {name}")
    cells = [Cell(text(name), name), Cell(f"{100 * score:.2f}", score)]
    if drop is None:
        return [*cells, Cell('<span class="none">\u2013</span>')]
    kind = "bad" if drop["low"] > 0 else ""
    ends = f"<small>[{signed(drop['low'])}, {signed(drop['high'])}]</small>"
    return [*cells, Cell(f'<span class="{kind}">{signed(drop["value"])}</span>{ends}', drop["value"])]
