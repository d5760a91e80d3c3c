"""What a call took while each file ran on and on: its middle and its ends, from the first minute to the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.document import record
from benchmarks.measure.sustained import Sustained
from benchmarks.pages.report import svg
from benchmarks.pages.report.view import Entry, View
from benchmarks.pages.words import milliseconds

WIDTH, LEFT, RIGHT = 420.0, 46.0, 12.0
ROW, BAND, TOP, BOTTOM = 92.0, 56.0, 8.0, 40.0
BINS = 60
LETTERS = 30  # of a name, before it is cut
ENDS = (5, 50, 95)
NS_A_MINUTE = 60e9


@dataclass(frozen=True)
class Course:
    """A run, bin by bin.

    Attributes:
        entry: The file.
        minutes: (bins,), the middle of each.
        ends_ms: (3, bins), the percentiles 5, 50 and 95 of its calls.
    """

    entry: Entry
    minutes: list[float]
    ends_ms: list[list[float]]


def draw(view: View) -> str:
    """The figure; "" where no file ran so."""
    found = [_course(one, one.raw.sustained) for one in view.measured if one.raw is not None and one.raw.sustained]
    if not found:
        return ""
    across = svg.Axis(0.0, view.document["protocol"]["minutes"], LEFT, WIDTH - RIGHT)
    height = TOP + ROW * len(found) + BOTTOM
    parts = [_axis(across, height), *(_row(one, TOP + ROW * (at + 1), across) for at, one in enumerate(found))]
    said = "; ".join(f"{one.entry.name}: {_said(one.entry)}" for one in found)
    caption = "the line is the median, the band holds nine of ten calls."
    return svg.figure(
        "Calls over time", said, (WIDTH, height), "".join(parts), f"<b>Calls over time.</b> Each file alone; {caption}"
    )


def _course(entry: Entry, run: Sustained) -> Course:
    at, took_ms = run.starts_ns / NS_A_MINUTE, run.took_ns / 1e6
    bins = min(BINS, max(1, len(at) // 3))
    places = np.array_split(np.arange(len(at)), bins)
    ends = np.array([np.percentile(took_ms[place], ENDS) for place in places])
    return Course(entry, [float(at[place].mean()) for place in places], ends.T.tolist())


def _said(entry: Entry) -> str:
    drift = record(entry.file, "drift")
    told = "" if drift is None or drift["value"] is None else f", drift {drift['value']:.3f}x"
    return f"median {milliseconds(entry.value('sustained_latency'))} ms{told}"


def _axis(across: svg.Axis, height: float) -> str:
    floor, parts = height - BOTTOM + 4, []
    for value in across.ticks():
        parts.append(svg.line((across(value), TOP), (across(value), floor), "rule"))
        parts.append(svg.label(across(value), floor + 15, svg.tick_text(value), "tick", "middle"))
    parts.append(svg.label(WIDTH - RIGHT, height - 5, "minutes", "name", "end"))
    return "".join(parts)


def _row(one: Course, floor: float, across: svg.Axis) -> str:
    low, middle, high = one.ends_ms
    up = svg.padded([*low, *high], floor, floor - BAND)
    places = [min(max(value, across.low), across.high) for value in one.minutes]

    def path(values: list[float], at: list[float]) -> str:
        return "L".join(f"{across(x):.1f} {up(value):.1f}" for x, value in zip(at, values, strict=True))

    band = f'<path d="M{path(high, places)}L{path(low[::-1], places[::-1])}Z" class="hill"/>'
    line = f'<path d="M{path(middle, places)}" fill="none" class="middle"/>'
    ticks = "".join(svg.label(LEFT - 5, up(end) + 4, milliseconds(end), "tick", "end") for end in (min(low), max(high)))
    name = svg.label(LEFT, floor - BAND - 8, svg.cut(f"{one.entry.number}  {one.entry.name}", LETTERS), "row")
    value = svg.label(WIDTH - RIGHT, floor - BAND - 8, _said(one.entry), "row", "end")
    return svg.line((LEFT, floor), (WIDTH - RIGHT, floor), "axis") + band + line + ticks + name + value
