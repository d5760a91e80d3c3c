"""The noise floor of a machine: how far a file seems to be from itself; and verdicts that do not stand out from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, log1p

from benchmarks.verdict import Ratio, Verdict, difference_text, interval_text, times
from compress.evidence import Record

BLIND = 0.25


@dataclass(frozen=True)
class Floor:
    """What one file against itself came to, by wall time.

    Attributes:
        ratio: Of one group of its sessions to another, all opened anew and timed in turn.
        sessions: Of the smaller group.
        median_ms: What a run took.
    """

    ratio: Ratio
    sessions: int
    median_ms: float

    @property
    def most(self) -> float:
        """How much slower one group may be than the other, as a share (0.02: 2 %): the far end of the interval."""
        return max(self.ratio.high, 1 / self.ratio.low) - 1

    @property
    def words(self) -> str:
        """The same as a sentence: what was measured, and from which difference on two files can be told apart."""
        told = difference_text(max(self.most, self.ratio.least))
        return (
            f"one network ({self.median_ms:.2g} ms a call) was timed as if it were two, in {self.sessions} sessions "
            f"each, and seemed up to {difference_text(self.most)} slower than itself; so of two files a difference of "
            f"less than {told} may be noise"
        )

    @property
    def line(self) -> str:
        """The same beside the verdicts of a benchmark."""
        own = self.ratio
        value = f"{own.value:.4g}x" if own.spans_one else times(own.value)
        said = f"one file against itself {value} {interval_text(own.low, own.high)}"
        return f"{said}; would have seen {difference_text(own.least)}"

    def records(self) -> list[Record]:
        """The same as data."""
        own = self.ratio
        return [
            Record("aa_ratio", own.value, own.low, own.high, n=self.sessions, unit="x"),
            Record("least_speedup", 1 + own.least, n=self.sessions, unit="x"),
        ]


def weigh(verdict: Verdict, ratios: Mapping[str, Ratio], floor: Floor | None, fastest: float) -> Verdict:
    """The verdict, or "too noisy to judge" where it does not stand out from the noise of the machine.

    That no difference was found, or that one could not be told, says nothing where a difference of 25 % would not have
    been seen (the `least` of a ratio): that is the least that anybody changes a network for the sake of its speed; a
    quarter of its channels, or the half of its bits, gives more. A difference that was found is not judged where the
    file was also found to differ from itself, and by as much: the far end of that interval is at or beyond the value.
    A large difference so stands on a noisy machine, and a small one only on a quiet one.

    What else runs holds up a large network more than a small one: it takes the caches from it, and its turns. No
    interval tells, for all sessions are held up alike, and a file of one size against itself is, too. But some calls
    get through: where the ratio of the fastest fifth of them is 25 % away from that of the medians, neither is judged.

    Args:
        verdict: On the intervals alone.
        ratios: What it rests on, the first of which is the headline.
        floor: Of the baseline in the same rounds; None where there is none.
        fastest: The headline's ratio, of the calls that take longer than a fifth of all.
    """
    least = max(one.least for one in ratios.values())
    if verdict.kind in ("same", "unsure"):
        return _noisy(f"less than {difference_text(least)} would not be seen") if least > BLIND else verdict
    found = next(iter(ratios.values()))
    if abs(log(found.value / fastest)) > log1p(BLIND):
        return _noisy(f"the medians say {found.value:.3g}x, the fastest fifth of the calls {fastest:.3g}x")
    if floor is None or floor.ratio.spans_one or abs(log(found.value)) > log1p(floor.most):
        return verdict
    itself = f"the baseline seems {times(floor.ratio.value)} away from itself"
    return _noisy(f"{times(found.value)} {verdict.kind} was found, but {itself}")


def _noisy(why: str) -> Verdict:
    todo = "end what else runs, measure longer (--sessions, --rounds), or keep to one core (--pin)"
    return Verdict("noisy", f"too noisy to judge: {why}; {todo}")
