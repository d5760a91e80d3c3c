"""Every method, side by side: a recipe turns student, teacher, task and fit into a list of phases."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from compress.errors import PlanError, unknown_name
from compress.losses import feature_loss, kd_loss, pkt_loss
from compress.phase import Fit, Phase, S, T, Term
from compress.recipes.curriculum import l_cls_epochs
from compress.stages import Staged
from compress.tasks import Task

Recipe = Callable[[Staged, Staged | None, Task, Fit], list[Phase]]


def no_teacher(student: Staged, teacher: Staged | None, task: Task, fit: Fit) -> list[Phase]:
    """One phase on the task's own terms; the baseline every method must beat."""
    if not task.terms:
        raise PlanError(f"no_teacher: task {task.name!r} has no loss of its own; take --task classification")
    return [Phase("task", task.terms, fit)]


def okd(
    student: Staged, teacher: Staged | None, task: Task, fit: Fit, *, alpha: float = 0.1, tau: float = 4.0
) -> list[Phase]:
    """One phase: alpha * task + (1 - alpha) * softened Kullback-Leibler divergence on the logits.

    Args:
        student: The network to train.
        teacher: Where the logits come from.
        task: Its terms; without any, the divergence stands alone.
        fit: The whole schedule.
        alpha: Weight of the task, in [0, 1].
        tau: Temperature, above 0.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
    """
    if not 0 <= alpha <= 1:
        raise PlanError(f"okd: alpha is {alpha}; allowed is 0 to 1")
    if tau <= 0:
        raise PlanError(f"okd: tau is {tau}; it must be above 0")
    own = tuple(_weighted(term, alpha) for term in task.terms)
    rest = 1 - alpha if own else 1.0
    return [Phase("okd", (*own, Term(partial(kd_loss, tau=tau), (S("logits"), T("logits")), rest, "kd")), fit)]


def pkt(student: Staged, teacher: Staged | None, task: Task, fit: Fit, *, beta: float = 1_000.0) -> list[Phase]:
    """One phase: the task plus beta * PKT on the embedding, or PKT alone where the task has no terms.

    The loss is a mean over B x B small numbers; the default weight, which no paper gives, makes it about as large as
    the cross-entropy.

    Args:
        student: The network to train.
        teacher: Where the embedding comes from; its width may differ.
        task: Its terms.
        fit: The whole schedule.
        beta: Weight of PKT beside the task's terms.

    Reference: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, 2018.
    """
    weight = beta if task.terms else 1.0
    term = Term(pkt_loss, (S("embedding"), T("embedding")), weight, "pkt")
    return [Phase("embedding", (*task.terms, term), fit)]


def indistill(
    student: Staged,
    teacher: Staged | None,
    task: Task,
    fit: Fit,
    *,
    a: int = 2,
    b: int = 1,
    last: str = "pkt",
    follow: str = "paper",
    alpha: float = 0.1,
    tau: float = 4.0,
    beta: float = 1_000.0,
) -> list[Phase]:
    """One phase for each intermediate stage, on the error to the narrowed auxiliary alone, then a single-layer recipe.

    Args:
        student: The network to train; nothing in it is ever frozen.
        teacher: The auxiliary, narrowed to the student's widths.
        task: Used by the last phase only.
        fit: The whole schedule; the phases share it out.
        a: Epochs of every intermediate stage (l-CLS).
        b: Further epochs for each later stage (l-CLS).
        last: The single-layer recipe of the final phase; what the fit says of `keep` holds there.
        follow: "paper", or "release" for the released code's new optimizer in every epoch of a stage.
        alpha, tau: Knobs of the last recipe where it is okd.
        beta: Knob of the last recipe where it is pkt.

    Reference: Sarridis et al., InDistill, Sec. 3 and Eq. 2.
    """
    if last not in SINGLE_LAYER:
        raise PlanError(f"indistill: {unknown_name('last recipe', last, SINGLE_LAYER)}")
    if follow not in FOLLOW:
        raise PlanError(f"indistill: {unknown_name('source to follow', follow, FOLLOW)}")
    if not student.body:
        raise PlanError(
            "indistill: the student has no intermediate stages; take cnn-s or cnn-a, or --method okd or pkt"
        )
    epochs = l_cls_epochs(len(student.body), fit.epochs, a, b)
    phases, start = [], 0
    for stage, count in zip(student.body, epochs, strict=False):
        term = Term(feature_loss, (S(stage), T(stage)), 1.0, "mse")
        phase = Phase(stage, (term,), replace(fit.window(start, start + count), keep="last"))
        phases += _one_epoch_each(phase) if follow == "release" else [phase]
        start += count
    knobs = {"okd": {"alpha": alpha, "tau": tau}, "pkt": {"beta": beta}}.get(last, {})
    return phases + SINGLE_LAYER[last](student, teacher, task, fit.window(start, fit.epochs), **knobs)


def auxiliary_phases(student: Staged, teacher: Staged | None, task: Task, fit: Fit) -> list[Phase]:
    """Two phases, each of the whole fit, that make an auxiliary: the labels, then the teacher's embedding by PKT.

    Reference: Sarridis et al., InDistill, Sec. 3.3, with the pre-training of Passalis et al., Heterogeneous Knowledge
        Distillation Using Information Flow Modeling, 2020.
    """
    term = Term(pkt_loss, (S("embedding"), T("embedding")), 1.0, "pkt")
    return [*no_teacher(student, teacher, task, fit), Phase("embedding", (term,), fit)]


@dataclass(frozen=True)
class Method:
    """A recipe by name with its knobs set; PlanError at once if a name is unknown or a value cannot be read.

    Attributes:
        name: A name in RECIPES.
        settings: Knob to its value as text; it is read as the type of the knob's default.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in RECIPES:
            raise PlanError(unknown_name("method", self.name, RECIPES))
        self.knobs()

    @property
    def narrows(self) -> bool:
        """Whether its teacher is a narrowed auxiliary."""
        return self.name == "indistill"

    def knobs(self) -> dict[str, Any]:
        """Every knob of the recipe with its value."""
        parameters = inspect.signature(RECIPES[self.name]).parameters.values()
        knobs = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        for name, text in self.settings.items():
            if name not in knobs:
                raise PlanError(f"{self.name}: {unknown_name('knob', name, knobs) if knobs else 'it has no knobs'}")
            kind = type(knobs[name])
            try:
                knobs[name] = kind(text)
            except ValueError as error:
                raise PlanError(f"{self.name}: {name} is {text!r}; it must be {_KIND[kind]}") from error
        return knobs

    def phases(self, student: Staged, teacher: Staged | None, task: Task, fit: Fit) -> list[Phase]:
        """The plan of the recipe."""
        return RECIPES[self.name](student, teacher, task, fit, **self.knobs())


def _weighted(term: Term, factor: float) -> Term:
    return Term(term.loss, term.args, term.weight * factor, term.name)


def _one_epoch_each(phase: Phase) -> list[Phase]:
    fit = phase.fit
    return [Phase(f"{phase.name}.{n + 1}", phase.terms, fit.window(n, n + 1), phase.train) for n in range(fit.epochs)]


_KIND = {int: "a whole number", float: "a number", str: "a text"}
FOLLOW = ("paper", "release")
SINGLE_LAYER: dict[str, Callable[..., list[Phase]]] = {"no_teacher": no_teacher, "okd": okd, "pkt": pkt}
RECIPES: dict[str, Callable[..., list[Phase]]] = {**SINGLE_LAYER, "indistill": indistill}
