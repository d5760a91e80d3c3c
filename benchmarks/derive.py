"""Every number that follows from raw samples: the one place that derives it, first for a benchmark, then for a proof.

What needs the files themselves (bytes, counts, masks) is not here; see `benchmarks.bench`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure.latency import Latency
from benchmarks.raw import Raw
from benchmarks.scored import hurt, pair_records, score_records
from benchmarks.verdict import Verdict, interval, judge, ratio
from compress.evidence import Record

WALL, CPU = "wall time", "CPU time"


@dataclass(frozen=True)
class Derived:
    """What follows for one file.

    Attributes:
        records: In the order in which a document has them.
        verdict: On its latency beside the baseline's; None where it is held against nothing.
        hurt: Whom it hurts, see `benchmarks.scored.hurt`; None where that cannot be said.
    """

    records: list[Record]
    verdict: Verdict | None
    hurt: dict[str, Any] | None


def derive(raw: Raw, base: Raw | None, classes: Sequence[str]) -> Derived:
    """All that follows from what was read of a file, and of the baseline that it is held against.

    Args:
        raw: Of the file.
        base: Of the baseline; None for the baseline itself, or a file alone.
        classes: The names of what the data tell apart; none without data.
    """
    records = [*latency_records(raw), *score_records(raw.said, classes)]
    if base is None:
        return Derived(records, None, None)
    faster, verdict = _speedup(raw, base)
    pairs = list(pair_records(raw.said, base.said, classes))
    return Derived([*records, *faster, *pairs], verdict, hurt(raw.said, base.said, pairs))


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
