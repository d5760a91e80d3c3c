"""Every number that follows from what files said of a test split: how much each knows, and what it lost.

A record of one class has its name behind that of the quantity: "top1 shirt", "drop shirt". Whom a file hurts are the
classes whose drop has an interval above 0. That interval alone is wider than the 95 % of all others: it is Bonferroni's
for as many classes as there are, so that of 100 files that hurt no class about 95 name none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.raw import Counts, Decided, Retrieved, Said, Segmented, Shares, in_shares
from benchmarks.verdict import LEVEL, student_quantile
from compress.calibration import calibration_error
from compress.evidence import Record
from compress.intervals import mcnemar, paired_interval, wilson_interval
from compress.task_names import HEADLINES

TOP1, MIOU, CALIBRATION = "top1", "miou", "calibration_error"
SEED = 0  # of all that is drawn


def score_records(said: Said | None, classes: Sequence[str]) -> Iterator[Record]:
    """What a file knows, with intervals over the images of the split; nothing where it was not asked.

    Args:
        said: Of the split.
        classes: The names of the classes.
    """
    if isinstance(said, Decided):
        yield from _decided(said, classes)
    elif isinstance(said, Segmented):
        from benchmarks.segmented import split_records

        yield from split_records(said, classes)
    elif isinstance(said, Retrieved):
        for name, steps in said.scores.items():
            scores = in_shares(steps)
            value, half = _mean(scores)
            low, high = max(value - half, 0.0), min(value + half, 1.0)
            yield Record(name, value, low, high, n=len(scores), unit="share")


def pair_records(said: Said | None, base: Said | None, classes: Sequence[str]) -> Iterator[Record]:
    """What a file knows less than the baseline on the same images; nothing where they were not asked the same.

    Args:
        said: By the file.
        base: By the baseline.
        classes: The names of the classes.
    """
    if isinstance(said, Decided) and isinstance(base, Decided):
        if _same(said, base):
            yield from _decided_pair(said, base, classes)
    elif isinstance(said, Segmented) and isinstance(base, Segmented):
        from benchmarks.segmented import split_pair

        yield from split_pair(said, base, classes)
    elif isinstance(said, Retrieved) and isinstance(base, Retrieved):
        own, its = (in_shares(one.scores[HEADLINES["retrieval"]]) for one in (said, base))
        if own.shape == its.shape:
            value, half = _mean(100 * (its - own))
            low, high = max(value - half, -100.0), min(value + half, 100.0)
            yield Record("drop", value, low, high, n=len(own), unit="points")


def hurt(said: Said | None, base: Said | None, records: Sequence[Record]) -> dict[str, Any] | None:
    """Whom a file hurts, as JSON-able data; None where that cannot be said.

    Keys: `classes`, the names of those that lost more than chance explains, the most first; and of files that decide
    images `lost`, `won` and `other`, the places of the images that only the baseline, only the file or neither decides
    rightly though they decide otherwise.

    Args:
        said: By the file.
        base: By the baseline.
        records: All that there are of the file, see `pair_records`.
    """
    if not any(one.quantity == "drop" for one in records) or isinstance(said, Retrieved):
        return None
    drops = [one for one in records if one.quantity.startswith("drop ")]
    lost = [one for one in drops if one.low is not None and one.low > 0]
    names = [one.quantity.partition(" ")[2] for one in sorted(lost, key=lambda one: -float(one.value or 0))]
    if not isinstance(said, Decided) or not isinstance(base, Decided):
        return {"classes": names}
    return {"classes": names} | {name: places.tolist() for name, places in flipped(said, base).items()}


def flipped(said: Decided, base: Decided) -> dict[str, Counts]:
    """The places of the images that a file decides otherwise than the baseline: `lost`, `won` and `other`."""
    right, was = said.decisions == said.labels, base.decisions == base.labels
    wrong = ~right & ~was & (said.decisions != base.decisions)
    return {
        name: np.flatnonzero(part) for name, part in (("lost", was & ~right), ("won", right & ~was), ("other", wrong))
    }


def class_name(classes: Sequence[str], at: int) -> str:
    """Of the class at a place, from 0."""
    return classes[at] if at < len(classes) else f"class {at}"


def _decided(said: Decided, classes: Sequence[str]) -> Iterator[Record]:
    right = said.decisions == said.labels
    hits, count = int(right.sum()), len(right)
    yield Record(TOP1, hits / count, *wilson_interval(hits, count), n=count, unit="share")
    error = calibration_error(in_shares(said.confidences), right, level=LEVEL, seed=SEED)
    yield Record(CALIBRATION, *error, n=count, unit="share", seed=SEED)
    for at, own in _of_classes(said.labels):
        hits, count = int(right[own].sum()), int(own.sum())
        name = f"{TOP1} {class_name(classes, at)}"
        yield Record(name, hits / count, *wilson_interval(hits, count), n=count, unit="share")


def _decided_pair(said: Decided, base: Decided, classes: Sequence[str]) -> Iterator[Record]:
    right, was = said.decisions == said.labels, base.decisions == base.labels
    lost, won, count = int((was & ~right).sum()), int((right & ~was).sum()), len(right)
    yield _drop("drop", lost, won, count, LEVEL)
    yield Record("top1_agreement", float((said.decisions == base.decisions).mean()), n=count, unit="share")
    yield Record("images_lost", lost, n=count)
    yield Record("images_won", won, n=count)
    yield Record("mcnemar_p", mcnemar(lost, won), n=count)
    there = list(_of_classes(said.labels))
    for at, own in there:
        lost, won = int((was & ~right & own).sum()), int((right & ~was & own).sum())
        yield _drop(f"drop {class_name(classes, at)}", lost, won, int(own.sum()), shared_level(len(there)))


def _drop(name: str, lost: int, won: int, count: int, level: float) -> Record:
    low, high = paired_interval(lost, won, count, level)
    return Record(name, 100 * (lost - won) / count, 100 * low, 100 * high, n=count, unit="points")


def _of_classes(labels: Counts) -> Iterator[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]]:
    """Each class that has images, and which they are."""
    for at in np.unique(labels).tolist():
        yield int(at), labels == at


def shared_level(classes: int) -> float:
    """The level of each of so many intervals of which all hold at once as often as `LEVEL` says, or more often."""
    return 1 - (1 - LEVEL) / max(classes, 1)


def _same(said: Decided, base: Decided) -> bool:
    return said.labels.shape == base.labels.shape and not (said.labels != base.labels).any()


def _mean(values: Shares) -> tuple[float, float]:
    """The mean, and how far its Student's t interval reaches to both sides; without end of a single value."""
    count = len(values)
    if count < 2:
        return float(values.mean()), math.inf
    error = float(values.std(ddof=1)) / math.sqrt(count)
    return float(values.mean()), error * student_quantile((1 + LEVEL) / 2, count - 1)
