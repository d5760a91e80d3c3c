"""A training plan as plain frozen data: a recipe returns phases, a phase trains on the sum of its terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Loss = Callable[..., Tensor]

OPTIMIZERS: dict[str, Callable[[float], OptimizerFactory]] = {
    "adam": lambda lr: partial(torch.optim.Adam, lr=lr),
    "adamw": lambda lr: partial(torch.optim.AdamW, lr=lr, weight_decay=0.05),
    "sgd": lambda lr: partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4),
}


def step_schedule(epochs: int) -> tuple[float, ...]:
    """The factors of the paper's schedule: 1, then 0.1 for the last seventh (of 70 epochs the last 10)."""
    late = min(max(round(epochs / 7), 1), epochs - 1)
    return (1.0,) * (epochs - late) + (0.1,) * late


def cosine_schedule(epochs: int) -> tuple[float, ...]:
    """Factors that fall from 1 along half a cosine, without reaching 0."""
    return tuple((1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs))


def constant_schedule(epochs: int) -> tuple[float, ...]:
    """A factor of 1 in every epoch."""
    return (1.0,) * epochs


SCHEDULES: dict[str, Callable[[int], tuple[float, ...]]] = {
    "step": step_schedule,
    "cosine": cosine_schedule,
    "constant": constant_schedule,
}


@dataclass(frozen=True)
class Ref:
    """The address of one argument of a loss: a feature of the student or the teacher, the labels or the indices."""

    side: Literal["student", "teacher", "labels", "index"]
    stage: str = ""


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
        loss: A pure function of tensors, or a module where the loss owns parameters.
        args: Where each of its arguments comes from.
        weight: Its factor in the sum.
        name: How it is called in progress lines and metrics.
    """

    loss: Loss
    args: tuple[Ref, ...]
    weight: float
    name: str


@dataclass(frozen=True)
class Fit:
    """How long and how fast to train.

    Attributes:
        epochs: Passes over the training set, at least one.
        optimizer: Makes the optimizer from the parameters.
        schedule: The learning-rate factor of each epoch; as long as `epochs`.
        keep: Which weights leave the phase: those of the last epoch, or of the best one on the validation split.
        batch_size: Images a step.
    """

    epochs: int
    optimizer: OptimizerFactory
    schedule: tuple[float, ...]
    keep: Literal["last", "best"] = "last"
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs: got {self.epochs}; at least 1 is needed")
        if len(self.schedule) != self.epochs:
            raise ValueError(f"schedule: {len(self.schedule)} factors for {self.epochs} epochs; give one an epoch")
        if self.batch_size < 2:
            raise ValueError(f"batch size: got {self.batch_size}; at least 2 is needed (batch-norm, pairwise losses)")

    def window(self, start: int, stop: int) -> Fit:
        """The same fit, for epochs `start` to `stop` (exclusive, from 0) of its schedule only."""
        return replace(self, epochs=stop - start, schedule=self.schedule[start:stop])


@dataclass(frozen=True)
class Phase:
    """The longest stretch of training in which nothing changes but the network's parameters.

    Attributes:
        name: Unique in its plan.
        terms: Their weighted sum is what is minimised.
        fit: How long and how fast.
        train: The stages that learn; None means all. The others keep their parameters and batch-norm statistics.
    """

    name: str
    terms: tuple[Term, ...]
    fit: Fit
    train: tuple[str, ...] | None = None

    def stages(self, side: Literal["student", "teacher"]) -> tuple[str, ...]:
        """The stages that the terms read on one side, each once, in the order of their first use."""
        refs = (ref for term in self.terms for ref in term.args)
        return tuple(dict.fromkeys(ref.stage for ref in refs if ref.side == side))


def describe(phases: Iterable[Phase]) -> list[dict[str, Any]]:
    """The plan as JSON-able data: equal for two plans that train alike."""
    return [
        {
            "name": phase.name,
            "terms": [
                {
                    "name": t.name,
                    "weight": t.weight,
                    "loss": _loss_text(t.loss),
                    "args": [[r.side, r.stage] for r in t.args],
                }
                for t in phase.terms
            ],
            "epochs": phase.fit.epochs,
            "optimizer": _factory_text(phase.fit.optimizer),
            "schedule": list(phase.fit.schedule),
            "keep": phase.fit.keep,
            "batch_size": phase.fit.batch_size,
            "train": list(phase.train) if phase.train is not None else None,
        }
        for phase in phases
    ]


def _factory_text(factory: Callable[..., Any]) -> str:
    if isinstance(factory, partial):
        given = [*map(repr, factory.args), *(f"{key}={value!r}" for key, value in sorted(factory.keywords.items()))]
        return f"{_factory_text(factory.func)}({', '.join(given)})"
    return getattr(factory, "__qualname__", type(factory).__qualname__)


def _loss_text(loss: Loss) -> str:
    return repr(loss) if isinstance(loss, nn.Module) else _factory_text(loss)
