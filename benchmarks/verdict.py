"""Which of two files is the faster, in words: only what wall time and CPU time agree on, and what could not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
POWER = 0.9
ALLOWED_DISAGREEMENT = 0.05
GRID = 20_001

Kind = Literal["faster", "slower", "same", "unsure", "noisy"]


@dataclass(frozen=True)
class Ratio:
    """How many times as long the other file takes, and an interval around it.

    Attributes:
        value: The other's geometric mean over its sessions, divided by the file's own; above 1: the file is faster.
        low: Lower end of the interval.
        high: Upper end of the interval.
        least: The least difference, as a share (0.02: 2 %), that nine of ten such measurements tell from none.
    """

    value: float
    low: float
    high: float
    least: float

    @property
    def spans_one(self) -> bool:
        """Whether the interval contains 1, so that neither is known to be the slower."""
        return self.low <= 1 <= self.high


@dataclass(frozen=True)
class Reading:
    """What was read once, above 0, and an interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What may be said about two files, and in words.

    Faster, slower, the same as far as can be seen, unsure, or noisy: see `benchmarks.noise.weigh`.
    """

    kind: Kind
    words: str

    def to_dict(self) -> dict[str, str]:
        """The verdict as JSON-able data."""
        return {"kind": self.kind, "words": self.words}


def ratio(other: NDArray[np.float64], own: NDArray[np.float64], *, level: float = LEVEL) -> Ratio:
    """The ratio of two files' times, with Welch's t interval on the logarithms of the sessions' medians.

    Sessions are the units: what a round adds to a session's median is part of its spread, what a round adds to all of
    them cancels in the difference. With so few sessions the percentiles of a bootstrap would be too narrow.

    Args:
        other: (sessions,), the median of each session of the other file.
        own: The same of the file itself; the number of sessions may differ.
        level: Coverage of the interval, between 0 and 1.

    Raises:
        ValueError: Fewer than two sessions of a file.
    """
    if min(len(other), len(own)) < 2:
        raise ValueError(f"sessions: got {len(other)} and {len(own)}; each file needs at least 2 for an interval")
    logs = [np.log(medians) for medians in (other, own)]
    shares = [values.var(ddof=1) / len(values) for values in logs]
    error = float(np.sqrt(sum(shares)))
    spread = sum(share**2 / (len(values) - 1) for share, values in zip(shares, logs, strict=True))
    freedom = float(sum(shares) ** 2 / spread) if spread > 0 else len(other) + len(own) - 2.0
    middle = float(logs[0].mean() - logs[1].mean())
    half = error * student_quantile((1 + level) / 2, freedom)
    seen = half + error * student_quantile(POWER, freedom)
    value, low, high = (float(np.exp(at)) for at in (middle, middle - half, middle + half))
    return Ratio(value, low, high, float(np.expm1(seen)))


def interval(medians: NDArray[np.float64], *, level: float = LEVEL) -> tuple[float, float]:
    """The interval of the geometric mean of a file's sessions, Student's t on their logarithms.

    Args:
        medians: (sessions,), at least 2.
        level: Coverage of the interval, between 0 and 1.
    """
    logs = np.log(medians)
    half = float(logs.std(ddof=1)) / np.sqrt(len(logs)) * student_quantile((1 + level) / 2, len(logs) - 1)
    middle = float(logs.mean())
    return float(np.exp(middle - half)), float(np.exp(middle + half))


def judge(ratios: Mapping[str, Ratio]) -> Verdict:
    """The verdict on one comparison that was timed by several clocks, the first of which gives the headline.

    Faster or slower is said only where every clock's interval lies on that side of 1 and the clocks agree: their
    intervals overlap, or their values are within 5 %. No difference is said only where every interval contains 1.

    Args:
        ratios: What was read, such as "wall time", to the ratio by it; at least one.
    """
    found = list(ratios.values())
    if all(one.spans_one for one in found):
        return Verdict(
            "same", f"no detectable difference; would have seen {difference_text(max(one.least for one in found))}"
        )
    said = ", ".join(f"{name} {_reading(one)}" for name, one in ratios.items())
    if any(one.spans_one for one in found):
        return Verdict("unsure", f"unsure: {said}; measure longer, or on a machine at rest")
    readings = [Reading(one.value, one.low, one.high) for one in found]
    same_side = len({one.value > 1 for one in found}) == 1
    if not same_side or not all(agree(*pair) for pair in combinations(readings, 2)):
        return Verdict("unsure", f"unsure: {said}; the machine is busy")
    kind: Kind = "faster" if found[0].value > 1 else "slower"
    return Verdict(kind, f"{kind}, {times(found[0].value)} {interval_text(found[0].low, found[0].high)}")


def agree(one: Reading, other: Reading, *, within: float = ALLOWED_DISAGREEMENT) -> bool:
    """Whether two readings may be of the same thing: their intervals overlap, or their values are close.

    Args:
        one: The one.
        other: The other.
        within: What the larger value may have more than the smaller, as a share (0.05: 5 %).
    """
    overlap = one.low <= other.high and other.low <= one.high
    return overlap or abs(float(np.log(one.value / other.value))) <= np.log1p(within)


def times(value: float) -> str:
    """How many times as much, never below 1: "14.9x" of 14.93, "1.013x" of 0.987; what is more must be said beside."""
    return f"{_number(max(value, 1 / value))}x"


def interval_text(low: float, high: float) -> str:
    """An interval of ratios as "[14.1, 15.6]"; one that lies below 1 is turned over, as `times` turns its value."""
    ends = (1 / high, 1 / low) if high < 1 else (low, high)
    return f"[{_number(ends[0])}, {_number(ends[1])}]"


def difference_text(least: float) -> str:
    """A difference that is given as a share: "2 %" of 0.02; "2.4x" of 1.4, where it is as large as that."""
    return f"{100 * least:.2g} %" if least < 1 else f"{_number(1 + least)}x"


def student_quantile(share: float, freedom: float) -> float:
    """The value that `share` of Student's t distribution with `freedom` degrees of freedom stays below.

    With t = sqrt(freedom) * tan(angle), the density of the angle is proportional to cos(angle) ** (freedom - 1).
    """
    angles = np.linspace(-np.pi / 2, np.pi / 2, GRID)
    middles = (angles[1:] + angles[:-1]) / 2
    below = np.concatenate([[0.0], np.cumsum(np.cos(middles) ** (freedom - 1))])
    return float(np.sqrt(freedom) * np.tan(np.interp(share, below / below[-1], angles)))


def _reading(one: Ratio) -> str:
    if one.spans_one:
        return f"cannot tell {interval_text(one.low, one.high)}"
    return f"says {times(one.value)} {'faster' if one.value > 1 else 'slower'}"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if 0.9 < value < 1.1 else f"{value:.3g}"
