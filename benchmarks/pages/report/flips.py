"""What changed against the baseline, image by image: lost, won, and otherwise wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.pages.report import svg
from benchmarks.pages.report.markup import text
from benchmarks.pages.report.view import Entry, View
from benchmarks.raw import Counts
from benchmarks.scored import flipped

WIDTH, SIDE, ROW, TOP, BOTTOM = 420.0, 50.0, 44.0, 24.0, 8.0
LETTERS = 56  # of a name, before it is cut


@dataclass(frozen=True)
class Flips:
    """The images that a file decides otherwise than the baseline, by their place in the test split.

    Attributes:
        lost: Only the baseline was right.
        won: Only the file is.
        other: Both are wrong, each in its way.
        labels: (N,) the class of every image of the split.
    """

    lost: Counts
    won: Counts
    other: Counts
    labels: Counts


def flips(one: Entry, base: Entry | None) -> Flips | None:
    """What changed; None where one of both decides no images, or they were asked others."""
    if base is None or one.base or one.raw is None or base.raw is None:
        return None
    mine, its = one.raw.decided, base.raw.decided
    if mine is None or its is None or mine.labels.shape != its.labels.shape:
        return None
    return Flips(**flipped(mine, its), labels=mine.labels)


def draw(view: View) -> str:
    """The figure of all files; "" where nothing can have changed."""
    found = [(one, changed) for one in view.entries if (changed := flips(one, view.base)) is not None]
    if not found or view.base is None:
        return ""
    most = max(max(len(one.lost), len(one.won), 1) for _, one in found)
    middle, reach = WIDTH / 2, WIDTH / 2 - SIDE
    parts = [svg.label(middle - 6, 14, "\u2190 lost", "name", "end"), svg.label(middle + 6, 14, "won \u2192", "name")]
    for place, (one, changed) in enumerate(found):
        top = TOP + ROW * place + 18
        lost, won = (reach * len(part) / most for part in (changed.lost, changed.won))
        parts.append(svg.label(8, top - 5, svg.cut(f"{one.number}  {one.name}", LETTERS), "row"))
        parts += [svg.box(middle - lost, top, lost, 14, "lost"), svg.box(middle, top, won, 14, "won")]
        parts.append(svg.label(middle - lost - 5, top + 11, f"{len(changed.lost):,}", "tick", "end"))
        parts.append(svg.label(middle + won + 5, top + 11, f"{len(changed.won):,}", "tick"))
        parts.append(svg.line((middle, top - 2), (middle, top + 16), "axis"))
    height = TOP + ROW * len(found) + BOTTOM
    said = "; ".join(f"{one.name}: {len(changed.lost)} lost, {len(changed.won)} won" for one, changed in found)
    return svg.figure(
        "Images lost and won",
        said,
        (WIDTH, height),
        "".join(parts),
        f"<b>Images lost and won.</b> Lost: only {text(view.base.name)} is right; won: only the file is. A drop of "
        "nothing can still be many images that changed.",
    )


def listing(changed: Flips, classes: tuple[str, ...]) -> str:
    """Which images changed, class by class, to be unfolded."""
    total = len(changed.labels)
    kinds = (("lost", changed.lost), ("won", changed.won), ("wrong otherwise", changed.other))
    summary = ", ".join(f"{len(part):,} {name}" for name, part in kinds)
    inner = "".join(f"<h4>{name}: {len(part):,}</h4>{_by_class(part, changed.labels, classes)}" for name, part in kinds)
    return (
        f'<details class="flips"><summary>{sum(len(part) for _, part in kinds):,} of {total:,} images flipped: '
        f"{summary}</summary>\n<p>Places in the test split, from 0, by what they show.</p>{inner}</details>\n"
    )


def _by_class(part: Counts, labels: Counts, classes: tuple[str, ...]) -> str:
    rows = []
    for at in np.unique(labels[part]):
        places = part[labels[part] == at]
        listed = ", ".join(map(str, places.tolist()))
        rows.append(f"<dt>{text(classes[int(at)])} <span>{len(places)}</span></dt><dd>{listed}</dd>")
    return f'<dl class="places">{"".join(rows)}</dl>' if rows else "<p>None.</p>"
