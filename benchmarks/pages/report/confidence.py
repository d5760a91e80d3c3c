"""How often a file is right where it is so sure: its confidences, in bins of equally many images."""

from __future__ import annotations

from benchmarks.pages.report import svg
from benchmarks.pages.report.view import Entry
from benchmarks.raw import in_shares
from compress.calibration import binned
from compress.intervals import wilson_interval

WIDTH, HEIGHT = 420.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 10.0, 40.0


def draw(one: Entry) -> str:
    """The figure; "" where the file decides no images."""
    said = None if one.raw is None else one.raw.decided
    if said is None:
        return ""
    bins = binned(in_shares(said.confidences), said.decisions == said.labels)
    across, up = svg.Axis(0, 1, LEFT, WIDTH - RIGHT), svg.Axis(0, 1, HEIGHT - BOTTOM, TOP)
    parts = [_frame(across, up), svg.line((across(0), up(0)), (across(1), up(1)), "was even")]
    for sure, right, count in bins:
        low, high = wilson_interval(right, count)
        x, y = across(sure), up(right / count)
        parts.append(svg.line((x, up(sure)), (x, y), "gap"))
        parts.append(svg.line((x, up(low)), (x, up(high)), "whisker"))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="at"/>')
    words = "; ".join(f"sure to {100 * sure:.0f} %, right {100 * right / count:.0f} %" for sure, right, count in bins)
    return svg.figure(
        f"How sure {one.name} is, and how often right",
        words,
        (WIDTH, HEIGHT),
        "".join(parts),
        f"<b>How sure, and how often right.</b> {len(bins)} bins of equally many images. On the line a file is right "
        "as often as it says; below it it boasts. The thin lines are 95 % intervals.",
    )


def _frame(across: svg.Axis, up: svg.Axis) -> str:
    floor, parts = HEIGHT - BOTTOM, []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        shown = f"{100 * value:.0f}"
        parts.append(svg.line((LEFT, up(value)), (WIDTH - RIGHT, up(value)), "rule"))
        parts.append(svg.label(LEFT - 6, up(value) + 4, shown, "tick", "end"))
        parts.append(svg.label(across(value), floor + 17, shown, "tick", "middle"))
    parts.append(svg.label(WIDTH - RIGHT, HEIGHT - 6, "confidence, %", "name", "end"))
    parts.append(svg.label(LEFT, HEIGHT - 6, "\u2191 right, %", "name"))
    return "".join(parts)
