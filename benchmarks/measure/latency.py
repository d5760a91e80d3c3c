"""Latencies of several contenders that run in turn on one machine, and the ratio of two of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_CALLS, MAX_CALLS = 3, 400
MIN_WARMUP_CALLS = 5
CHUNK_VALUES = 4_000_000

Run = Callable[[], object]


@dataclass(frozen=True)
class Samples:
    """What one contender took, call by call.

    Attributes:
        times_ms: (rounds, calls), milliseconds, in the order in which they were measured.
    """

    times_ms: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.times_ms.ndim != 2 or self.times_ms.size == 0:
            raise ValueError(f"times: got shape {self.times_ms.shape}; give (rounds, calls), both at least 1")

    def percentile(self, percent: float) -> float:
        """The latency in ms that `percent` (0 to 100) of the calls do not exceed; linear between neighbours."""
        return float(np.percentile(self.times_ms, percent))

    @property
    def median_ms(self) -> float:
        """The median over all calls."""
        return self.percentile(50)

    @property
    def summary(self) -> dict[str, float | int]:
        """Median, 95th and 20th percentile and minimum in ms, and how many calls they rest on; JSON-able."""
        rounds, calls = self.times_ms.shape
        return {
            "median": self.median_ms,
            "p95": self.percentile(95),
            "p20": self.percentile(20),
            "min": float(self.times_ms.min()),
            "rounds": rounds,
            "calls": rounds * calls,
        }


@dataclass(frozen=True)
class Ratio:
    """The ratio of two medians and an interval around it."""

    value: float
    low: float
    high: float

    @property
    def unsure(self) -> bool:
        """Whether the interval contains 1, so that neither is known to be the slower."""
        return self.low <= 1 <= self.high


def measure(
    contenders: Mapping[str, Run], *, rounds: int = 60, round_ms: float = 20.0, warmup_ms: float = 300.0
) -> dict[str, Samples]:
    """Name to its samples: every round times every contender, and the order is rotated from round to round.

    A contender's calls a round are chosen from its warm-up so that they fill about `round_ms`, between 3 and 400 calls;
    a slow one and a fast one get about the same time. Each turn starts with one call that is not counted. The
    garbage collector rests meanwhile.

    Args:
        contenders: Name to a function that does one run.
        rounds: How often each contender has its turn, at least 2.
        round_ms: The length of one turn, in milliseconds.
        warmup_ms: How long each contender runs before the first round, in milliseconds; at least 5 calls.

    Raises:
        ValueError: There is no contender, or fewer than 2 rounds.
    """
    if not contenders:
        raise ValueError("contenders: got none; give at least one")
    if rounds < 2:
        raise ValueError(f"rounds: got {rounds}; at least 2 are needed for an interval")
    names = list(contenders)
    times: dict[str, list[list[int]]] = {name: [] for name in names}
    with _no_garbage_collection():
        calls = {name: _calls_a_round(run, round_ms, warmup_ms) for name, run in contenders.items()}
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(_turn(contenders[name], calls[name]))
    return {name: Samples(np.asarray(nanoseconds, dtype=np.float64) / 1e6) for name, nanoseconds in times.items()}


def ratio(slow: Samples, fast: Samples, *, resamples: int = 2000, level: float = 0.95, seed: int = 0) -> Ratio:
    """The median of `slow` over the median of `fast`, with a percentile bootstrap interval over rounds.

    Whole rounds are drawn, because calls of one round share what the machine did meanwhile, and the same rounds for
    both, because they were measured side by side.

    Args:
        slow: The numerator.
        fast: The denominator, of as many rounds.
        resamples: Bootstrap draws.
        level: Coverage of the interval, between 0 and 1.
        seed: Of the draws; equal arguments give an equal interval.

    Raises:
        ValueError: The two were not measured in the same rounds.
    """
    rounds = len(slow.times_ms)
    if rounds != len(fast.times_ms):
        raise ValueError(f"rounds: got {rounds} and {len(fast.times_ms)}; both must come from the same measurement")
    drawn = np.random.default_rng(seed).integers(rounds, size=(resamples, rounds))
    ratios = _medians(slow.times_ms, drawn) / _medians(fast.times_ms, drawn)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Ratio(slow.median_ms / fast.median_ms, float(low), float(high))


def _medians(times_ms: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median of each draw of rounds, a bounded number of draws at a time."""
    pieces = np.array_split(drawn, max(1, drawn.shape[0] * times_ms.size // CHUNK_VALUES))
    return np.concatenate([np.median(times_ms[piece].reshape(len(piece), -1), axis=1) for piece in pieces])


def _turn(run: Run, calls: int) -> list[int]:
    clock = time.perf_counter_ns
    run()
    times = []
    for _ in range(calls):
        start = clock()
        run()
        times.append(clock() - start)
    return times


def _calls_a_round(run: Run, round_ms: float, warmup_ms: float) -> int:
    end = time.perf_counter_ns() + warmup_ms * 1e6
    times = _turn(run, MIN_WARMUP_CALLS)
    while time.perf_counter_ns() < end:
        times += _turn(run, MIN_WARMUP_CALLS)
    typical_ms = max(float(np.median(times[len(times) // 2 :])) / 1e6, 1e-6)
    return int(np.clip(round(round_ms / typical_ms), MIN_CALLS, MAX_CALLS))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
