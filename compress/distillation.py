"""The whole of a distillation: the plan of the method, InDistill's auxiliary where it needs one, and the student."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compress.checkpoint import Checkpoint, load
from compress.data import Dataset
from compress.errors import CompressError, PlanError
from compress.evidence import weights_digest
from compress.jobs import Job, Training, train
from compress.models import Architecture, build
from compress.opening import check_fit
from compress.phase import Fit, Phase
from compress.pruning import narrow_taps
from compress.pruning.release import narrow_taps_release
from compress.recipes import Method, auxiliary_phases
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL
from compress.training.check import check_plan
from compress.training.engine import EpochReport


@dataclass(frozen=True)
class Auxiliary:
    """The network between teacher and student that InDistill asks for.

    Attributes:
        path: A finished one to use; None makes one beside the student.
        fit: How long each of its two phases takes when it is made.
        ratio: Share of its filters that narrowing drops, in (0, 1).
    """

    path: Path | None
    fit: Fit
    ratio: float


@dataclass(frozen=True)
class Distillation:
    """What is distilled into what.

    Attributes:
        student: Trained in place.
        teacher: Only read.
        data: What both see.
        auxiliary: For the methods that need one.
    """

    student: Checkpoint
    teacher: Checkpoint
    data: Dataset
    auxiliary: Auxiliary


def distil(method: Method, fit: Fit, what: Distillation, job: Job) -> Training:
    """A report for every epoch and, as the generator's return value, the trained and saved student.

    The student's plan is checked before an auxiliary is trained for it.

    Args:
        method: A recipe and its knobs.
        fit: The student's whole schedule.
        what: Networks and data.
        job: Command, task, seed and where the student goes.

    Raises:
        CompressError: See `compress.jobs.train`.
    """
    student, guide = what.student.network, what.teacher.network
    phases = method.phases(student, guide, job.task, fit)
    if method.narrows:
        facts = {"teacher": weights_digest(guide.model)}
        guide = yield from _narrowed_auxiliary(method, phases, what, job)
        job = replace(job, facts=facts | {"narrowed_auxiliary": weights_digest(guide.model)})
    return (yield from train(what.student, phases, what.data, job, teacher=guide))


def auxiliary_architecture(student: Checkpoint, ratio: float) -> Architecture:
    """The architecture of InDistill's auxiliary: the student's, wider by 1 / (1 - ratio).

    Args:
        student: A cnn-s or cnn-a.
        ratio: Share of the auxiliary's filters that narrowing drops, in (0, 1).

    Raises:
        PlanError: The student has no width to scale, or the ratio does not give a whole one.
    """
    architecture = student.card.architecture
    if architecture.name not in ("cnn-s", "cnn-a"):
        raise PlanError(
            f"no auxiliary can be built for {architecture.name!r}: only cnn-s and cnn-a have a width; pass --auxiliary"
        )
    width = student.network.width("map1")
    wide = width / (1 - ratio) if 0 < ratio < 1 else 0.0
    if abs(wide - round(wide)) > 1e-2 or round(wide) <= width:
        raise PlanError(
            f"ratio {ratio}: an auxiliary {wide:.4g} wide for a student {width} wide; give a ratio in (0, 1) that "
            "makes a whole number above it, such as 0.5 or 0.75"
        )
    return replace(architecture, name="cnn-a", options={**architecture.options, "width": round(wide)})


def narrowed(auxiliary: Staged, student: Staged, *, follow: str) -> Staged:
    """The auxiliary, showing at each intermediate stage as many channels as the student has.

    Args:
        auxiliary: At least as wide as the student, with the same stages.
        student: Gives the widths.
        follow: "paper", or "release" for the released code's fresh batch-norm.
    """
    widths = {name: student.width(name) for name in student.body}
    return narrow_taps_release(auxiliary, widths) if follow == "release" else narrow_taps(auxiliary, widths)


def _narrowed_auxiliary(
    method: Method, phases: Sequence[Phase], what: Distillation, job: Job
) -> Generator[EpochReport, None, Staged]:
    student, follow = what.student.network, method.knobs()["follow"]
    path = what.auxiliary.path
    if path is None:
        made = yield from _make(phases, what, job)
        return narrowed(made.network, student, follow=follow)
    made = load(path)
    try:
        check_fit(made.card, what.data)
        return narrowed(made.network, student, follow=follow)
    except CompressError as error:
        raise PlanError(f"{path} cannot be the auxiliary: {error}") from error


def _make(phases: Sequence[Phase], what: Distillation, job: Job) -> Training:
    """The training of the auxiliary, or the finished one where an interrupted run of this very job left it."""
    journal = replace(job.journal, output=job.journal.output.with_suffix(".auxiliary.safetensors"))
    teacher = what.teacher.network
    if journal.resume and journal.output.exists() and not journal.interrupted:
        made = load(journal.output)
        step = made.card.lineage[-1] if made.card.lineage else {}
        if (step.get("command"), step.get("teacher")) == (job.command, weights_digest(teacher.model)):
            return made
    card = what.student.card
    architecture = auxiliary_architecture(what.student, what.auxiliary.ratio)
    start = Checkpoint(
        build(architecture, seed=job.seed), replace(card, architecture=architecture, edits=(), stages=(), lineage=())
    )
    check_plan(phases, what.student.network, narrowed(start.network, what.student.network, follow="paper"), what.data)
    plan = auxiliary_phases(start.network, teacher, CLASSIFICATION, what.auxiliary.fit)
    own = replace(job, task=RETRIEVAL, journal=journal)
    return (yield from train(start, plan, what.data, own, teacher=teacher))
