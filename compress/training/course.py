"""What the phases of a run share while they are at work, and what an epoch of it tells."""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from compress.data import Dataset
from compress.processes import total
from compress.stages import Staged
from compress.tasks import Task
from compress.training.cache import MEMORY_BYTES, Room
from compress.training.journal import Journal
from compress.training.precision import Precision


@dataclass(frozen=True)
class EpochReport:
    """How an epoch went.

    Attributes:
        output: Name of the file that the run makes, or nothing.
        phase: Name of the phase.
        epoch: Number of the epoch over all phases, from 1.
        epochs: Epochs of the whole plan.
        losses: Term to its unweighted mean over the images of the epoch.
        metric: Name of the score ("val_..." on the validation split, else "train_..." on the batches as they passed).
        score: The score, a fraction; None where the phase does not run the student to its end and no split validates.
        images_per_s: Training speed, without the validation.
        seconds_left: What the rest of the plan will take at the pace of this epoch.
        cpu_s: CPU seconds of all processes of the run since the report before: with the validation, the writing of a
            state, and whatever had to come first, such as a table of the teacher's answers.
        features: "cached" where no image was looked at, "teacher cached" where the student alone did, else "live".
    """

    output: str
    phase: str
    epoch: int
    epochs: int
    losses: dict[str, float]
    metric: str
    score: float | None
    images_per_s: float
    seconds_left: float
    cpu_s: float
    features: str = "live"


@dataclass(frozen=True)
class Progress:
    """How far an epoch has come: what a long one yields before its report.

    Attributes:
        output, phase, epoch, epochs: As in the report.
        images: Those that passed.
        of: Images of the epoch.
    """

    output: str
    phase: str
    epoch: int
    epochs: int
    images: int
    of: int


class Clock:
    """CPU seconds, from one report to the next."""

    def __init__(self) -> None:
        self._read = _cpu_s()

    def lap(self) -> float:
        """CPU seconds of all processes of a run since each made its clock or read it last."""
        before, self._read = self._read, _cpu_s()
        return float(total(torch.tensor(self._read - before)))


Reports = Generator[EpochReport | Progress, None, None]


@dataclass(frozen=True)
class Run:
    """What stays the same over all phases of a run.

    Attributes:
        task: Which score an epoch gets.
        seed: Of shuffling, augmentation and whatever else is random.
        every_s: Seconds between two signs of progress inside an epoch.
        precision: Of both networks while the student learns. Losses, weights and validation are in float32 always.
        cache_bytes: Memory for what need not be computed twice, see `compress.training.cache`; 0 computes everything
            anew. It changes nothing but the last digits.
    """

    task: Task
    seed: int = 0
    every_s: float = math.inf
    precision: Precision = "fp32"
    cache_bytes: int = MEMORY_BYTES


@dataclass(frozen=True)
class Course:
    """What the phases of a run share while they are at work.

    Attributes:
        student: Who learns.
        data: What from.
        run: Task, seed and precision.
        journal: Where the state is kept, or None.
        accelerator: Of this process.
        epochs: Of all phases.
        clock: What the epochs cost.
        room: Where tables of what need not be computed twice lie.
        at_a_time: Images that go through a network at once to make them: no more than where something learns.
    """

    student: Staged
    data: Dataset
    run: Run
    journal: Journal | None
    accelerator: Accelerator
    epochs: int
    clock: Clock
    room: Room
    at_a_time: int

    @property
    def output(self) -> str:
        """Name of the file that the run makes, or nothing."""
        return self.journal.output.name if self.journal else ""

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return bool(self.accelerator.num_processes == 1)


def _cpu_s() -> float:
    """CPU seconds of this process so far, with those of its children that have ended."""
    return sum(os.times()[:4])
