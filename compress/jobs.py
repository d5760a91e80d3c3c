"""Whole jobs, from checkpoint to checkpoint: train, distil, recover; each writes down where its result came from."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from compress.checkpoint import Checkpoint, blank_image, load, save
from compress.data import Dataset
from compress.errors import CompressError, OutputError, PlanError
from compress.evidence import versions, weights_digest
from compress.files import exclusive
from compress.models import Architecture, build, outline
from compress.opening import check_fit, paired
from compress.phase import Fit, Lesson, Phase
from compress.processes import is_main
from compress.pruning import show_survivors
from compress.recipes import Method
from compress.recipes.indistill import auxiliary_phases
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, check_task
from compress.training.check import check_plan
from compress.training.engine import EpochReport, Progress, Run, facts, run
from compress.training.journal import Journal

WIDE = {"cnn-s": "cnn-a"}  # what a network is called where it is the wide one of two

RATE, ENOUGH_STEPS = 1e-3, 100

Training = Generator[EpochReport | Progress, None, Checkpoint]


@dataclass(frozen=True)
class Job:
    """What is asked for around a training run.

    Attributes:
        command: What the user typed, for the lineage.
        run: Task and seed.
        journal: Where the result and the state on the way go.
        facts: Further entries for the lineage.
    """

    command: str
    run: Run
    journal: Journal
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recovery:
    """How a pruned network is trained back: a method and its schedule."""

    method: Method
    fit: Fit


def usual_rate(steps: int, *, fitted: bool) -> float:
    """The learning rate of a recovery that nobody gave one.

    Args:
        steps: That it takes, each a batch.
        fitted: Its layers were, see `compress.pruning.reconstruct`; few steps at the whole rate lose what that won.
    """
    return RATE * min(1.0, steps / ENOUGH_STEPS) if fitted else RATE


@dataclass(frozen=True)
class Auxiliary:
    """The network between teacher and student that InDistill asks for.

    Attributes:
        made: A finished one to use; None makes one beside the student.
        fit: How long each of its two phases takes when it is made.
        ratio: Share of its filters that narrowing drops, in (0, 1).
    """

    made: Checkpoint | None
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


def train(
    checkpoint: Checkpoint, phases: Sequence[Phase], data: Dataset, job: Job, *, teacher: Staged | None = None
) -> Training:
    """A report for every epoch and, as the generator's return value, the trained checkpoint, which is saved by then.

    Everything that can be wrong with the plan, the data or the target is found before the first batch.

    Args:
        checkpoint: Where to start; its network is trained in place.
        phases: The plan.
        data: Train, validation and test splits that fit the network.
        job: Command, task, seed and target.
        teacher: What the plan refers to.

    Raises:
        CompressError: See `compress.training.engine.run`; also a target that may not be written, or data that do not
            fit.
    """
    check_fit(checkpoint.card, data)
    check_task(job.run.task, checkpoint.network, data)
    job.journal.check()
    with exclusive(job.journal.output):
        return (yield from _train(checkpoint, phases, data, job, teacher))


def _train(
    checkpoint: Checkpoint, phases: Sequence[Phase], data: Dataset, job: Job, teacher: Staged | None
) -> Training:
    mark = _mark(facts(phases, checkpoint.network, data, job.run, teacher))
    if made := _finished(job.journal, mark):
        return made
    given = {"run": mark} | ({"teacher": weights_digest(teacher.model)} if teacher else {}) | dict(job.facts)
    yield from run(phases, checkpoint.network, data, job.run, teacher=teacher, journal=job.journal)
    task = job.run.task
    step = _step(job, data, task.evaluate(checkpoint.network, data), phases=phases, facts=given)
    for network in (checkpoint.network, teacher):
        if network:  # as it is when it is loaded: what comes of it next has the same bits
            network.model.to(memory_format=torch.contiguous_format)
    result = replace(checkpoint, card=replace(checkpoint.card, task=task.name)).with_step(step)
    _keep(result, job.journal)
    return result


def _keep(result: Checkpoint, journal: Journal) -> None:
    if is_main():
        save(result, journal.output, force=True)
        journal.finish()


def _mark(decisive: Mapping[str, str]) -> str:
    """What the lineage keeps of the facts that decide a run: 16 hexadecimal digits, equal for equal facts."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _finished(journal: Journal, mark: str) -> Checkpoint | None:
    """What this very run left when it was finished, or None where there is work to do."""
    if not journal.finished:
        return None
    made = load(journal.output)
    step = made.card.lineage[-1] if made.card.lineage else {}
    if step.get("run") == mark:
        return made
    if not journal.force:
        raise OutputError(
            f"{journal.output} already exists, finished by another run ({step.get('command', 'of no known command')}); "
            "repeat its command, give another output, or pass --force to make it anew"
        )
    return None


