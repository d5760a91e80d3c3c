"""Recipes of one phase in which stages of the teacher stand beside the task."""

from __future__ import annotations

from compress.phase import Fit, Lesson, Phase, Term
from compress.recipes.knobs import check_choice
from compress.recipes.maps import STAGE_LOSSES, stage_term, times
from compress.recipes.method import Recipe


def simultaneous(lesson: Lesson, fit: Fit, *, loss: str = "mse") -> list[Phase]:
    """One phase: the mean of the task and of the losses of all body stages.

    Args:
        lesson: Teacher and student have the same stages; a task without terms leaves the stages alone.
        fit: The whole training.
        loss: What likens a stage to the teacher's: a name of `STAGE_LOSSES`.

    Reference: Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019, Eq. 3.
    Deviates: The paper adds the task to the mean of the stages; as in its released code this is the mean of them all.
    """
    check_choice("simultaneous", "stage loss", loss, STAGE_LOSSES)
    stages = [stage_term(lesson, stage, loss, name=f"{loss} {stage}") for stage in lesson.student.body]
    return [Phase("all", _mean(lesson, stages), fit)]


def _mean(lesson: Lesson, stages: list[Term]) -> tuple[Term, ...]:
    """The mean of the task, as one, and of the terms of the stages."""
    own = lesson.task.terms
    return tuple(times(term, 1 / (len(stages) + bool(own))) for term in (*own, *stages))


SIMULTANEOUS = Recipe(
    "simultaneous",
    simultaneous,
    about="the mean of the task and of the differences of all body stages at once",
    paper="Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019",
    needs=("stages", "equal shapes"),
)
