"""What recipes share that match stages: the losses by name, the terms of a stage, how epochs are shared out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from compress.errors import PlanError
from compress.losses import Hint, attention_loss, feature_loss, mkt_loss, pkt_loss
from compress.phase import Fit, Lesson, Loss, S, T, Term
from compress.stages import Staged

Weight = float | tuple[float, ...]
StageLoss = Callable[[Lesson, str], Loss]


def _hint(lesson: Lesson, stage: str) -> Loss:
    assert lesson.teacher is not None
    return partial(Hint, lesson.student.width(stage), lesson.teacher.width(stage))


STAGE_LOSSES: Mapping[str, StageLoss] = {
    "mse": lambda _lesson, _stage: feature_loss,
    "hint": _hint,
    "attention": lambda _lesson, _stage: attention_loss,
    "pkt": lambda _lesson, _stage: pkt_loss,
    "mkt": lambda _lesson, _stage: mkt_loss,
}


def stage_term(lesson: Lesson, stage: str, loss: str = "mse", *, weight: Weight = 1.0, name: str = "") -> Term:
    """The term that likens a stage of the student to the teacher's.

    Args:
        lesson: Whose networks they are.
        stage: A stage that both have.
        loss: A name of `STAGE_LOSSES`.
        weight: Of the term.
        name: Of the term; the loss's where none is given.

    Raises:
        PlanError: The teacher has no such stage.
    """
    check_teachers(lesson, stage)
    return Term(STAGE_LOSSES[loss](lesson, stage), (S(stage), T(stage)), weight, name or loss)


def check_teachers(lesson: Lesson, stage: str) -> None:
    """Nothing, once the teacher has a stage of the student; PlanError otherwise."""
    names = [one.name for one in lesson.teacher.stages] if lesson.teacher else []
    if stage not in names:
        raise PlanError(
            f"the teacher has no stage {stage!r}, only {', '.join(names)}; take one of the student's family, name the "
            "student's stages (--stage) that have a map of the teacher's size, or take a method of logits or "
            "embeddings, such as okd or pkt"
        )


def times(term: Term, factor: float) -> Term:
    """The same term with its weight, or the weight of each epoch, times a factor."""
    many = isinstance(term.weight, tuple)
    return replace(term, weight=tuple(w * factor for w in term.weight) if many else term.weight * factor)  # type: ignore[union-attr,operator]


def shared_out(epochs: int, phases: int) -> tuple[int, ...]:
    """So many epochs for each phase: equally many, and what is left over for the last.

    Args:
        epochs: In all, at least one for each phase.
        phases: How many there are.
    """
    each = epochs // phases
    return (*(each,) * (phases - 1), epochs - each * (phases - 1))


def by_loss(fit: Fit) -> Fit:
    """The fit of a phase that does not reach the task's answer: of the epochs the best by score is the best by loss."""
    return replace(fit, keep="best loss") if fit.keep == "best score" else fit


def without_stem(student: Staged) -> tuple[str, ...]:
    """The body stages that are layers of blocks: all but a stem."""
    return tuple(name for name in student.body if name != "stem")
