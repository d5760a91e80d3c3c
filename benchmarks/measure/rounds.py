"""The ratio of two things that were timed in turn, round by round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK_VALUES = 4_000_000


@dataclass(frozen=True)
class Samples:
    """What one of the two took, call by call.

    Attributes:
        times_ms: (rounds, calls), milliseconds, in the order in which they were measured.
    """

    times_ms: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.times_ms.ndim != 2 or self.times_ms.size == 0:
            raise ValueError(f"times: got shape {self.times_ms.shape}; give (rounds, calls), both at least 1")

    @property
    def median_ms(self) -> float:
        """The median over all calls."""
        return float(np.median(self.times_ms))


@dataclass(frozen=True)
class RoundsRatio:
    """The ratio of two medians and an interval around it."""

    value: float
    low: float
    high: float


def ratio_over_rounds(
    slow: Samples, fast: Samples, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> RoundsRatio:
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
    return RoundsRatio(slow.median_ms / fast.median_ms, float(low), float(high))


def _medians(times_ms: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median of each draw of rounds, a bounded number of draws at a time."""
    pieces = np.array_split(drawn, max(1, drawn.shape[0] * times_ms.size // CHUNK_VALUES))
    return np.concatenate([np.median(times_ms[piece].reshape(len(piece), -1), axis=1) for piece in pieces])
