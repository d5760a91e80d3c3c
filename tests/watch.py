"""What tests look at while a network is trained: its weights, the reports of the engine, the end of a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.jobs import Training
from compress.stages import Staged
from compress.training.engine import EpochReport, Progress

State = dict[str, Tensor]


def state_of(network: Staged) -> State:
    """A copy of every parameter and buffer."""
    return {key: value.clone() for key, value in network.model.state_dict().items()}


def same(first: State, second: State) -> bool:
    """Whether two states have the same names in the same order and the same bits."""
    return list(first) == list(second) and not moved(first, second)


def close(first: State, second: State, *, within: float) -> bool:
    """Whether two states differ by no more than that anywhere."""
    return all(torch.allclose(first[key], second[key], atol=within, rtol=0) for key in first | second)


def moved(before: State, after: State) -> set[str]:
    """The names of what is no longer bit by bit the same."""
    return {key for key in before if not torch.equal(before[key], after[key])}


def watched(reports: Iterable[EpochReport | Progress], student: Staged) -> tuple[list[EpochReport], list[State]]:
    """The report of each epoch, and the student's state at the time."""
    seen = [(report, state_of(student)) for report in reports if isinstance(report, EpochReport)]
    return [report for report, _ in seen], [state for _, state in seen]


def timeless(reports: Sequence[EpochReport]) -> list[EpochReport]:
    """The reports without what the clock says and where the result goes."""
    return [replace(report, output="", images_per_s=0.0, seconds_left=0.0, cpu_s=0.0) for report in reports]


def finished(training: Training) -> tuple[list[EpochReport], Checkpoint]:
    """The report of each epoch of a job, and what it made."""
    reports: list[EpochReport] = []
    while True:
        try:
            report = next(training)
        except StopIteration as end:
            return reports, end.value
        if isinstance(report, EpochReport):
            reports.append(report)
