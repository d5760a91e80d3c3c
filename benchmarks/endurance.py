"""The numbers of a start and of a long run, from their raw samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.measure.start import Start
from benchmarks.measure.sustained import Sustained
from benchmarks.verdict import ratio
from compress.evidence import Record
from compress.intervals import wilson_interval

ENDS = 5
BLOCKS = 10

MISS_SHARE = "deadline_miss_share"


def start_records(start: Start) -> Iterator[Record]:
    """The medians over processes; their interval is the range, which holds the median of six with 97 %."""
    cold, peak = start.cold_ms, start.peak_bytes
    yield Record("cold_start", float(np.median(cold)), float(cold.min()), float(cold.max()), n=len(cold), unit="ms")
    if peak.size:
        middle, ends = float(np.median(peak)), (float(peak.min()), float(peak.max()))
        yield Record("peak_memory", middle, *ends, n=len(peak), unit="bytes")
    else:
        yield Record("peak_memory", None, unit="bytes", reason="this system does not tell what a process held at most")


def sustained_records(run: Sustained) -> Iterator[Record]:
    """What calls took, how that changed from the first fifth of the run to the last, and what frames came too late."""
    took_ms = run.took_ns / 1e6
    yield Record("sustained_latency", float(np.median(took_ms)), n=len(took_ms), unit="ms")
    yield Record("sustained_p99", float(np.percentile(took_ms, 99)), n=len(took_ms), unit="ms")
    yield _drift(run)
    between_ms = 1000 / run.fps if run.fps else 0.0
    stall_ms = max(float(run.stalls_ns.max()) / 1e6 - between_ms, 0.0)
    yield Record("longest_stall", stall_ms, n=run.count, unit="ms")
    if run.fps:
        misses = run.dropped + run.late
        yield Record("deadline_misses", misses, n=run.count, unit="frames")
        low, high = wilson_interval(misses, run.count)
        yield Record(MISS_SHARE, misses / run.count, low, high, n=run.count, unit="share")
        yield Record("frames_dropped", run.dropped, n=run.count, unit="frames")


def _drift(run: Sustained) -> Record:
    """The last fifth of the calls over the first, with Welch's interval over the medians of ten blocks of each."""
    calls = len(run.took_ns) // ENDS
    blocks = min(BLOCKS, calls)
    if blocks < 2:
        return Record("drift", None, unit="x", reason=f"{len(run.took_ns)} calls are too few to see one; run longer")
    first, last = (
        np.array([np.median(block) for block in np.array_split(part / 1e6, blocks)])
        for part in (run.took_ns[:calls], run.took_ns[-calls:])
    )
    found = ratio(last, first)
    return Record("drift", found.value, found.low, found.high, n=blocks, unit="x")
