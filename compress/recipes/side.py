"""Recipes of one phase in which stages of the teacher stand beside the task."""

from __future__ import annotations

from functools import partial

from compress.errors import PlanError
from compress.losses import Hint
from compress.phase import Fit, Lesson, Loss, Phase, S, T, Term
from compress.recipes.knobs import check_choice, check_positive
from compress.recipes.maps import STAGE_LOSSES, stage_term, times, without_stem
from compress.recipes.method import Recipe
from compress.recipes.single import softened
from compress.stages import Staged


def simultaneous(lesson: Lesson, fit: Fit, *, loss: str = "mse", alpha: float = 1.0, tau: float = 4.0) -> list[Phase]:
    """One phase: the mean of the task and of the losses of all body stages.

    Args:
        lesson: Teacher and student have the same stages; a task without terms leaves the stages alone.
        fit: The whole training.
        loss: What likens a stage to the teacher's: a name of `STAGE_LOSSES`.
        alpha: Share of the labels in the task, in [0, 1]; the rest is for the teacher's logits, as in `okd`.
        tau: Temperature of these, above 0.

    Reference: Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019, Eq. 3.
    Deviates: The paper adds the task to the mean of the stages; as in its released code this is the mean of them all.
    """
    check_choice("simultaneous", "stage loss", loss, STAGE_LOSSES)
    stages = [stage_term(lesson, stage, loss, name=f"{loss} {stage}") for stage in lesson.student.body]
    own = lesson.task.terms if alpha == 1 else softened("simultaneous", lesson, alpha, tau)
    return [Phase("all", _mean(own, stages), fit)]


def _mean(own: tuple[Term, ...], stages: list[Term]) -> tuple[Term, ...]:
    """The mean of the task, as one, and of the terms of the stages."""
    return tuple(times(term, 1 / (len(stages) + bool(own))) for term in (*own, *stages))


STARTS = ("random", "identity")


def hints(
    lesson: Lesson,
    fit: Fit,
    *,
    stage: str = "",
    teacher_stage: str = "",
    beta: float = 100.0,
    start: str = "random",
) -> list[Phase]:
    """One phase: the task plus beta * the error of one map, through a regressor that is learnt along.

    Args:
        lesson: Maps may differ in channels and size; a task without terms leaves the map alone.
        fit: The whole schedule.
        stage: Of the student; "" is the middle body stage.
        teacher_stage: Of the teacher; "" is the one of the same name.
        beta: Weight beside the task's terms, above 0; the default is that of Tian et al., 2020.
        start: How the regressor begins: "random"; or "identity", where channel by channel the two maps mean the same,
            as those of a pruned network and of what it was cut from.

    Reference: Romero et al., FitNets: Hints for Thin Deep Nets, 2015.
    Deviates: FitNets trains the map first and the task then (see `traditional`); here, as in the comparisons of later
        papers, both at once.
    """
    check_positive("hints", beta=beta)
    assert lesson.teacher is not None
    ours, theirs = _stages(lesson.student, lesson.teacher, stage, teacher_stage)
    term = Term(_hint(lesson, ours, theirs, start), (S(ours), T(theirs)), beta if lesson.task.terms else 1.0, "hint")
    return [Phase("hints", (*lesson.task.terms, term), fit)]


def _stages(student: Staged, teacher: Staged, stage: str, teacher_stage: str) -> tuple[str, str]:
    """The student's stage and the teacher's; PlanError where one of them has none of that name."""
    ours = stage or student.body[len(student.body) // 2]
    check_choice("hints", "stage of the student", ours, [one.name for one in student.stages])
    names = [one.name for one in teacher.stages]
    if not teacher_stage and ours not in names:
        why = "stage names" if stage else "is the student's middle one"
        other = "" if stage else f", or another of the student's with --set stage=NAME: {', '.join(student.body)}"
        raise PlanError(
            f"hints: the teacher has no stage {ours!r}, which {why} (the stages of a teacher of another family are "
            "called as the student's whose maps have their size); name one of the teacher's with --set "
            f"teacher_stage=NAME: {', '.join(names)}{other}"
        )
    theirs = teacher_stage or ours
    check_choice("hints", "stage of the teacher", theirs, names)
    return ours, theirs


def _hint(lesson: Lesson, stage: str, theirs: str, start: str) -> Loss:
    assert lesson.teacher is not None
    check_choice("hints", "start", start, STARTS)
    widths = lesson.student.width(stage), lesson.teacher.width(theirs)
    if start == "random":
        return partial(Hint, *widths)
    if widths[0] != widths[1]:
        raise PlanError(
            f"hints: start=identity, as a recovery begins, but the student's {stage} has {widths[0]} channels and the "
            f"teacher's {theirs} {widths[1]}; take --set start=random, or stages with equally many"
        )
    return partial(Hint, *widths, same=True)


def attention(lesson: Lesson, fit: Fit, *, beta: float = 1_000.0) -> list[Phase]:
    """One phase: the task plus beta * the difference of the attention maps of each body stage.

    Args:
        lesson: Maps may differ in channels and size; a task without terms leaves the maps alone.
        fit: The whole schedule.
        beta: Weight beside the task's terms, above 0.

    Reference: Zagoruyko and Komodakis, Paying More Attention to Attention, 2017.
    """
    check_positive("attention", beta=beta)
    weight = beta if lesson.task.terms else 1.0
    stages = [_attention(lesson, stage, weight) for stage in lesson.student.body]
    return [Phase("attention", (*lesson.task.terms, *stages), fit)]


def at(lesson: Lesson, fit: Fit, *, beta: float = 1.0) -> list[Phase]:
    """One phase: the mean of the task and of beta * the difference of the attention maps of each body stage.

    A stem is left out: it is not one of the stages of the paper.

    Args:
        lesson: Maps may differ in channels and size; a task without terms leaves the maps alone.
        fit: The whole schedule.
        beta: Weight of each map, above 0: 1 as released, 1000 in the paper of the attention maps.

    Reference: Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019, Sec. 4.3, as released.
    """
    check_positive("at", beta=beta)
    stages = [_attention(lesson, stage, beta) for stage in without_stem(lesson.student)]
    return [Phase("attention", _mean(lesson.task.terms, stages), fit)]


def _attention(lesson: Lesson, stage: str, weight: float) -> Term:
    return stage_term(lesson, stage, "attention", weight=weight, name=f"attention {stage}")


SIMULTANEOUS = Recipe(
    "simultaneous",
    simultaneous,
    about="the mean of the task and of the differences of all body stages at once",
    paper="Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019",
    needs=("stages", "equal shapes"),
)
HINTS = Recipe(
    "hints",
    hints,
    about="the task and one map of the teacher, through a regressor",
    paper="Romero et al., FitNets: Hints for Thin Deep Nets, 2015",
    needs=("stages",),
)
ATTENTION = Recipe(
    "attention",
    attention,
    about="the task and where the teacher looks at each body stage",
    paper="Zagoruyko and Komodakis, Paying More Attention to Attention, 2017",
    needs=("stages",),
)
AT = Recipe(
    "at",
    at,
    about="the mean of the task and of the attention of each body stage but the stem",
    paper="Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019",
    needs=("stages",),
)
