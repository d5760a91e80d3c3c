"""Recipes that train a network part after part: Stagewise, Traditional and FSP."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from compress.errors import PlanError
from compress.losses import fsp_loss
from compress.phase import Fit, Lesson, Norms, Phase, S, T, Term
from compress.recipes.knobs import check_choice
from compress.recipes.maps import STAGE_LOSSES, by_loss, check_teachers, shared_out, stage_term, without_stem
from compress.recipes.method import Recipe
from compress.stages import Staged
from compress.text import counted

FOLLOW = ("paper", "release")
TRADITIONAL_FOLLOW = ("paper", "release", "fitnets")
UNET_HINTS = ("layer2", "up3")


def stagewise(lesson: Lesson, fit: Fit, *, loss: str = "mse", follow: str = "paper") -> list[Phase]:
    """One phase for each body stage, which trains that stage alone to be the teacher's; then the rest on the task.

    The epochs are shared out equally, what is left over goes to the last phase, and each phase runs through the whole
    schedule. A stage keeps the epoch of the least validation loss where the fit asks for the best score.

    Args:
        lesson: Teacher and student have the same stages.
        fit: The whole training.
        loss: What likens a stage to the teacher's: a name of `STAGE_LOSSES`.
        follow: "paper", or "release" for the released code, whose frozen batch-norm stays in training mode.

    Reference: Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019, Algorithm 1.
    """
    check_choice("stagewise", "stage loss", loss, STAGE_LOSSES)
    check_choice("stagewise", "source to follow", follow, FOLLOW)
    body = lesson.student.body
    stages = [((stage,), (stage_term(lesson, stage, loss),), stage) for stage in body]
    return _parts("stagewise", lesson, fit, stages, norms=_norms(follow))


def fewest_stagewise(student: Staged) -> int:
    """One epoch for each body stage and one for the classifier."""
    return len(student.body) + 1


def traditional(lesson: Lesson, fit: Fit, *, stages: str = "", loss: str = "mse", follow: str = "paper") -> list[Phase]:
    """A phase that trains all up to a middle stage to be the teacher's there; then the task, that part frozen.

    The epochs are shared out as in `stagewise`.

    Args:
        lesson: Teacher and student have the hinted stages.
        fit: The whole training.
        stages: The hinted stages, separated by commas, each of which trains what lies between it and the one before;
            "" is the middle body stage, and of a U-Net the second layer of the encoder and the third block of the
            decoder.
        loss: What likens a stage to the teacher's: a name of `STAGE_LOSSES`.
        follow: "paper"; "release" for frozen batch-norm in training mode; "fitnets" for a task that trains everything.

    Reference: Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019, Sec. 4.3; Romero et al., FitNets:
        Hints for Thin Deep Nets, 2015.
    Deviates: FitNets' last phase learns from the teacher's logits too; here as in the 2019 paper from the labels alone.
    """
    check_choice("traditional", "stage loss", loss, STAGE_LOSSES)
    check_choice("traditional", "source to follow", follow, TRADITIONAL_FOLLOW)
    parts, start, body = [], 0, lesson.student.body
    for stage in _hinted(lesson.student, stages):
        stop = body.index(stage) + 1
        parts.append((body[start:stop], (stage_term(lesson, stage, loss),), stage))
        start = stop
    return _parts("traditional", lesson, fit, parts, norms=_norms(follow), all_at_last=follow == "fitnets")


def fewest_traditional(student: Staged, *, stages: str = "") -> int:
    """One epoch for each hinted stage and one for the task."""
    return len(_hinted(student, stages)) + 1


def fsp(lesson: Lesson, fit: Fit) -> list[Phase]:
    """A phase that trains the body to go from each stage to the next as the teacher does; then the task, everything.

    The epochs are shared out as in `stagewise`. A stem is left out: it is not one of the stages of the paper.

    Args:
        lesson: Teacher and student have the same stages, as wide; their sizes may differ.
        fit: The whole training.

    Reference: Yim et al., A Gift from Knowledge Distillation, 2017; Kulkarni et al., Data Efficient Stagewise Knowledge
        Distillation, 2019, Sec. 4.3.
    """
    body = lesson.student.body
    names = without_stem(lesson.student)
    if len(names) < 2:
        raise PlanError(f"fsp: the student has the stages {', '.join(body)}; flows need two besides a stem")
    for name in names:
        check_teachers(lesson, name)
    flows = tuple(_flow(*pair, weight=1 / (len(names) - 1)) for pair in pairwise(names))
    return _parts("fsp", lesson, fit, [(body, flows, "flow")], norms="as trained", all_at_last=True)


def fewest_fsp(student: Staged) -> int:
    """One epoch for the flows and one for the task."""
    return 2


def _flow(first: str, second: str, *, weight: float) -> Term:
    refs = (S(first), S(second), T(first), T(second))
    return Term(fsp_loss, refs, weight, f"{first} to {second}")


def _hinted(student: Staged, stages: str) -> tuple[str, ...]:
    """The named stages of the body, in its order; PlanError where one is not there."""
    body = student.body
    if not stages:
        return UNET_HINTS if set(UNET_HINTS) <= set(body) else body[len(body) // 2 :][:1]
    names = [name.strip() for name in stages.split(",")]
    for name in names:
        check_choice("traditional", "intermediate stage", name, body)
    return tuple(name for name in body if name in names)


def _norms(follow: str) -> Norms:
    return "in training" if follow == "release" else "as trained"


Part = tuple[tuple[str, ...], tuple[Term, ...], str]


def _parts(
    method: str, lesson: Lesson, fit: Fit, parts: Sequence[Part], *, norms: Norms, all_at_last: bool = False
) -> list[Phase]:
    """A phase for each (stages that learn, terms, name), then one on the task for the stages that have not learnt."""
    phases = len(parts) + 1
    if fit.epochs < phases:
        raise PlanError(f"{method}: {counted(fit.epochs, 'epoch')} for {phases} phases; give at least {phases}")
    counts = shared_out(fit.epochs, phases)
    plan = [
        Phase(name, terms, by_loss(fit.over(count)), stages, norms)
        for (stages, terms, name), count in zip(parts, counts, strict=False)
    ]
    taught = [name for stages, _, _ in parts for name in stages]
    rest = tuple(stage.name for stage in lesson.student.stages if stage.name not in taught)
    return [*plan, Phase("task", lesson.task.terms, fit.over(counts[-1]), None if all_at_last else rest, norms)]


STAGEWISE = Recipe(
    "stagewise",
    stagewise,
    fewest=fewest_stagewise,
    about="one body stage after another, alone, to the teacher's map; then the classifier on the labels",
    paper="Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019",
    needs=("stages", "equal shapes", "labels"),
)
TRADITIONAL = Recipe(
    "traditional",
    traditional,
    fewest=fewest_traditional,
    about="all up to a middle stage to the teacher's map; then the rest on the labels",
    paper="Romero et al., FitNets, 2015, as in Kulkarni et al., 2019",
    needs=("stages", "equal shapes", "labels"),
)
FSP = Recipe(
    "fsp",
    fsp,
    fewest=fewest_fsp,
    about="the flow from each body stage to the next; then everything on the labels",
    paper="Yim et al., A Gift from Knowledge Distillation, 2017",
    needs=("stages", "equal widths", "labels"),
)
