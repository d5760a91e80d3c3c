"""Every number that follows from raw samples: the one place that derives it, first for a benchmark, then for a proof.

What needs the files themselves (bytes, counts, masks) is not here; see `benchmarks.bench`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import endurance
from benchmarks.measure.latency import Latency
from benchmarks.noise import Floor, weigh
from benchmarks.raw import Raw
from benchmarks.scored import hurt, pair_records, score_records
from benchmarks.verdict import Ratio, Verdict, interval, judge, ratio
from compress.evidence import Record

WALL, CPU = "wall time", "CPU time"
FASTEST = 20  # percent of the calls


@dataclass(frozen=True)
class Derived:
    """What follows for one file.

    Attributes:
        records: In the order in which a document has them.
        verdict: On its latency beside the baseline's; None where it is held against nothing.
        hurt: Whom it hurts, see `benchmarks.scored.hurt`; None where that cannot be said.
        verdicts: Number of images of a call to the same, where it was measured on other batches too.
    """

    records: list[Record]
    verdict: Verdict | None
    hurt: dict[str, Any] | None = None
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)


def derive(raw: Raw, base: Raw | None, classes: Sequence[str]) -> Derived:
    """All that follows from what was read of a file, and of the baseline that it is held against.

    Args:
        raw: Of the file.
        base: Of the baseline; None for the baseline itself, or a file alone.
        classes: The names of what the data tell apart; none without data.
    """
    records = [*latency_records(raw), *condition_records(raw), *score_records(raw.said, classes)]
    if base is None:
        return Derived(records, None)
    floor, counts = noise(base), raw.cpu_counts and base.cpu_counts
    faster, verdict = _speedup(raw.latency, base.latency, floor, cpu_counts=counts)
    verdicts = {}
    for size in [size for size in raw.batches if size in base.batches]:
        more, verdicts[size] = _speedup(
            raw.batches[size], base.batches[size], floor, cpu_counts=counts, of=_of_batch(size)
        )
        faster += more
    pairs = list(pair_records(raw.said, base.said, classes))
    return Derived([*records, *faster, *pairs], verdict, hurt(raw.said, base.said, pairs), verdicts)


def noise(raw: Raw) -> Floor | None:
    """How far a file was found to be from itself; None where that was not measured."""
    if raw.again is None:
        return None
    own, again = raw.latency, raw.again
    sessions = min(len(own.wall_ms), len(again.wall_ms))
    return Floor(ratio(again.wall_medians_ms, own.wall_medians_ms), sessions, own.median_ms)


def told_noise(raw: Raw) -> dict[str, Any] | None:
    """What a document says of the noise floor, by the raw samples of its baseline; None where it was not measured."""
    floor = noise(raw)
    return None if floor is None else {"records": [one.to_dict() for one in floor.records()], "words": floor.line}


def told_verdicts(derived: Derived) -> dict[str, dict[str, str]]:
    """What a document says of other batches than the first: number of images to the verdict."""
    return {str(size): verdict.to_dict() for size, verdict in derived.verdicts.items()}


def latency_records(raw: Raw) -> Iterator[Record]:
    """What a run takes: in the middle, at the ends, and by the clock of CPU time where that counts."""
    taken = raw.latency
    sessions, calls = len(taken.wall_ms), taken.wall_ms.size
    yield latency_record("latency", taken)
    for percent in (95, 99, FASTEST):
        yield Record(f"latency_p{percent}", taken.percentile_ms(percent), n=calls, unit="ms")
    yield Record("latency_min", float(taken.wall_ms.min()), n=calls, unit="ms")
    if raw.cpu_counts:
        yield Record("latency_cpu", taken.cpu_median_ms, *interval(taken.cpu_medians_ms), n=sessions, unit="ms")
    yield _throughput("throughput", taken, raw.images)


def condition_records(raw: Raw) -> Iterator[Record]:
    """What it takes under what else was asked for: from pixels, on other batches, in fresh processes, on and on."""
    if raw.prepared is not None:
        yield latency_record("latency_with_preprocessing", raw.prepared)
    for size, taken in raw.batches.items():
        yield latency_record(f"latency{_of_batch(size)}", taken)
        yield _throughput(f"throughput{_of_batch(size)}", taken, size)
    if raw.start is not None:
        yield from endurance.start_records(raw.start)
    if raw.sustained is not None:
        yield from endurance.sustained_records(raw.sustained)


def latency_record(quantity: str, taken: Latency) -> Record:
    """The median of a run, and its interval over the sessions."""
    return Record(quantity, taken.median_ms, *interval(taken.wall_medians_ms), n=len(taken.wall_ms), unit="ms")


def _throughput(quantity: str, taken: Latency, images: int) -> Record:
    low, high = interval(taken.wall_medians_ms)
    ends = (1000 * images / high, 1000 * images / low)
    return Record(quantity, 1000 * images / taken.median_ms, *ends, n=len(taken.wall_ms), unit="images/s")


def _of_batch(size: int) -> str:
    return f" batch {size}"


def _speedup(
    own: Latency, other: Latency, floor: Floor | None, *, cpu_counts: bool, of: str = ""
) -> tuple[list[Record], Verdict]:
    ratios: dict[str, Ratio] = {WALL: ratio(other.wall_medians_ms, own.wall_medians_ms)}
    if cpu_counts:
        ratios[CPU] = ratio(other.cpu_medians_ms, own.cpu_medians_ms)
    sessions = len(own.wall_ms)
    records = [
        Record(f"{name}{of}", found.value, found.low, found.high, n=sessions, unit="x")
        for name, found in zip(("speedup", "speedup_cpu"), ratios.values(), strict=False)
    ]
    least = max(found.least for found in ratios.values())
    records.append(Record(f"least_speedup{of}", 1 + least, unit="x"))
    fastest = other.percentile_ms(FASTEST) / own.percentile_ms(FASTEST)
    return records, weigh(judge(ratios), ratios, floor, fastest)
