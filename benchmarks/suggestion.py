"""How much to cut of each group of layers, by what became of the network when each was cut alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.exam import Mark, answer
from benchmarks.sensitivity import Examination, Row
from compress.checkpoint import Checkpoint
from compress.smaller import cut_at, mended

Shares = Mapping[str, float]  # group to the share of its channels that goes; of the others none does


@dataclass(frozen=True)
class Together:
    """A network that was cut in all of its groups at once.

    Attributes:
        options: Of `edgepress prune`, which cut it so.
        parameters: How many fewer it has.
        macs: Likewise, for one image.
        mark: What became of its answers, fitted where that was asked for.
    """

    options: str
    parameters: int
    macs: int
    mark: Mark


@dataclass(frozen=True)
class _Step:
    """A group cut further, to the next ratio: what that adds to the error, for each operation that it saves."""

    slope: float
    group: str
    ratio: float


def evenly(whole: Examination, ratio: float, command: str) -> Together:
    """The network with the same share of every group gone.

    Raises:
        PlanError: Nothing would be cut.
    """
    return _examined(whole, cut_at(whole.checkpoint, whole.found, ratio, command), f"--ratio {ratio:g}", command)


def suggest(whole: Examination, rows: Sequence[Row], even: Together, command: str) -> Together | None:
    """The network with as many operations saved, where that adds the least to the errors; None where none can be.

    The errors of the groups, each cut alone, are taken to add up: so the steps are taken in the order of what they
    cost for each operation saved, until as many are saved as where all groups are cut alike.

    Args:
        whole: The network.
        rows: What became of it.
        even: All groups cut alike.
        command: What the user typed.
    """
    steps = sorted((step for row in rows for step in _steps(row)), key=lambda step: step.slope)

    def cut(count: int) -> Checkpoint:
        return _cut(whole, {step.group: step.ratio for step in steps[:count]}, command)

    low, high = 1, len(steps)
    if not steps or _saved(whole, cut(high)) < even.macs:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _saved(whole, cut(middle)) >= even.macs else (middle + 1, high)
    shares = {step.group: step.ratio for step in steps[:low]}
    return _examined(whole, cut(low), options([row.group for row in rows], shares), command)


def options(groups: Sequence[str], shares: Shares) -> str:
    """What to type so that of each group its share goes: the most frequent one for all, the others by name."""
    given = {group: shares.get(group, 0.0) for group in groups}
    ((usual, _),) = Counter(share for share in given.values() if share).most_common(1)
    left = [group for group, share in given.items() if not share]
    others = [f"--layer-ratio {group}={share:g}" for group, share in given.items() if share not in (0.0, usual)]
    return " ".join([f"--ratio {usual:g}", *([f"--leave {','.join(left)}"] if left else []), *others])


def _steps(row: Row) -> Iterator[_Step]:
    """The cuts of a group on the lower convex hull of error against operations saved, from the least."""
    cells = [cell for cell in row.cells if cell.macs > 0 and cell.mark.error is not None]
    macs, error = 0, 0.0
    while ahead := [cell for cell in cells if cell.macs > macs]:
        slopes = [((cell.mark.error or 0.0) - error) / (cell.macs - macs) for cell in ahead]
        slope = min(slopes)
        best = max((cell for cell, one in zip(ahead, slopes, strict=True) if one == slope), key=lambda cell: cell.macs)
        yield _Step(slope, row.group, best.ratio)
        macs, error = best.macs, best.mark.error or 0.0


def _cut(whole: Examination, shares: Shares, command: str) -> Checkpoint:
    own = {layer.root: shares.get(makers[0], 0.0) for layer, makers in whole.groups}
    ratios = tuple(own[layer.root] for layer, _ in whole.found.layers)
    return cut_at(whole.checkpoint, replace(whole.found, ratios=ratios), 0.0, command)


def _saved(whole: Examination, small: Checkpoint) -> int:
    return whole.census.macs - whole.cost(small.network).macs


def _examined(whole: Examination, small: Checkpoint, typed: str, command: str) -> Together:
    made = mended(small, whole.checkpoint, whole.calibration, command)[0] if whole.calibration.batches else small
    stage, cost = whole.exam.task.output, whole.cost(made.network)
    (mark,) = whole.exam.marks(lambda pixels: [answer(made.network, stage, pixels)], 1)
    return Together(typed, whole.census.parameters - cost.parameters, whole.census.macs - cost.macs, mark)
