"""What one file knows of each class: a bar a class, and which classes it takes for which."""

from __future__ import annotations

import numpy as np

from benchmarks.pages.report import svg
from benchmarks.pages.report.markup import signed, text
from benchmarks.pages.report.view import Entry, View, confusion
from benchmarks.raw import Counts
from compress.intervals import wilson_interval

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 420.0, 112.0, 76.0, 22.0, 6.0, 24.0
MOST_BARS, MOST_CELLS, MOST_COUNTS = 30, 30, 16
LETTERS = 16  # of a class's name, before it is cut
PAIRS = 12
FULL_MISTAKE = 0.3  # share of a class taken for another one that is drawn in full colour


def tallies(one: Entry, view: View) -> Counts | None:
    """(classes, classes), see `confusion`; None where the file decides no images."""
    said = None if one.raw is None else one.raw.decided
    return None if said is None else confusion(said.decisions, said.labels, len(view.classes))


def bars(one: Entry, view: View) -> str:
    """The figure of its accuracy by class, those with images; "" where it decides none."""
    counts = tallies(one, view)
    if counts is None:
        return ""
    base = None if one.base or view.base is None else tallies(view.base, view)
    chosen, chosen_words = _chosen(counts, base)
    low = min(_least(part, chosen) for part in (counts, base) if part is not None)
    across = svg.Axis(min(np.floor(low * 10 - 0.2) / 10, 0.9) if low > 0.3 else 0.0, 1.0, LEFT, WIDTH - RIGHT)
    height = TOP + ROW * len(chosen) + BOTTOM
    parts = [
        part
        for value in across.ticks(5)
        for part in (
            svg.line((across(value), TOP), (across(value), height - BOTTOM), "rule"),
            svg.label(across(value), height - 8, f"{100 * value:.0f}", "tick", "middle"),
        )
    ]
    hurt = {at for at in chosen if one.file["hurt"] and view.classes[at] in one.file["hurt"]["classes"]}
    for place, at in enumerate(chosen):
        pair, kind = (counts, base), "tick bad" if at in hurt else "tick"
        parts.append(_bar(at, TOP + ROW * place, pair, across, (view.classes[at], kind)))
    beside = (
        ""
        if base is None
        else (
            " The tick is the baseline; on the right the drop in points, red where more was lost than chance explains."
        )
    )
    cut = f" The axis begins at {100 * across.low:.0f}." if across.low else ""
    shares = _shares(counts)
    said = "; ".join(f"{view.classes[at]}: {100 * shares[at]:.1f} %" for at in chosen)
    return svg.figure(
        f"Accuracy by class of {one.name}",
        said,
        (WIDTH, height),
        "".join(parts),
        f"<b>Accuracy by class, %{chosen_words}.</b> The thin line is the 95 % interval.{beside}{cut}",
    )


def matrix(one: Entry, view: View) -> str:
    """Which class it takes for which: a figure, or of many classes a list of the most frequent; "" without images."""
    counts = tallies(one, view)
    if counts is None:
        return ""
    named = [f"{view.classes[row]} for {view.classes[column]}: {count}" for row, column, count in _mistaken(counts)]
    if len(view.classes) > MOST_CELLS:
        items = "".join(f"<li>{text(words)}</li>" for words in named)
        return f"<div><h4>Most often taken for another</h4><ol>{items}</ol></div>"
    side = (WIDTH - LEFT - 6) / len(view.classes)
    rows = counts.sum(axis=1)
    parts = []
    for at, name in enumerate(view.classes):
        middle = TOP + 16 + side * (at + 0.5)
        parts.append(svg.label(LEFT - 6, middle + 4, f"{svg.cut(name, LETTERS)} {at}", "tick", "end"))
        parts.append(svg.label(LEFT + side * (at + 0.5), TOP + 8, at, "tick", "middle"))
        if rows[at]:
            parts += [_cell(counts, at, column, side, int(rows[at])) for column in range(len(view.classes))]
        else:
            parts.append(svg.label(LEFT + 6, middle + 4, "no images", "tick"))
    return svg.figure(
        f"Confusion matrix of {one.name}",
        f"Rows are what an image shows, columns what it is taken for. Most often mistaken: {'; '.join(named)}.",
        (WIDTH, TOP + 22 + side * len(view.classes)),
        "".join(parts),
        "<b>Confusion matrix.</b> Rows: what an image shows. Columns: what it is taken for. "
        + (f"Most often {text(named[0])}." if named else "Nothing was mistaken."),
    )


def _shares(counts: Counts) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(np.diag(counts) / np.maximum(counts.sum(axis=1), 1))


def _least(counts: Counts, chosen: list[int]) -> float:
    return min(wilson_interval(int(counts[at, at]), int(counts[at].sum()))[0] for at in chosen)


def _chosen(counts: Counts, base: Counts | None) -> tuple[list[int], str]:
    """The classes to show, in their order, and what they are where they are not all."""
    there = np.flatnonzero(counts.sum(axis=1))
    if len(there) <= MOST_BARS:
        return there.tolist(), ""
    worth = _shares(counts) if base is None else _shares(counts) - _shares(base)
    worst = "lowest" if base is None else "that lost the most"
    return sorted(there[np.argsort(worth[there])[:MOST_BARS]].tolist()), f", of the {MOST_BARS} classes {worst}"


def _bar(at: int, top: float, pair: tuple[Counts, Counts | None], across: svg.Axis, told: tuple[str, str]) -> str:
    """One class: its row in both tallies, and its name and the kind of what is said of its drop."""
    (counts, base), (name, kind) = pair, told
    right, total = int(counts[at, at]), int(counts[at].sum())
    low, high = wilson_interval(right, total)
    share, middle = right / total, top + ROW / 2
    parts = [
        svg.label(LEFT - 6, middle + 4, svg.cut(name, LETTERS), "tick", "end"),
        svg.box(across.start, top + 4, across(share) - across.start, ROW - 8, "bar"),
        svg.line((across(low), middle), (across(high), middle), "whisker"),
        svg.label(WIDTH - RIGHT + 6, middle + 4, f"{100 * share:.1f}", "tick"),
    ]
    if base is not None:
        its = float(_shares(base)[at])
        parts.append(svg.line((across(its), top + 2), (across(its), top + ROW - 2), "was"))
        parts.append(svg.label(WIDTH - 2, middle + 4, signed(100 * (its - share), 1), kind, "end"))
    return "".join(parts)


def _cell(counts: Counts, row: int, column: int, side: float, total: int) -> str:
    x, y, count = LEFT + side * column, TOP + 16 + side * row, int(counts[row, column])
    drawn = svg.box(x, y, side - 1, side - 1, "cell")
    if not count:
        return drawn
    share = count / total
    kind, strength = ("right", share) if row == column else ("wrong", min(1.0, (share / FULL_MISTAKE) ** 0.5))
    step = max(1, round(10 * strength))
    drawn += svg.box(x, y, side - 1, side - 1, f"{kind} s{step}")
    if len(counts) <= MOST_COUNTS:
        shown = "count high" if step > 5 else "count"
        drawn += svg.label(x + side / 2 - 0.5, y + side / 2 + 3, count, shown, "middle")
    return drawn


def _mistaken(counts: Counts) -> list[tuple[int, int, int]]:
    """The most frequent mistakes: what was shown, what it was taken for, how often."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(at), len(wrong)) for at in order]
    return [(row, column, int(wrong[row, column])) for row, column in places if wrong[row, column]]
