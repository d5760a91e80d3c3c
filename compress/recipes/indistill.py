"""InDistill: the maps of a narrowed auxiliary, layer after layer, then a single-layer recipe."""

from __future__ import annotations

from dataclasses import replace

from compress.errors import PlanError, unknown_name
from compress.losses import feature_loss, pkt_loss
from compress.phase import Fit, Lesson, Phase, S, T, Term
from compress.pruning import narrow_taps
from compress.pruning.release import narrow_taps_release
from compress.recipes.method import Method, Recipe
from compress.recipes.single import PKT, no_teacher
from compress.stages import Staged

FOLLOW = ("paper", "release")
BY_PKT = Method(PKT)


def layer_epochs(layers: int, a: int, b: int) -> tuple[int, ...]:
    """The epochs of each layer: a + i*b for layer i = 1..`layers`.

    Args:
        layers: Intermediate layers to transfer.
        a: Least epochs of a layer, at least 0.
        b: Further epochs for each later layer, at least 0; a + b at least 1.

    Raises:
        PlanError: a, b are out of range.

    Reference: Sarridis et al., InDistill, Eq. 2.
    """
    if a < 0 or b < 0 or a + b < 1:
        raise PlanError(f"indistill: a = {a}, b = {b}: both at least 0 and their sum at least 1")
    return tuple(a + layer * b for layer in range(1, layers + 1))


def l_cls_epochs(layers: int, total: int, a: int, b: int) -> tuple[int, ...]:
    """The epochs of each sub-task: a + i*b for layer i = 1..`layers`, and what is left of `total` for the final one.

    Args:
        layers: Intermediate layers to transfer, at least 1.
        total: Epochs in all.
        a: Least epochs of a layer, at least 0.
        b: Further epochs for each later layer, at least 0; a + b at least 1.

    Returns:
        `layers` + 1 numbers that sum to `total`.

    Raises:
        PlanError: The layers leave no epoch for the final task, or a, b are out of range.

    Reference: Sarridis et al., InDistill, Eq. 2.
    """
    epochs = layer_epochs(layers, a, b)
    left = total - sum(epochs)
    if left < 1:
        raise PlanError(
            f"indistill: {total} epochs leave none for the final task: {layers} layers with a = {a}, b = {b} take "
            f"{sum(epochs)}; give at least {sum(epochs) + 1} epochs, or a smaller a or b"
        )
    return (*epochs, left)


def indistill(
    lesson: Lesson, fit: Fit, *, a: int = 2, b: int = 1, last: Method = BY_PKT, follow: str = "paper"
) -> list[Phase]:
    """One phase for each intermediate stage, on the error to the narrowed auxiliary alone, then a single-layer recipe.

    Nothing is ever frozen. The task is used by the last phase only, and what the fit says of `keep` holds there.

    Args:
        lesson: Its teacher is the auxiliary, narrowed to the student's widths.
        fit: The whole schedule; the phases share it out.
        a: Epochs of every intermediate stage (l-CLS).
        b: Further epochs for each later stage (l-CLS).
        last: What the final phase does.
        follow: "paper", or "release" for the released code's new optimizer in every epoch.

    Reference: Sarridis et al., InDistill, Sec. 3 and Eq. 2.
    """
    _check_follow(follow)
    if follow == "release" and fit.keep != "last":
        raise PlanError("indistill: follow=release makes each epoch a phase of its own; it can only keep the last one")
    if last.recipe.guide == "auxiliary":
        raise PlanError(f"indistill: last={last.name} would need an auxiliary again; take a recipe of one layer")
    student = lesson.student
    phases, start = [], 0
    epochs = l_cls_epochs(len(student.body), fit.epochs, a, b)
    for stage, count in zip(student.body, epochs, strict=False):
        term = Term(feature_loss, (S(stage), T(stage)), 1.0, "mse")
        phases.append(Phase(stage, (term,), replace(fit.window(start, start + count), keep="last")))
        start += count
    phases += last.phases(lesson, fit.window(start, fit.epochs))
    return [one for phase in phases for one in _epochs_of(phase)] if follow == "release" else phases


def narrowed(auxiliary: Staged, student: Staged, *, follow: str = "paper") -> Staged:
    """The auxiliary, showing at each intermediate stage as many channels as the student has.

    Args:
        auxiliary: At least as wide as the student, with the same stages.
        student: Gives the widths.
        follow: "paper", or "release" for the released code's batch-norm of the kept filters.
    """
    _check_follow(follow)
    widths = {name: student.width(name) for name in student.body}
    return narrow_taps_release(auxiliary, widths) if follow == "release" else narrow_taps(auxiliary, widths)


def fewest_epochs(student: Staged, *, a: int = 2, b: int = 1, last: Method = BY_PKT) -> int:
    """The epochs that the layers take, and the fewest of the final phase."""
    return sum(layer_epochs(len(student.body), a, b)) + last.fewest_epochs(student)


def auxiliary_phases(lesson: Lesson, fit: Fit) -> list[Phase]:
    """Two phases, each of the whole fit, that make an auxiliary: the labels, then the teacher's embedding by PKT.

    Reference: Sarridis et al., InDistill, Sec. 3.3, with the pre-training of Passalis et al., Heterogeneous Knowledge
        Distillation Using Information Flow Modeling, 2020.
    """
    term = Term(pkt_loss, (S("embedding"), T("embedding")), 1.0, "pkt")
    return [*no_teacher(lesson, fit), Phase("embedding", (term,), fit)]


def _check_follow(follow: str) -> None:
    if follow not in FOLLOW:
        raise PlanError(f"indistill: {unknown_name('source to follow', follow, FOLLOW)}")


def _epochs_of(phase: Phase) -> list[Phase]:
    """The phase as phases of one epoch, each with an optimizer of its own."""
    return [
        Phase(
            f"{phase.name}.{epoch + 1}",
            tuple(replace(term, weight=term.weight_at(epoch)) for term in phase.terms),
            phase.fit.window(epoch, epoch + 1),
            phase.train,
        )
        for epoch in range(phase.fit.epochs)
    ]


INDISTILL = Recipe(
    "indistill",
    indistill,
    "auxiliary",
    narrowed,
    fewest_epochs,
    about="the maps of a narrowed auxiliary, layer after layer; then a single-layer method",
    paper="Sarridis et al., InDistill: Information flow-preserving knowledge distillation, 2022",
    needs=("stages",),
)
