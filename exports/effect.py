"""What quantization changed: two networks, or a network and a shipped file, over a whole test split."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.data import Dataset
from compress.intervals import mcnemar, paired_interval, wilson_interval
from compress.stages import Staged
from compress.tasks import Agreement, Task, answering, part
from exports.source import few

WORST = 5


@dataclass(frozen=True)
class Effect:
    """How far the answers of a quantized network or file are from those of the network it was made from.

    Attributes:
        samples: Images compared.
        max_abs: The largest difference of any output.
        mean_abs: The mean over all outputs.
        agreement: What it means that the two decide alike, and on what share they do; None where they decide nothing.
        metric: Name of the task's score.
        before: The score of the first, in [0, 1].
        after: That of the other.
        lost: Images that only the first gets right; None where images are not right or wrong.
        won: Those that only the other gets right.
        worst: Positions in the split of the images whose outputs differ most, the farthest first.
    """

    samples: int
    max_abs: float
    mean_abs: float
    agreement: tuple[Agreement, float] | None
    metric: str
    before: float
    after: float
    lost: int | None
    won: int | None
    worst: tuple[int, ...]

    @property
    def drop_points(self) -> float:
        """Points of the score that were lost; below 0 where some were won."""
        return 100 * (self.before - self.after)

    @property
    def drop_interval(self) -> tuple[float, float] | None:
        """Of these, see `compress.intervals.paired_interval`; None where images are not right or wrong."""
        if self.lost is None or self.won is None:
            return None
        low, high = paired_interval(self.lost, self.won, self.samples)
        return 100 * low, 100 * high

    def interval(self, score: float) -> tuple[float, float] | None:
        """Of one of the two scores, see `compress.intervals.wilson_interval`; None where images are not right or wrong.

        Args:
            score: In [0, 1].
        """
        return None if self.lost is None else wilson_interval(round(score * self.samples), self.samples)

    @property
    def mcnemar(self) -> float | None:
        """See `compress.intervals.mcnemar`; None where images are not right or wrong."""
        return None if self.lost is None or self.won is None else mcnemar(self.lost, self.won)


def effect(network: Staged, other: Staged, task: Task, images: Dataset) -> Effect:
    """What was changed of a network's answers on a test split.

    Args:
        network: With its float weights.
        other: What became of it: a network, or a file taken as one.
        task: Of both.
        images: As both see them.

    Raises:
        GateError: An output of either is NaN or infinite.
    """
    tally = _Tally(task.agreement)
    counts: list[Tensor] = []
    with answering(network, task.output) as before, answering(other, task.output) as after:
        for batch in images.test.batches(few((1, *images.see.shape))):
            expected, found = before(batch.image), after(batch.image)
            tally.add(expected, found, batch.index)
            counts.append(torch.stack([task.tally(expected, batch.target), task.tally(found, batch.target)]))
            if not task.masks:
                tally.add_decisions(expected, found, batch.target)
    old, new = torch.stack(counts).sum(0)
    return tally.effect(task.metric, task.score(old), task.score(new))


class _Tally:
    def __init__(self, meaning: Agreement | None) -> None:
        self._meaning, self._agreeing = meaning, torch.zeros(2, dtype=torch.int64)
        self._decisions: tuple[int, int] | None = None
        self._samples, self._values, self._sum, self._max = 0, 0, 0.0, 0.0
        self._far: list[tuple[float, int]] = []

    def add(self, expected: Tensor, found: Tensor, index: Tensor) -> None:
        apart = (expected - found).abs().flatten(1)
        if self._meaning is not None:
            self._agreeing += self._meaning.count(expected, found)
        self._samples += len(apart)
        self._values += apart.numel()
        self._sum += float(apart.double().sum())
        self._max = max(self._max, float(apart.max()))
        rows: Iterable[tuple[float, int]] = zip(apart.amax(1).tolist(), index.tolist(), strict=True)
        self._far = heapq.nlargest(WORST, [*self._far, *rows])

    def add_decisions(self, expected: Tensor, found: Tensor, labels: Tensor) -> None:
        if self._meaning is None:
            return
        old, new = (output.argmax(1) == labels for output in (expected, found))
        lost, won = self._decisions or (0, 0)
        self._decisions = lost + int((old & ~new).sum()), won + int((new & ~old).sum())

    def effect(self, metric: str, before: float, after: float) -> Effect:
        lost, won = self._decisions or (None, None)
        return Effect(
            samples=self._samples,
            max_abs=self._max,
            mean_abs=self._sum / self._values,
            agreement=(self._meaning, part(self._agreeing)) if self._meaning else None,
            metric=metric,
            before=before,
            after=after,
            lost=lost,
            won=won,
            worst=tuple(index for _, index in self._far),
        )
