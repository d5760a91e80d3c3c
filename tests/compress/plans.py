"""What the tests of recipes and of the engine plan with: small networks, a lesson, terms, losses that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from compress.losses import cross_entropy_loss, feature_loss, kd_loss, pkt_loss
from compress.models import Architecture, build
from compress.phase import LABELS, Lesson, Phase, S, T, Term, describe
from compress.preprocessing import Scale
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, Task

CE = Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce")


SEEN = Scale((0.3057,), (0.3762,))  # as digits are scaled


def make_student(seed: int = 3) -> Staged:
    """A new cnn-s of width 4 for the digits of 24 x 24."""
    return replace(build(Architecture("cnn-s", 10, 1, (24, 24), {"width": 4}), seed=seed), scale=SEEN)


def make_guide(seed: int = 9) -> Staged:
    """A new cnn-a of width 8 for the digits of 24 x 24."""
    return replace(build(Architecture("cnn-a", 10, 1, (24, 24), {"width": 8}), seed=seed), scale=SEEN)


def make_lesson(student: Staged, teacher: Staged | None, task: Task = CLASSIFICATION) -> Lesson:
    """A lesson on 130 images of 10 classes."""
    return Lesson(student, teacher, task, 130, 10, 0)


def kd(tau: float, weight: float) -> Term:
    """The divergence of the logits."""
    return Term(partial(kd_loss, tau=tau), (S("logits"), T("logits")), weight, "kd")


def pkt(weight: float) -> Term:
    """PKT on the embedding."""
    return Term(pkt_loss, (S("embedding"), T("embedding")), weight, "pkt")


def maps(stage: str) -> tuple[Term, ...]:
    """The error of one map alone."""
    return (Term(feature_loss, (S(stage), T(stage)), 1.0, "mse"),)


def alike(plan: list[Phase], *expected: Phase) -> bool:
    """Whether two plans train alike."""
    return describe(plan) == describe(expected)


class Adapter(nn.Module):
    """A loss with parameters and running statistics: the student's map, widened, is to be the teacher's."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.adapt = nn.Sequential(nn.Conv2d(width, wide, 1), nn.BatchNorm2d(wide))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (self.adapt(student) - teacher).square().mean()


HINT = Term(partial(Adapter, 8, 16), (S("map2"), T("map2")), 1.0, "hint")


@dataclass
class Trip:
    """A cross-entropy that fails once, at its `at`-th call; the plan's check is the first."""

    at: int = field(repr=False)
    fail: Callable[[Tensor], Tensor] = field(repr=False)
    calls: int = field(default=0, repr=False)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        loss = cross_entropy_loss(logits, labels)
        return self.fail(loss) if self.calls == self.at else loss


def noisy_loss(embedding: Tensor) -> Tensor:
    """Draws from torch's random state, as dropout would."""
    return (embedding + torch.randn(embedding.shape)).square().mean()
