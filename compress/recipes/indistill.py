"""Recipes that learn from an auxiliary between teacher and student: InDistill and PKT-H-CR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from compress.errors import PlanError
from compress.losses import pkt_loss
from compress.phase import Fit, Lesson, Phase, S, T, Term
from compress.pruning import by_chance, filter_norms, narrow_taps
from compress.pruning.release import narrow_taps_release
from compress.recipes.knobs import check_choice, check_positive, check_share
from compress.recipes.maps import stage_term
from compress.recipes.method import Method, Recipe
from compress.recipes.single import PKT, no_teacher
from compress.stages import Staged
from compress.text import counted

FOLLOW = ("paper", "release", "targets")
SCHEMES = ("l-cls", "decay", "all")
SCHEMES_WITH = {"a": ("l-cls",), "b": ("l-cls",), "share": ("l-cls",), "weight": ("decay", "all"), "decay": ("decay",)}
CHANNELS = ("l1", "random")
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
        leave = "leaves" if total == 1 else "leave"
        raise PlanError(
            f"indistill: {counted(total, 'epoch')} {leave} none for the final task: {counted(layers, 'layer')} with "
            f"a = {a}, b = {b} take {sum(epochs)}; give at least {sum(epochs) + 1} epochs, or a smaller a or b"
        )
    return (*epochs, left)


def scaled_epochs(layers: int, total: int, a: int, b: int) -> tuple[tuple[int, int], ...]:
    """How so many epochs are shared by the layers in the proportions a + i*b, each a whole number of them.

    Args:
        layers: Intermediate layers to transfer, at least 1.
        total: Epochs of all of them, at least 1.
        a: See `layer_epochs`.
        b: Likewise.

    Returns:
        (layers, epochs) for each part, in their order: a layer, or neighbours where there are fewer epochs than layers.

    Raises:
        PlanError: a, b are out of range.
    """
    wanted = layer_epochs(layers, a, b)
    if total < layers:
        ends = [layers * part // total for part in range(total + 1)]
        return tuple((last - first, 1) for first, last in pairwise(ends))
    behind = list(accumulate(wanted, initial=0))
    ends = [part + round((total - layers) * behind[part] / behind[-1]) for part in range(layers + 1)]
    return tuple((1, last - first) for first, last in pairwise(ends))


def indistill(
    lesson: Lesson,
    fit: Fit,
    *,
    scheme: str = "l-cls",
    a: int = 2,
    b: int = 1,
    share: float = 0.0,
    weight: float = 1.0,
    decay: float = 0.7,
    last: Method = BY_PKT,
    channels: str = "l1",
    follow: str = "release",
) -> list[Phase]:
    """The error of the intermediate stages to the narrowed auxiliary, and a single-layer recipe.

    Nothing is ever frozen. By l-CLS there is one phase for each stage, on its error alone, and then the recipe, to
    which the task and the `keep` of the fit belong. By the other schemes there is one phase, of the recipe and all
    errors.

    Args:
        lesson: Its teacher is the auxiliary, narrowed to the student's widths.
        fit: The whole schedule; the phases share it out.
        scheme: "l-cls"; "decay" for all stages at once with weight * decay^k in epoch k, from 0; "all" for all stages
            at once with a constant weight.
        a: Epochs of every intermediate stage (l-cls).
        b: Further epochs for each later stage (l-cls).
        share: Of all epochs those of the stages, in the proportions a + i*b; neighbours share a phase where there are
            fewer epochs than stages. In [0, 1]; 0 gives the stages a + i*b epochs (l-cls).
        weight: Of the error of each stage beside the recipe (decay, all), above 0.
        decay: From one epoch to the next (decay), in [0, 1].
        last: The recipe: any that needs no auxiliary; by the schemes of one phase, one of one phase.
        channels: Which channels the auxiliary shows: "l1", those of the filters with the largest L1 norm, or "random",
            the control.
        follow: "release", the released code's targets, see `narrowed`, and its new optimizer in every epoch, which gave
            more than the "paper" in every seed on Fashion-MNIST and CIFAR-10; "targets" for its targets alone, which
            gave little.

    Reference: Sarridis et al., InDistill, Sec. 3, Eq. 2 and Fig. 3b.
    """
    check_choice("indistill", "scheme", scheme, SCHEMES)
    _check_words(channels, follow)
    _check_used(scheme, a=a, b=b, share=share, weight=weight, decay=decay)
    check_positive("indistill", weight=weight)
    check_share("indistill", decay=decay, share=share)
    if last.recipe.guide == "auxiliary":
        raise PlanError(f"indistill: last={last.name} would need an auxiliary again; take a recipe of one layer")
    fit = replace(fit, fresh=follow == "release")
    if scheme == "l-cls":
        layers = len(lesson.student.body)
        if not share:
            return _l_cls(lesson, fit, [(1, count) for count in l_cls_epochs(layers, fit.epochs, a, b)[:-1]], last)
        fewest = 1 + last.fewest_epochs(lesson.student)
        if fit.epochs < fewest:
            raise PlanError(
                f"indistill: {counted(fit.epochs, 'epoch')} for its maps and {last.name}; give at least {fewest}"
            )
        own = max(1, min(round(share * fit.epochs), fit.epochs - fewest + 1))
        return _l_cls(lesson, fit, scaled_epochs(layers, own, a, b), last)
    factors = tuple(weight * decay**epoch for epoch in range(fit.epochs))
    return [_at_once(lesson, fit, last, weight if scheme == "all" else factors)]


def _l_cls(lesson: Lesson, fit: Fit, parts: Sequence[tuple[int, int]], last: Method) -> list[Phase]:
    """A phase for each (stages, epochs), and the recipe in the epochs that they leave."""
    phases, start, rest_of = [], 0, list(lesson.student.body)
    for many, count in parts:
        stages, rest_of = rest_of[:many], rest_of[many:]
        window = replace(fit.window(start, start + count), keep="last")
        terms = tuple(stage_term(lesson, stage, name=f"mse {stage}" if many > 1 else "") for stage in stages)
        phases.append(Phase("+".join(stages), terms, window))
        start += count
    taken = {phase.name for phase in phases}
    rest = last.phases(lesson, fit.window(start, fit.epochs))
    return [*phases, *(replace(p, name=f"{last.name} {p.name}") if p.name in taken else p for p in rest)]


def _at_once(lesson: Lesson, fit: Fit, last: Method, weight: float | tuple[float, ...]) -> Phase:
    phases = last.phases(lesson, fit)
    if len(phases) > 1:
        raise PlanError(f"indistill: last={last.name} has {len(phases)} phases; all stages at once go beside one alone")
    stages = (stage_term(lesson, stage, weight=weight, name=f"mse {stage}") for stage in lesson.student.body)
    return replace(phases[0], terms=(*phases[0].terms, *stages))


def narrowed(
    auxiliary: Staged, student: Staged, *, channels: str = "l1", follow: str = "release", seed: int = 0
) -> Staged:
    """The auxiliary, showing at each intermediate stage as many channels as the student has.

    Args:
        auxiliary: At least as wide as the student, with the same stages.
        student: Gives the widths.
        channels: "l1" for those of the filters with the largest L1 norm, "random" for any.
        follow: "paper" for its maps as they are; else the released code's batch-norm of the kept filters.
        seed: Of the random ones.
    """
    _check_words(channels, follow)
    widths = {name: student.width(name) for name in student.body}
    narrow = narrow_taps if follow == "paper" else narrow_taps_release
    return narrow(auxiliary, widths, score=by_chance(seed) if channels == "random" else filter_norms)


def fewest_epochs(
    student: Staged, *, scheme: str = "l-cls", a: int = 2, b: int = 1, share: float = 0.0, last: Method = BY_PKT
) -> int:
    """The epochs that the layers take for themselves, and the fewest of the recipe."""
    own = 0
    if scheme == "l-cls":
        own = 1 if share else sum(layer_epochs(len(student.body), a, b))
    return own + last.fewest_epochs(student)


def pkt_h_cr(
    lesson: Lesson, fit: Fit, *, beta: float = 1_000.0, weight: float = 100.0, decay: float = 0.7
) -> list[Phase]:
    """One phase: the task plus beta * (PKT on the embedding + w_k * PKT on each body stage), w_k = weight * decay^k.

    k is the epoch, from 0: the stages matter in the critical period at the start, and fade. The task's part and beta
    are as in `pkt`.

    Args:
        lesson: Its teacher is the auxiliary; maps may be of other widths. A task without terms leaves PKT alone.
        fit: The whole schedule.
        beta: Weight of all PKT beside the task's terms, above 0.
        weight: Of each stage in the first epoch, above 0.
        decay: From one epoch to the next, in [0, 1].

    Reference: Passalis, Tzelepi and Tefas, Heterogeneous Knowledge Distillation Using Information Flow Modeling, 2020.
    """
    check_positive("pkt_h_cr", beta=beta, weight=weight)
    check_share("pkt_h_cr", decay=decay)
    own = beta if lesson.task.terms else 1.0
    factors = tuple(own * weight * decay**epoch for epoch in range(fit.epochs))
    stages = (stage_term(lesson, stage, "pkt", weight=factors, name=f"pkt {stage}") for stage in lesson.student.body)
    embedding = stage_term(lesson, "embedding", "pkt", weight=own)
    return [Phase("embedding", (*lesson.task.terms, embedding, *stages), fit)]


def auxiliary_phases(lesson: Lesson, fit: Fit) -> list[Phase]:
    """Two phases, each of the whole fit, that make an auxiliary: the labels, then the teacher's embedding by PKT.

    Reference: Sarridis et al., InDistill, Sec. 3.3, with the pre-training of Passalis et al., Heterogeneous Knowledge
        Distillation Using Information Flow Modeling, 2020.
    """
    term = Term(pkt_loss, (S("embedding"), T("embedding")), 1.0, "pkt")
    return [*no_teacher(lesson, fit), Phase("embedding", (term,), fit)]


def _check_words(channels: str, follow: str) -> None:
    check_choice("indistill", "choice of channels", channels, CHANNELS)
    check_choice("indistill", "source to follow", follow, FOLLOW)


def _check_used(scheme: str, **given: float) -> None:
    """Nothing, unless a knob was set that the scheme does not look at."""
    for knob, value in given.items():
        if scheme not in SCHEMES_WITH[knob] and value != INDISTILL.knobs[knob]:
            raise PlanError(
                f"indistill: scheme={scheme} takes no {knob}, which belongs to {' and '.join(SCHEMES_WITH[knob])}; "
                "leave it out"
            )


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
PKT_H_CR = Recipe(
    "pkt_h_cr",
    pkt_h_cr,
    "auxiliary",
    about="the task and the neighbourhoods of an auxiliary's embedding and, fading, of its maps",
    paper="Passalis et al., Heterogeneous Knowledge Distillation Using Information Flow Modeling, 2020",
    needs=("stages", "embedding"),
)
