"""Recipes of one phase: the labels, or one layer of the teacher."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from compress.errors import PlanError
from compress.losses import kd_loss, pkt_loss
from compress.phase import Fit, Lesson, Phase, S, T, Term
from compress.recipes.method import Recipe


def no_teacher(lesson: Lesson, fit: Fit) -> list[Phase]:
    """One phase on the task's own terms; the baseline every method must beat."""
    if not lesson.task.terms:
        raise PlanError(f"no_teacher: task {lesson.task.name!r} has no loss of its own; take --task classification")
    return [Phase("task", lesson.task.terms, fit)]


def okd(lesson: Lesson, fit: Fit, *, alpha: float = 0.1, tau: float = 4.0) -> list[Phase]:
    """One phase: alpha * task + (1 - alpha) * softened Kullback-Leibler divergence on the logits.

    Args:
        lesson: A task without terms leaves the divergence alone.
        fit: The whole schedule.
        alpha: Weight of the task, in [0, 1].
        tau: Temperature, above 0.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
    """
    if not 0 <= alpha <= 1:
        raise PlanError(f"okd: alpha is {alpha}; allowed is 0 to 1")
    if not 0 < tau < math.inf:
        raise PlanError(f"okd: tau is {tau}; it must be above 0")
    own = tuple(replace(term, weight=_times(term.weight, alpha)) for term in lesson.task.terms)
    rest = 1 - alpha if own else 1.0
    return [Phase("okd", (*own, Term(partial(kd_loss, tau=tau), (S("logits"), T("logits")), rest, "kd")), fit)]


def pkt(lesson: Lesson, fit: Fit, *, beta: float = 1_000.0) -> list[Phase]:
    """One phase: the task plus beta * PKT on the embedding, or PKT alone where the task has no terms.

    The loss is a mean over B x B small numbers; the default weight, which no paper gives, makes it about as large as
    the cross-entropy.

    Args:
        lesson: The teacher's embedding may be of another width.
        fit: The whole schedule.
        beta: Weight of PKT beside the task's terms, above 0.

    Reference: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, 2018.
    """
    if not 0 < beta < math.inf:
        raise PlanError(f"pkt: beta is {beta}; it must be above 0")
    weight = beta if lesson.task.terms else 1.0
    term = Term(pkt_loss, (S("embedding"), T("embedding")), weight, "pkt")
    return [Phase("embedding", (*lesson.task.terms, term), fit)]


def _times(weight: float | tuple[float, ...], factor: float) -> float | tuple[float, ...]:
    return tuple(one * factor for one in weight) if isinstance(weight, tuple) else weight * factor


NO_TEACHER = Recipe("no_teacher", no_teacher, "nobody")
OKD = Recipe("okd", okd)
PKT = Recipe("pkt", pkt)
