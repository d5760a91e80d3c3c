"""What quantization cost, held against what it may cost, and said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compress.text import counted

if TYPE_CHECKING:
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.evidence import Record
    from compress.stages import Staged
    from exports.effect import Effect


@dataclass(frozen=True)
class Yardstick:
    """The network before, and how much worse the result may be.

    Attributes:
        before: With its float weights.
        images: As it sees them.
        max_drop: Points of the score; None for any number.
        output: What the result is called.
    """

    before: Checkpoint
    images: Dataset
    max_drop: float | None
    output: Path

    def checked(self, after: Staged) -> Effect:
        """How far the result is from what it was made from, on the whole test split; GateError if it lost too much."""
        from compress.errors import GateError
        from compress.tasks import TASKS
        from exports.effect import effect

        found = effect(self.before.network, after, TASKS[self.before.card.task], self.images)
        if self.max_drop is not None and found.drop_points > self.max_drop:
            raise GateError(
                f"{self.output}: loses {found.drop_points:.2f} points of {found.metric}, more than the "
                f"{self.max_drop:g} of --max-drop; take more bits, --mixed, or --qat"
            )
        return found


def lines(found: Effect, split: str) -> list[str]:
    """The effect in words.

    Args:
        found: What was measured.
        split: What it was measured on.
    """
    from compress.text import share_text

    change = f"{0.0 - found.drop_points:+.2f} points"
    told = [f"{found.metric} {100 * found.before:.2f} -> {100 * found.after:.2f} % ({change}) on {split}"]
    if found.mcnemar is not None and found.lost is not None:
        lost = f"{counted(found.lost, 'image')} lost"
        told.append(
            f"{lost}, {found.won} won (McNemar's exact test: p = {found.mcnemar:.2g}); farthest off: "
            f"images {', '.join(map(str, found.worst))}"
        )
    same = f"{found.agreement[0].words} {share_text(found.agreement[1])}, " if found.agreement else ""
    told.append(f"against float weights: {same}|difference| mean {found.mean_abs:.2g}, max {found.max_abs:.2g}")
    return told


def records(found: Effect, sha256: str, before: Checkpoint) -> list[Record]:
    """The effect as records.

    Args:
        found: What was measured.
        sha256: Of the file.
        before: What it was made from, whose score is about its weights.
    """
    from compress.evidence import Record, weights_digest

    was, ends = weights_digest(before.network.model), found.interval
    kept = [
        _between(Record(f"{found.metric}_before", found.before, unit="share", sha256=was), ends(found.before)),
        _between(Record(found.metric, found.after, unit="share"), ends(found.after)),
        _between(Record("drop", found.drop_points, unit="points"), found.drop_interval),
        Record("max_abs_difference", found.max_abs),
        Record("mean_abs_difference", found.mean_abs),
    ]
    if found.agreement is not None:
        meaning, share = found.agreement
        kept.append(Record(meaning.name, share, unit="share"))
    if found.mcnemar is not None:
        counts = {"images_lost": found.lost, "images_won": found.won, "mcnemar_p": found.mcnemar}
        kept += [Record(name, value) for name, value in counts.items()]
    return [replace(record, n=found.samples, sha256=record.sha256 or sha256) for record in kept]


def _between(record: Record, ends: tuple[float, float] | None) -> Record:
    return record if ends is None else replace(record, low=ends[0], high=ends[1])
