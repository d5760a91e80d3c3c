"""How fast a network learns in the course of its training: the factors of a learning rate, as plain frozen data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from compress.errors import PlanError, unknown_name
from compress.text import counted

WARM_UP_FROM = 0.01  # of the rate, at the first step of a warm-up

ONE_CYCLE_PEAK = 0.3  # of the way
ONE_CYCLE_FROM = 1 / 25  # of the peak
ONE_CYCLE_TO = 1e-4 / 25


def step_factor(behind: float, epochs: int) -> float:
    """1, then 0.1 for the last seventh of the epochs (of 70 the last 10); a single epoch is all at 1.

    Args:
        behind: Epochs that are behind, from 0 and below `epochs`; by the epoch: its fraction changes nothing.
        epochs: Of the whole course.
    """
    late = min(max(round(epochs / 7), 1), epochs - 1)
    return 1.0 if math.floor(behind) < epochs - late else 0.1


def cosine_factor(behind: float, epochs: int) -> float:
    """What falls from 1 along half a cosine, by the epoch and without reaching 0; see `step_factor`.

    Reference: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    return (1 + math.cos(math.pi * math.floor(behind) / epochs)) / 2


def constant_factor(_behind: float, _epochs: int) -> float:
    """1; see `step_factor`."""
    return 1.0


def one_cycle_factor(behind: float, epochs: int) -> float:
    """By the step: half a cosine from 1/25 up to 1 at 30 % of the way, then another down to 1/250,000 at its end.

    Args:
        behind: Epochs that are behind, from 0 to `epochs`, with the share of the present one that is behind.
        epochs: Of the whole course.

    Reference: Smith and Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates,
        2018.
    Deviates: its two straight lines are halves of a cosine, in the proportions that became usual, and the momentum
        stays as it is instead of going the other way.
    """
    way = behind / epochs
    if way < ONE_CYCLE_PEAK:
        return ONE_CYCLE_FROM + (1 - ONE_CYCLE_FROM) * (1 - math.cos(math.pi * way / ONE_CYCLE_PEAK)) / 2
    down = (way - ONE_CYCLE_PEAK) / (1 - ONE_CYCLE_PEAK)
    return ONE_CYCLE_TO + (1 - ONE_CYCLE_TO) * (1 + math.cos(math.pi * down)) / 2


ONE_CYCLE = "one-cycle"
SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "step": step_factor,
    "cosine": cosine_factor,
    "constant": constant_factor,
    ONE_CYCLE: one_cycle_factor,
}


@dataclass(frozen=True)
class Schedule:
    """The factor of the learning rate at every step of a course of training, or of a part of it.

    Attributes:
        name: A key of `SCHEDULES`.
        epochs: Of the whole course, at least 1.
        warm_up: Epochs at its start in which the factor rises by the step in a straight line, from 0.01 to 1; what is
            left of the course runs through the whole of the named curve. 0 or more, and fewer than `epochs`.
        without: How many epochs at the start and at the end of the course do not belong to this part of it.

    Reference: Goyal et al., Accurate, Large Minibatch SGD, 2017, for the warm-up.
    """

    name: str
    epochs: int
    warm_up: int = 0
    without: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise PlanError(unknown_name("schedule", self.name, SCHEDULES))
        if self.epochs < 1 or min(self.without) < 0 or sum(self.without) >= self.epochs:
            raise ValueError(f"schedule: {self.epochs} epochs without {self.without}; at least 1 must be left")
        if self.warm_up and self.name == ONE_CYCLE:
            raise PlanError(
                f"schedule {self.name}: rises by itself; leave out the warm-up of {counted(self.warm_up, 'epoch')}"
            )
        if not 0 <= self.warm_up < self.epochs:
            raise PlanError(
                f"schedule {self.name}: a warm-up of {counted(self.warm_up, 'epoch')} in a course of {self.epochs}; "
                "it may take 0 or more, and fewer than the course"
            )

    def __len__(self) -> int:
        """The epochs of this part."""
        return self.epochs - sum(self.without)

    @property
    def by_step(self) -> bool:
        """Whether the factor changes inside an epoch."""
        return self.warm_up > 0 or self.name == ONE_CYCLE

    def factor(self, epoch: int, share: float = 0.0) -> float:
        """The factor at a step.

        Args:
            epoch: From 0, of this part.
            share: Of the epoch's images, those that are behind, from 0 and below 1.
        """
        behind = self.without[0] + epoch
        if behind < self.warm_up:
            return WARM_UP_FROM + (1 - WARM_UP_FROM) * (behind + share) / self.warm_up
        return SCHEDULES[self.name](behind - self.warm_up + share, self.epochs - self.warm_up)

    def window(self, start: int, stop: int) -> Schedule:
        """The part from epoch `start` to `stop` (exclusive, from 0) of this one.

        Raises:
            ValueError: It is empty or reaches beyond this one.
        """
        front, back = self.without
        return replace(self, without=(front + start, back + len(self) - stop))

    def over(self, epochs: int) -> Schedule:
        """The same course, whole, in so many epochs.

        Raises:
            PlanError: The warm-up leaves none of them.
        """
        return replace(self, epochs=epochs, without=(0, 0))
