"""How sure counts of right and wrong are: intervals of their shares, and the test of two on the same images."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a fraction, both ends in [0, 1].

    Args:
        correct: Successes, 0..total.
        total: Trials, at least 1.
        confidence: How often such an interval covers the truth, in (0, 1).

    Raises:
        ValueError: An argument is out of its range.

    Reference: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"wilson_interval: {correct} of {total}; expected 0 <= correct <= total and total >= 1")
    if not 0 < confidence < 1:
        raise ValueError(f"wilson_interval: confidence {confidence}; it must be between 0 and 1")
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = correct + z2 / 2
    half = math.sqrt(z2 * (correct * (total - correct) / total + z2 / 4))
    return max(0.0, (centre - half) / (total + z2)), min(1.0, (centre + half) / (total + z2))


def paired_interval(lost: int, won: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """An interval of how much larger the share of successes of one is than of another, on the same trials; in [-1, 1].

    Args:
        lost: Trials in which only the first succeeds.
        won: Those in which only the second does.
        total: All trials, at least 1.
        confidence: How often such an interval covers the truth, in (0, 1).

    Raises:
        ValueError: An argument is out of its range.

    Reference: Agresti and Min, "Simple Improved Confidence Intervals for Comparing Matched Proportions", 2005: the
        interval of Wald with half a trial more in each of the four cells.
    """
    if total < 1 or min(lost, won) < 0 or lost + won > total:
        raise ValueError(f"paired_interval: {lost} lost and {won} won of {total}; expected no more of them than trials")
    if not 0 < confidence < 1:
        raise ValueError(f"paired_interval: confidence {confidence}; it must be between 0 and 1")
    whole = total + 2
    middle = (lost - won) / whole
    spread = math.sqrt(lost + won + 1 - (lost - won) ** 2 / whole) / whole
    half = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    return max(middle - half, -1.0), min(middle + half, 1.0)


def mcnemar(lost: int, won: int) -> float:
    """How likely trials in which only one succeeds are divided this unevenly if both are equally good; two-sided.

    Args:
        lost: Trials in which only the first succeeds.
        won: Those in which only the second does.

    Reference: McNemar, 1947; the exact binomial form.
    """
    discordant = lost + won
    tail = sum(math.comb(discordant, count) for count in range(min(lost, won) + 1))
    share: float = 2 * tail / 2**discordant
    return min(1.0, share)
