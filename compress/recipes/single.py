"""Recipes of one phase: the labels, or one layer of the teacher."""

from __future__ import annotations

from functools import partial

from compress.errors import PlanError
from compress.losses import CRD, dist_loss, dkd_loss, kd_loss, mkt_loss, pkt_loss
from compress.phase import INDEX, LABELS, Fit, Lesson, Phase, S, T, Term
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
    return [Phase("okd", softened("okd", lesson, alpha, tau), fit)]


def softened(method: str, lesson: Lesson, alpha: float, tau: float) -> tuple[Term, ...]:
    """The terms of a task whose labels are softened by the teacher's logits; see `okd`."""
    check_share(method, alpha=alpha)
    check_positive(method, tau=tau)
    own = tuple(times(term, alpha) for term in lesson.task.terms)
    rest = 1 - alpha if own else 1.0
    return (*own, Term(partial(kd_loss, tau=tau), (S("logits"), T("logits")), rest, "kd"))


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


def mkt(lesson: Lesson, fit: Fit, *, beta: float = 1.0) -> list[Phase]:
    """One phase: the task plus beta * MKT on the embedding, or MKT alone where the task has no terms.

    Args:
        lesson: The teacher's embedding may be of another width.
        fit: The whole schedule.
        beta: Weight of MKT beside the task's terms, above 0.

    Reference: Yu et al., Learning Metrics from Teachers, 2019.
    """
    check_positive("mkt", beta=beta)
    weight = beta if lesson.task.terms else 1.0
    term = Term(mkt_loss, (S("embedding"), T("embedding")), weight, "mkt")
    return [Phase("embedding", (*lesson.task.terms, term), fit)]


def crd(
    lesson: Lesson,
    fit: Fit,
    *,
    beta: float = 0.8,
    negatives: int = 16_384,
    tau: float = 0.07,
    momentum: float = 0.5,
) -> list[Phase]:
    """One phase: the task plus beta * CRD on the embedding, or CRD alone where the task has no terms.

    Args:
        lesson: The teacher's embedding may be of another width.
        fit: The whole schedule.
        beta: Weight of CRD beside the task's terms, above 0.
        negatives: Embeddings of other images that each one is told from, at least 1.
        tau: Temperature, above 0.
        momentum: Of the banks of embeddings, in [0, 1).

    Reference: Tian et al., Contrastive Representation Distillation, 2020.
    """
    check_positive("crd", beta=beta, negatives=negatives, tau=tau)
    if not 0 <= momentum < 1:
        raise PlanError(f"crd: momentum is {momentum}; allowed is 0 up to, not including, 1")
    assert lesson.teacher is not None
    widths = lesson.student.width("embedding"), lesson.teacher.width("embedding")
    loss = partial(CRD, *widths, lesson.images, negatives=negatives, tau=tau, momentum=momentum)
    weight = beta if lesson.task.terms else 1.0
    term = Term(loss, (S("embedding"), T("embedding"), INDEX), weight, "crd")
    return [Phase("embedding", (*lesson.task.terms, term), fit)]


def dkd(lesson: Lesson, fit: Fit, *, alpha: float = 1.0, beta: float = 8.0, tau: float = 4.0) -> list[Phase]:
    """One phase: the task plus alpha * (how sure the teacher is of the label) + beta * (how it ranks the others).

    Args:
        lesson: A task with labels.
        fit: The whole schedule.
        alpha: Weight of the label against all others, above 0.
        beta: Weight of the other classes among themselves, above 0.
        tau: Temperature, above 0.

    Reference: Zhao et al., Decoupled Knowledge Distillation, 2022.
    """
    check_positive("dkd", alpha=alpha, beta=beta, tau=tau)
    loss = partial(dkd_loss, tau=tau, alpha=alpha, beta=beta)
    return [Phase("dkd", (*lesson.task.terms, Term(loss, (S("logits"), T("logits"), LABELS), 1.0, "dkd")), fit)]


def dist(lesson: Lesson, fit: Fit, *, beta: float = 2.0, gamma: float = 2.0, tau: float = 1.0) -> list[Phase]:
    """One phase: the task plus beta * (how each image ranks the classes) + gamma * (how each class ranks the images).

    Args:
        lesson: A task without terms leaves the ranks alone.
        fit: The whole schedule.
        beta: Weight of the classes of an image, above 0.
        gamma: Weight of the images of a class, above 0.
        tau: Temperature, above 0.

    Reference: Huang et al., Knowledge Distillation from A Stronger Teacher, 2022.
    """
    check_positive("dist", beta=beta, gamma=gamma, tau=tau)
    loss = partial(dist_loss, tau=tau, beta=beta, gamma=gamma)
    return [Phase("dist", (*lesson.task.terms, Term(loss, (S("logits"), T("logits")), 1.0, "dist")), fit)]


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
MKT = Recipe(
    "mkt",
    mkt,
    about="the task and the distances of the teacher's embedding",
    paper="Yu et al., Learning Metrics from Teachers: Compact Networks for Image Embedding, 2019",
    needs=("embedding",),
)
CONTRASTIVE = Recipe(
    "crd",
    crd,
    about="the task and the teacher's embedding of an image, told from those of others",
    paper="Tian et al., Contrastive Representation Distillation, 2020",
    needs=("embedding",),
)
DKD = Recipe(
    "dkd",
    dkd,
    about="the task, the teacher's trust in the label and its ranks of the other classes",
    paper="Zhao et al., Decoupled Knowledge Distillation, 2022",
    needs=("labels",),
)
DIST = Recipe(
    "dist",
    dist,
    about="the task and the teacher's ranks of the classes of an image and of the images of a class",
    paper="Huang et al., Knowledge Distillation from A Stronger Teacher, 2022",
)
