"""Recipes of one phase: the labels, or one layer of the teacher."""

from __future__ import annotations

from functools import partial

from compress.losses import kd_loss, pkt_loss
from compress.phase import Fit, Lesson, Phase, S, T, Term
from compress.recipes.knobs import check_positive, check_share
from compress.recipes.maps import times
from compress.recipes.method import Recipe


def no_teacher(lesson: Lesson, fit: Fit) -> list[Phase]:
    """One phase on the task's own terms; the baseline every method must beat."""
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
    check_share("okd", alpha=alpha)
    check_positive("okd", tau=tau)
    own = tuple(times(term, alpha) for term in lesson.task.terms)
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
    check_positive("pkt", beta=beta)
    weight = beta if lesson.task.terms else 1.0
    term = Term(pkt_loss, (S("embedding"), T("embedding")), weight, "pkt")
    return [Phase("embedding", (*lesson.task.terms, term), fit)]


NO_TEACHER = Recipe(
    "no_teacher", no_teacher, "nobody", about="the task alone; what every method must beat", needs=("labels",)
)
OKD = Recipe(
    "okd",
    okd,
    about="the task and the teacher's softened classes",
    paper="Hinton et al., Distilling the Knowledge in a Neural Network, 2015",
)
PKT = Recipe(
    "pkt",
    pkt,
    about="the task and the neighbourhoods of the teacher's embedding",
    paper="Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, 2018",
    needs=("embedding",),
)
