"""Accuracy against what it costs: a point for every file, those on the Pareto front filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.document import record
from benchmarks.pages.report import placing, svg
from benchmarks.pages.report.markup import text
from benchmarks.pages.report.view import Entry, View

WIDTH, HEIGHT = 420.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 14.0, 44.0
BASELINE = 4.2  # of a number, below its middle


@dataclass(frozen=True)
class Cost:
    """What is held against accuracy.

    Attributes:
        quantity: Of the record.
        words: What it is called.
        unit: Of the axis.
        scale: From the record's unit to it.
    """

    quantity: str
    words: str
    unit: str
    scale: float = 1.0


COSTS = (Cost("latency", "latency", "ms"), Cost("size", "size", "kB", 1e-3))


@dataclass(frozen=True)
class Point:
    """A file in the figure: what it costs and its score in percent, each (value, low, high)."""

    entry: Entry
    cost: tuple[float, float, float]
    score: tuple[float, float, float]


def draw(view: View, cost: Cost) -> str:
    """The figure; "" where no two files have both a score and a cost."""
    points = _points(view, cost)
    if len(points) < 2:
        return ""
    across = svg.padded([end for one in points for end in one.cost], LEFT, WIDTH - RIGHT, log=True)
    up = svg.padded([end for one in points for end in one.score], HEIGHT - BOTTOM, TOP)
    best = front(points)
    leads, numbers = _numbers(points, across, up)
    parts = [
        _frame(across, up, f"{cost.words}, {cost.unit}", f"{view.score}, %"),
        _steps(best, across, up),
        *leads,
        *(_mark(one, one in best, across, up) for one in sorted(points, key=lambda one: one in best)),
        *numbers,
    ]
    said = "; ".join(f"{one.entry.name}: {one.score[0]:.2f} % at {one.cost[0]:.4g} {cost.unit}" for one in points)
    names = ", ".join(one.entry.name for one in best)
    return svg.figure(
        f"{view.score} against {cost.words}",
        f"{said}. On the Pareto front: {names}.",
        (WIDTH, HEIGHT),
        "".join(parts),
        f"<b>{text(view.score[:1].upper() + view.score[1:])} against {cost.words}.</b> Filled: on the Pareto front, "
        "nothing here is both better and cheaper. Square: the baseline. Whiskers: 95 %.",
    )


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats in cost without being worse in score, the cheapest first."""
    found: list[Point] = []
    for one in sorted(points, key=lambda point: (point.cost[0], -point.score[0])):
        if not found or one.score[0] > found[-1].score[0]:
            found.append(one)
    return found


def _points(view: View, cost: Cost) -> list[Point]:
    found = []
    for one in view.measured:
        score, spent = (record(one.file, name) for name in (one.metric, cost.quantity))
        if score is not None and spent is not None:
            found.append(Point(one, _ends(spent, cost.scale), _ends(score, 100)))
    return found


def _ends(found: Mapping[str, float], scale: float) -> tuple[float, float, float]:
    value = found["value"]
    low, high = (value if found[end] is None else found[end] for end in ("low", "high"))
    return scale * value, scale * low, scale * high


def _frame(across: svg.Axis, up: svg.Axis, x_words: str, y_words: str) -> str:
    floor, parts = HEIGHT - BOTTOM, []
    for value in up.ticks():
        parts.append(svg.line((LEFT, up(value)), (WIDTH - RIGHT, up(value)), "rule"))
        parts.append(svg.label(LEFT - 6, up(value) + 4, svg.tick_text(value), "tick", "end"))
    for value in across.ticks():
        parts.append(svg.line((across(value), floor), (across(value), floor + 4), "axis"))
        parts.append(svg.label(across(value), floor + 17, svg.tick_text(value), "tick", "middle"))
    parts.append(svg.line((LEFT, floor), (WIDTH - RIGHT, floor), "axis"))
    parts.append(svg.label(WIDTH - RIGHT, HEIGHT - 6, f"{x_words} (log)", "name", "end"))
    parts.append(svg.label(LEFT, HEIGHT - 6, f"\u2191 {y_words}", "name"))
    return "".join(parts)


def _steps(best: Sequence[Point], across: svg.Axis, up: svg.Axis) -> str:
    first = best[0]
    path = [f"M{across(first.cost[0]):.1f} {HEIGHT - BOTTOM:.1f}V{up(first.score[0]):.1f}"]
    path += [f"H{across(one.cost[0]):.1f}V{up(one.score[0]):.1f}" for one in best[1:]]
    return f'<path d="{"".join(path)}H{WIDTH - RIGHT:.1f}" class="front"/>'


def _mark(one: Point, best: bool, across: svg.Axis, up: svg.Axis) -> str:
    x, y, kind = across(one.cost[0]), up(one.score[0]), "mark on" if best else "mark"
    whiskers = svg.line((x, up(one.score[1])), (x, up(one.score[2])), "whisker")
    whiskers += svg.line((across(one.cost[1]), y), (across(one.cost[2]), y), "whisker")
    if one.entry.base:
        return whiskers + svg.box(x - 5, y - 5, 10, 10, kind)
    return f'{whiskers}<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" class="{kind}"/>'


def _numbers(points: Sequence[Point], across: svg.Axis, up: svg.Axis) -> tuple[list[str], list[str]]:
    """The lines that lead to numbers which had to give way to others, and the number of each file."""
    marks = [(across(one.cost[0]), up(one.score[0])) for one in points]
    lines = [((x, up(one.score[1])), (x, up(one.score[2]))) for (x, _), one in zip(marks, points, strict=True)]
    corners = ((LEFT, TOP), (WIDTH - 2, HEIGHT - BOTTOM))
    words = [str(one.entry.number) for one in points]
    places = placing.placed(placing.Scene(marks, words, corners, lines))
    set_out = list(zip(marks, places, words, strict=True))
    leads = [svg.line(mark, place, "lead") for mark, place, word in set_out if placing.led(mark, place, word)]
    return leads, [svg.label(x, y + BASELINE, word, "number", "middle") for _, (x, y), word in set_out]
