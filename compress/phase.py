"""A training plan as plain frozen data: a recipe returns phases, a phase trains on the sum of its terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from compress.errors import PlanError
from compress.schedule import Schedule
from compress.stages import Staged

if TYPE_CHECKING:
    from compress.tasks import Task

Loss = Callable[..., Any]
Keep = Literal["last", "best score", "best loss"]
Norms = Literal["as trained", "in training"]


@dataclass(frozen=True)
class Optimizer:
    """How parameters follow their gradient.

    Attributes:
        name: "adam", "adamw" or "sgd" (with Nesterov's momentum).
        lr: Learning rate, above 0, before the schedule's factor.
        momentum: Of sgd, in [0, 1).
        weight_decay: 0 or more.
    """

    name: Literal["adam", "adamw", "sgd"]
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.lr < math.inf and 0 <= self.momentum < 1 and 0 <= self.weight_decay < math.inf):
            raise ValueError(f"optimizer: {self}; lr must be above 0, momentum in [0, 1), weight_decay 0 or more")

    def of(self, parameters: Sequence[nn.Parameter], undecayed: Sequence[nn.Parameter] = ()) -> torch.optim.Optimizer:
        """A new optimizer of these parameters, and of those whose weight decays by nothing."""
        groups: list[dict[str, Any]] = [{"params": list(parameters)}]
        groups += [{"params": list(undecayed), "weight_decay": 0.0}] if undecayed else []
        if self.name == "sgd":
            return torch.optim.SGD(
                groups, self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.momentum > 0
            )
        if self.name == "adamw":
            return torch.optim.AdamW(groups, self.lr, weight_decay=self.weight_decay)
        return torch.optim.Adam(groups, self.lr, weight_decay=self.weight_decay)


OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {
    "adam": lambda lr: Optimizer("adam", lr),
    "adamw": lambda lr: Optimizer("adamw", lr, weight_decay=0.05),
    "sgd": lambda lr: Optimizer("sgd", lr, momentum=0.9, weight_decay=5e-4),
}


@dataclass(frozen=True)
class Ref:
    """The address of one argument of a loss: a feature of the student or the teacher, the labels or the indices."""

    side: Literal["student", "teacher", "labels", "index"]
    stage: str = ""

    def __str__(self) -> str:
        return f"{self.side} {self.stage}".rstrip()


def S(stage: str) -> Ref:  # noqa: N802
    """The student's feature at `stage`."""
    return Ref("student", stage)


def T(stage: str) -> Ref:  # noqa: N802
    """The teacher's feature at `stage`."""
    return Ref("teacher", stage)


LABELS = Ref("labels")
INDEX = Ref("index")


@dataclass(frozen=True)
class Term:
    """`weight * loss(*args)`, a scalar.

    Attributes:
        loss: A function of tensors that can be found by its name, or a partial of one. A loss that owns parameters is
            given as what makes it, its class or a partial of it: each phase gets a new one, by the seed of the run.
        args: Where each of its arguments comes from.
        weight: Its factor in the sum, 0 or more; or one factor for each epoch of the phase.
        name: How it is called in progress lines and metrics.
    """

    loss: Loss
    args: tuple[Ref, ...]
    weight: float | tuple[float, ...]
    name: str

    def __post_init__(self) -> None:
        weights = self.weight if isinstance(self.weight, tuple) else (self.weight,)
        if not weights or not all(0 <= weight < math.inf for weight in weights):
            raise PlanError(f"term {self.name!r}: its weight is {self.weight}; allowed are finite numbers from 0")

    @property
    def learns(self) -> bool:
        """Whether the loss owns parameters."""
        made = self.loss.func if isinstance(self.loss, partial) else self.loss
        return isinstance(made, type) and issubclass(made, nn.Module)

    def weight_at(self, epoch: int) -> float:
        """The factor in an epoch of the phase, from 0."""
        return self.weight[epoch] if isinstance(self.weight, tuple) else self.weight


@dataclass(frozen=True)
class Fit:
    """How long and how fast to train.

    Attributes:
        epochs: Passes over the training set, at least one.
        optimizer: New at the start of each phase.
        schedule: What the learning rate is multiplied by, or one factor an epoch; as long as `epochs`.
        keep: Which weights leave the phase: those of the last epoch, or of the best one on the validation split, by the
            task's score or by the sum of the phase's terms.
        batch_size: Images a step.
        ema: Decay of the average of the weights over the steps of the phase, in [0, 1); 0 keeps none. With one it is
            the averaged weights that are validated and leave the phase.
        views: 0 augments the images anew in every epoch; otherwise the epochs replay so many augmentations in turn,
            and what does not learn need not be computed again when one returns. 1 or more.
        fresh: Whether the optimizer forgets its moments at the start of every epoch, not only of every phase.
        fixed_statistics: Whether batch-norm normalises by the statistics it came with, which stay, instead of by those
            of the batch; its scale and shift learn all the same.
    """

    epochs: int
    optimizer: Optimizer
    schedule: Schedule | tuple[float, ...]
    keep: Keep = "last"
    batch_size: int = 128
    ema: float = 0.0
    views: int = 0
    fresh: bool = False
    fixed_statistics: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs: got {self.epochs}; at least 1 is needed")
        if len(self.schedule) != self.epochs:
            raise ValueError(f"schedule: {len(self.schedule)} factors for {self.epochs} epochs; give one an epoch")
        if self.batch_size < 2:
            raise ValueError(f"batch size: got {self.batch_size}; at least 2 is needed (batch-norm, pairwise losses)")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: got {self.ema}; allowed is 0 for none, or a decay below 1 such as 0.999")
        if self.views < 0:
            raise ValueError(f"views: got {self.views}; 0 is a new one in every epoch, else how many to replay")

    def view(self, number: int) -> int:
        """Which augmentation an epoch sees, by its number over all phases, from 0."""
        return number % self.views if self.views else number

    def rate(self, epoch: int, share: float = 0.0) -> float:
        """The learning rate at a step.

        Args:
            epoch: From 0.
            share: Of the epoch's images, those that are behind, from 0 and below 1.
        """
        given = self.schedule
        return self.optimizer.lr * (given.factor(epoch, share) if isinstance(given, Schedule) else given[epoch])

    def window(self, start: int, stop: int) -> Fit:
        """The same fit, for epochs `start` to `stop` (exclusive, from 0) of its schedule only."""
        given = self.schedule
        part = given.window(start, stop) if isinstance(given, Schedule) else given[start:stop]
        return replace(self, epochs=stop - start, schedule=part)

    def over(self, epochs: int) -> Fit:
        """The same fit with the whole of its schedule run through in so many epochs.

        Raises:
            PlanError: The warm-up leaves none of them.
        """
        if epochs < 1:
            raise ValueError(f"epochs: got {epochs}; at least 1 is needed")
        given = self.schedule
        if isinstance(given, Schedule):
            return replace(self, epochs=epochs, schedule=given.over(epochs))
        return replace(self, epochs=epochs, schedule=tuple(given[e * self.epochs // epochs] for e in range(epochs)))


@dataclass(frozen=True)
class Phase:
    """The longest stretch of training in which nothing changes but the network's parameters.

    Attributes:
        name: Unique in its plan.
        terms: Their weighted sum is what is minimised.
        fit: How long and how fast.
        train: The stages that learn; None means all. The others keep their parameters.
        norms: What the batch-norm of the others does: "as trained" keeps its statistics and normalises by them;
            "in training" normalises by the batch and lets the statistics follow, as code does that freezes parameters
            and nothing else.
    """

    name: str
    terms: tuple[Term, ...]
    fit: Fit
    train: tuple[str, ...] | None = None
    norms: Norms = "as trained"

    def stages(self, side: Literal["student", "teacher"]) -> tuple[str, ...]:
        """The stages that the terms read on one side, each once, in the order of their first use."""
        refs = (ref for term in self.terms for ref in term.args)
        return tuple(dict.fromkeys(ref.stage for ref in refs if ref.side == side))


@dataclass(frozen=True)
class Lesson:
    """What a recipe may look at.

    Attributes:
        student: Who learns.
        teacher: Who is listened to; None where nobody is.
        task: What for.
        images: How many there are to learn from.
        labels: How many classes they have.
        seed: Of everything random.
    """

    student: Staged
    teacher: Staged | None
    task: Task
    images: int
    labels: int
    seed: int


def describe(phases: Iterable[Phase]) -> list[dict[str, Any]]:
    """The plan as JSON-able data: equal for two plans that train alike, and for no others.

    Raises:
        PlanError: A loss has nothing to be known by: a lambda, a function inside another one, an object.
    """
    return [
        {
            "name": phase.name,
            "terms": [_described(term) for term in phase.terms],
            "epochs": phase.fit.epochs,
            "optimizer": repr(phase.fit.optimizer),
            "schedule": _factors(phase.fit),
            "keep": phase.fit.keep,
            "batch_size": phase.fit.batch_size,
            "train": list(phase.train) if phase.train is not None else None,
            **({"ema": phase.fit.ema} if phase.fit.ema else {}),
            **({"views": phase.fit.views} if phase.fit.views else {}),
            **({"fresh": True} if phase.fit.fresh else {}),
            **({"fixed_statistics": True} if phase.fit.fixed_statistics else {}),
            **({"norms": phase.norms} if phase.norms != "as trained" else {}),
        }
        for phase in phases
    ]


def _factors(fit: Fit) -> list[float] | str:
    """What tells a schedule from all others: one factor an epoch, or how those inside an epoch come about."""
    if isinstance(fit.schedule, Schedule):
        return repr(fit.schedule) if fit.schedule.by_step else [fit.schedule.factor(e) for e in range(fit.epochs)]
    return list(fit.schedule)


def _described(term: Term) -> dict[str, Any]:
    try:
        loss = _text(term.loss)
    except TypeError as error:
        raise PlanError(
            f"term {term.name!r}: {error}; give a function of a module, or a partial of one with plain arguments"
        ) from error
    return {"name": term.name, "weight": term.weight, "loss": loss, "args": [str(ref) for ref in term.args]}


def _text(value: Any) -> str:
    """What tells a loss or an argument of it from all others; TypeError where nothing does."""
    if isinstance(value, partial):
        given = [*map(_text, value.args), *(f"{key}={_text(part)}" for key, part in sorted(value.keywords.items()))]
        return f"{_text(value.func)}({', '.join(given)})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__module__}.{value!r}"
    name = getattr(value, "__qualname__", "")
    if not name or "<" in name:
        raise TypeError(f"{name or type(value).__name__} cannot be told from another one")
    return f"{value.__module__}.{name}"


def learned(loss: Loss, seed: int) -> nn.Module:
    """A new loss with parameters, which depend on the seed alone.

    Args:
        loss: A class of modules, or a partial of one.
        seed: Any whole number below 2**63.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: nn.Module = loss()
    return made
