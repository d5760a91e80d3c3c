"""What one run of each file took: every call that was timed, as a hill over a common axis."""

from __future__ import annotations

import numpy as np

from benchmarks.pages.report import svg
from benchmarks.pages.report.view import Entry, View
from benchmarks.pages.words import milliseconds

WIDTH, LEFT, RIGHT = 420.0, 12.0, 12.0
ROW, HILL, TOP, BOTTOM = 56.0, 28.0, 6.0, 40.0
BINS = 120
LETTERS = 44  # of a name, before it is cut
SHOWN = (0.1, 99.5)  # percentiles of all calls between which a file is drawn


def draw(view: View) -> str:
    """The figure; "" where nothing was timed."""
    timed = view.measured
    if not timed:
        return ""
    ends = [end for one in timed for end in np.percentile(_calls(one), SHOWN)]
    across = svg.padded([float(end) for end in ends], LEFT, WIDTH - RIGHT, log=True, share=0.03)
    height = TOP + ROW * len(timed) + BOTTOM
    parts = [_axis(across, height)]
    parts += [_row(one, TOP + ROW * (place + 1), across) for place, one in enumerate(timed)]
    said = "; ".join(
        f"{one.name}: median {milliseconds(one.value('latency'))} ms, 95 % of calls within "
        f"{milliseconds(one.value('latency_p95'))} ms"
        for one in timed
    )
    count = sum(_calls(one).size for one in timed)
    return svg.figure(
        "How long one call takes",
        said,
        (WIDTH, height),
        "".join(parts),
        f"<b>How long one call takes.</b> {count:,} calls; the bar is the median, the thin one the 95th percentile, "
        "the dots are the medians of the sessions.",
    )


def _calls(one: Entry) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    assert one.raw is not None
    return one.raw.latency.wall_ms.ravel()


def _axis(across: svg.Axis, height: float) -> str:
    floor, parts = height - BOTTOM + 4, []
    for value in across.ticks():
        parts.append(svg.line((across(value), TOP), (across(value), floor), "rule"))
        parts.append(svg.label(across(value), floor + 15, svg.tick_text(value), "tick", "middle"))
    parts.append(svg.label(WIDTH - RIGHT, height - 5, "ms a call (log)", "name", "end"))
    return "".join(parts)


def _row(one: Entry, floor: float, across: svg.Axis) -> str:
    assert one.raw is not None
    edges = np.geomspace(across.low, across.high, BINS + 1)
    counts, _ = np.histogram(_calls(one), edges)
    smooth = np.convolve(counts, (0.25, 0.5, 0.25), mode="same")
    heights = HILL * smooth / max(float(smooth.max()), 1.0)
    step = (WIDTH - LEFT - RIGHT) / BINS
    seen = np.flatnonzero(heights > 0.15)
    first, last = (int(seen[0]), int(seen[-1])) if len(seen) else (0, 0)
    places = [(LEFT + (at + 0.5) * step, floor - heights[at]) for at in range(first, last + 1)]
    path = "".join(f"L{x:.1f} {y:.1f}" for x, y in places)
    hill = f'<path d="M{places[0][0]:.1f} {floor:.1f}{path}L{places[-1][0]:.1f} {floor:.1f}Z" class="hill"/>'
    dots = "".join(
        f'<circle cx="{across(float(value)):.1f}" cy="{floor + 5:.1f}" r="2" class="dot"/>'
        for value in one.raw.latency.wall_medians_ms
        if across.low <= value <= across.high
    )
    middle, late = (one.value(name) or 0.0 for name in ("latency", "latency_p95"))
    marks = _bar(across, middle, floor, HILL, "middle") + _bar(across, late, floor, HILL / 2, "late")
    words = svg.label(LEFT, floor - HILL - 6, svg.cut(f"{one.number}  {one.name}", LETTERS), "row")
    value = svg.label(WIDTH - RIGHT, floor - HILL - 6, f"{milliseconds(middle)} ms", "row strong", "end")
    return svg.line((LEFT, floor), (WIDTH - RIGHT, floor), "axis") + hill + marks + dots + words + value


def _bar(across: svg.Axis, value: float, floor: float, height: float, kind: str) -> str:
    return svg.line((across(value), floor), (across(value), floor - height), kind) if value <= across.high else ""
