"""Every number that follows from raw samples: the one place that derives it, first for a benchmark, then for a proof.

What needs the files themselves (bytes, counts, masks) is not here; see `benchmarks.bench`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measure.latency import Latency
from benchmarks.raw import Raw
from benchmarks.verdict import Verdict, interval, judge, ratio
from compress.evidence import Record
from compress.metrics import mcnemar, paired_interval, wilson_interval

WALL, CPU = "wall time", "CPU time"
TOP1 = "top1"


@dataclass(frozen=True)
class Derived:
    """What follows for one file.

    Attributes:
        records: In the order in which a document has them.
        verdict: On its latency beside the baseline's; None where it is held against nothing.
    """

    records: list[Record]
    verdict: Verdict | None


def derive(raw: Raw, base: Raw | None) -> Derived:
    """All that follows from what was read of a file, and of the baseline that it is held against.

    Args:
        raw: Of the file.
        base: Of the baseline; None for the baseline itself, or a file alone.
    """
    records = [*latency_records(raw), *score_records(raw)]
    if base is None:
        return Derived(records, None)
    faster, verdict = _speedup(raw, base)
    return Derived([*records, *faster, *pair_records(raw, base)], verdict)


def latency_records(raw: Raw) -> Iterator[Record]:
    """What a run takes: in the middle, at the ends, and by the clock of CPU time where that counts."""
    taken = raw.latency
    sessions, calls = len(taken.wall_ms), taken.wall_ms.size
    yield Record("latency", taken.median_ms, *interval(taken.wall_medians_ms), n=sessions, unit="ms")
    for percent in (95, 99, 20):
        yield Record(f"latency_p{percent}", taken.percentile_ms(percent), n=calls, unit="ms")
    yield Record("latency_min", float(taken.wall_ms.min()), n=calls, unit="ms")
    if raw.cpu_counts:
        yield Record("latency_cpu", taken.cpu_median_ms, *interval(taken.cpu_medians_ms), n=sessions, unit="ms")


def score_records(raw: Raw) -> Iterator[Record]:
    """The share of images that were decided rightly, with Wilson's interval; nothing where none were decided."""
    if raw.answered is not None:
        decisions, labels = raw.answered
        right, count = int((decisions == labels).sum()), len(labels)
        yield Record(TOP1, right / count, *wilson_interval(right, count), n=count, unit="share")


def pair_records(raw: Raw, base: Raw) -> Iterator[Record]:
    """What a file knows less than the baseline on the same images: drop, agreement, images lost and won.

    Nothing where one of them decides no images, or they were not asked the same.
    """
    if raw.answered is None or base.answered is None:
        return
    (decisions, labels), (others, same) = raw.answered, base.answered
    if labels.shape != same.shape or (labels != same).any():
        return
    right, was = decisions == labels, others == labels
    lost, won, count = int((was & ~right).sum()), int((right & ~was).sum()), len(labels)
    low, high = paired_interval(lost, won, count)
    yield Record("drop", 100 * (lost - won) / count, 100 * low, 100 * high, n=count, unit="points")
    yield Record("top1_agreement", float((decisions == others).mean()), n=count, unit="share")
    yield Record("images_lost", lost, n=count)
    yield Record("images_won", won, n=count)
    yield Record("mcnemar_p", mcnemar(lost, won), n=count)


def _speedup(raw: Raw, base: Raw) -> tuple[list[Record], Verdict]:
    own, other = raw.latency, base.latency
    ratios = {WALL: ratio(other.wall_medians_ms, own.wall_medians_ms)}
    if raw.cpu_counts and base.cpu_counts:
        ratios[CPU] = ratio(other.cpu_medians_ms, own.cpu_medians_ms)
    records = [
        Record(name, found.value, found.low, found.high, n=_sessions(own), unit="x")
        for name, found in zip(("speedup", "speedup_cpu"), ratios.values(), strict=False)
    ]
    least = max(found.least for found in ratios.values())
    return [*records, Record("least_speedup", 1 + least, unit="x")], judge(ratios)


def _sessions(latency: Latency) -> int:
    return len(latency.wall_ms)