def lesson(student: Checkpoint, data: Dataset, job: Job, *, teacher: Staged | None = None) -> Lesson:
    """What a recipe may look at when it plans how a student learns from a data set."""
    return Lesson(student.network, teacher, job.run.task, len(data.train), len(data.classes), job.run.seed)


def distil(method: Method, fit: Fit, what: Distillation, job: Job) -> Training:
    """A report for every epoch and, as the generator's return value, the trained and saved student.

    The student's plan is checked before an auxiliary is trained for it.

    Args:
        method: A recipe and its knobs.
        fit: The student's whole schedule.
        what: Networks and data.
        job: Command, task, seed and where the student goes.

    Raises:
        CompressError: See `train`.
    """
    if method.recipe.guide == "auxiliary":
        return (yield from _distil_by_auxiliary(method, fit, what, job))
    guide = paired(what.teacher.network, what.student.network, blank_image(what.student.card))
    phases = method.phases(lesson(what.student, what.data, job, teacher=guide), fit)
    return (yield from train(what.student, phases, what.data, job, teacher=guide))


def _distil_by_auxiliary(method: Method, fit: Fit, what: Distillation, job: Job) -> Training:
    """The training of the student, and before it that of its auxiliary where none is given."""
    between = what.auxiliary.made or _new_auxiliary(what, job)
    guide = _shown(method, between, what.student, job)
    phases = method.phases(lesson(what.student, what.data, job, teacher=guide), fit)
    job.journal.check()
    with exclusive(job.journal.output):
        if what.auxiliary.made is None:
            check_plan(phases, what.student.network, guide, what.data)
            between = yield from _train_auxiliary(between, what, job)
            guide = _shown(method, between, what.student, job)
        whole = weights_digest(what.teacher.network.model)
        seen = "narrowed_auxiliary" if method.recipe.narrows else "auxiliary"
        job = replace(job, facts={"teacher": whole, seen: weights_digest(guide.model)})
        return (yield from train(what.student, phases, what.data, job, teacher=guide))


def _shown(method: Method, auxiliary: Checkpoint, student: Checkpoint, job: Job) -> Staged:
    guide = paired(auxiliary.network, student.network, blank_image(student.card))
    try:
        return method.shown(guide, student.network, seed=job.run.seed)
    except PlanError as error:
        raise PlanError(f"the auxiliary does not suit the student: {error}") from error


def auxiliary_path(output: Path) -> Path:
    """Where the auxiliary of a student goes that is written to `output`."""
    return output.with_suffix(".auxiliary.safetensors")


def auxiliary_architecture(student: Checkpoint, ratio: float) -> Architecture:
    """The architecture of InDistill's auxiliary: the student's, wider by 1 / (1 - ratio).

    Args:
        student: Of an architecture with a width, such as cnn-s.
        ratio: Share of the auxiliary's filters that narrowing drops, in (0, 1).

    Raises:
        PlanError: The student has no width to scale, or the ratio does not give a whole one.
    """
    architecture, body = student.card.architecture, student.network.body
    width = student.network.width(body[0]) if body else 0
    wide = width / (1 - ratio) if 0 < ratio < 1 else 0.0
    made = replace(
        architecture,
        name=WIDE.get(architecture.name, architecture.name),
        options={**architecture.options, "width": max(round(wide), 1)},
    )
    try:
        outline(made)
    except CompressError as error:
        raise PlanError(
            f"no auxiliary can be built for {architecture.name!r}, as wide as is needed: {error}; pass --auxiliary"
        ) from error
    if abs(wide - round(wide)) > 1e-2 or round(wide) <= width:
        raise PlanError(
            f"ratio {ratio}: an auxiliary {wide:.4g} wide for a student {width} wide; give a ratio in (0, 1) that "
            "makes a whole number above it, such as 0.5 or 0.75"
        )
    return made


def _new_auxiliary(what: Distillation, job: Job) -> Checkpoint:
    architecture = auxiliary_architecture(what.student, what.auxiliary.ratio)
    card = replace(what.student.card, architecture=architecture, edits=(), stages=(), weights="", lineage=())
    return Checkpoint(build(architecture, seed=job.run.seed), card)


def _train_auxiliary(start: Checkpoint, what: Distillation, job: Job) -> Training:
    """The training of the auxiliary, or the finished one where an interrupted run of the same facts left it."""
    journal = replace(job.journal, output=auxiliary_path(job.journal.output))
    teacher = what.teacher.network
    own = replace(job, run=replace(job.run, task=CLASSIFICATION), journal=journal)
    plan = auxiliary_phases(lesson(start, what.data, own, teacher=teacher), what.auxiliary.fit)
    own = replace(own, run=replace(job.run, task=RETRIEVAL))
    return (yield from train(start, plan, what.data, own, teacher=teacher))


def guide_of(whole: Checkpoint, small: Checkpoint, method: Method) -> Staged:
    """The network before a cut as it teaches what is left: where maps are matched, it shows the channels that are.

    Args:
        whole: Only read.
        small: What was made of it.
        method: By which it teaches.
    """
    if not method.matches:
        return whole.network
    cuts = small.card.cuts[len(whole.card.cuts) :]
    return show_survivors(whole.network, cuts, blank_image(whole.card))


def recovered(small: Checkpoint, whole: Checkpoint, recovery: Recovery | None, data: Dataset, job: Job) -> Training:
    """The training that gives a pruned network back what it lost, saved at the end; without a recovery, saved as it is.

    Args:
        small: Trained in place.
        whole: The network before the cut; it teaches.
        recovery: The plan of this training, or None.
        data: Splits that fit both.
        job: Command, task, seed and target.
    """
    if recovery is not None:
        teacher = guide_of(whole, small, recovery.method)
        phases = recovery.method.phases(lesson(small, data, job, teacher=teacher), recovery.fit)
        return (yield from train(copy.deepcopy(small), phases, data, job, teacher=teacher))
    check_fit(small.card, data)
    check_task(job.run.task, small.network, data)
    with exclusive(job.journal.output):
        decisive = facts((), small.network, data, job.run, None)
        job.journal.begin(decisive, ())
        if made := _finished(job.journal, _mark(decisive)):
            return made
        metrics = job.run.task.evaluate(small.network, data)
        result = small.with_step(_step(job, data, metrics, phases=(), facts={"run": _mark(decisive)}))
        _keep(result, job.journal)
    return result


def retrained(small: Checkpoint, teacher: Checkpoint, recovery: Recovery, data: Dataset, job: Job) -> Training:
    """The training of a quantized network through its rounding, saved at the end.

    Args:
        small: Trained in place.
        teacher: Whom it listens to, where the method needs one.
        recovery: Method and schedule.
        data: Splits that fit both.
        job: Command, task, seed and target.
    """
    guide = teacher.network
    phases = recovery.method.phases(lesson(small, data, job, teacher=guide), recovery.fit)
    return (yield from train(small, phases, data, job, teacher=guide))


def _told(data: Dataset) -> dict[str, Any]:
    """What a step of the lineage says of the data."""
    counts = {"train_images": len(data.train), "test_images": len(data.test)}
    return {"name": data.name, "fingerprint": data.fingerprint, **counts}


def _step(
    job: Job, data: Dataset, metrics: dict[str, float], *, phases: Sequence[Phase], facts: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "command": job.command,
        "data": _told(data),
        "seed": job.run.seed,
        "phases": [[phase.name, phase.fit.epochs] for phase in phases],
        "metrics": {name: round(value, 6) for name, value in metrics.items()},
        "versions": versions(),
        **facts,
    }
