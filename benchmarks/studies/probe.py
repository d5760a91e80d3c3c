"""Whether the plans of a study can be run, and how long they take: each is run for a few batches, scaled to all."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.studies.grid import Grid, Trial, read_way
from compress.card import Card
from compress.checkpoint import Checkpoint, blank_image, load
from compress.data import DataOptions, Dataset
from compress.errors import CompressError
from compress.models import Option, build, named
from compress.named import Named
from compress.opening import data_for, paired
from compress.phase import Fit, Lesson, Phase
from compress.recipes import Method, read_method
from compress.tasks import CLASSIFICATION, SEGMENTATION, TASKS, Task
from compress.training.check import check_plan
from compress.training.course import EpochReport, Run
from compress.training.engine import run

STEPS = 3  # batches of each of the two epochs that a phase is run for
EPOCHS = 2  # the first pays for what comes once


@dataclass(frozen=True)
class Estimate:
    """What a run is thought to take.

    Attributes:
        cpu_s: CPU seconds; None where its plan cannot be run.
        reason: Why it cannot.
    """

    cpu_s: float | None
    reason: str = ""


@dataclass(frozen=True)
class Probe:
    """What the plans are run with.

    Attributes:
        teacher: The network of the study.
        options: How its data are read; the fraction and the seed are not looked at.
        fit: Optimizer and batch size of every run.
        width: Of students by name; None leaves it to the network.
    """

    teacher: Checkpoint
    options: DataOptions
    fit: Fit
    width: int | None = None


def obstacles(grid: Grid, trials: Sequence[Trial], probe: Probe) -> dict[str, str]:
    """Run to why it cannot be run; of those that can there is nothing. Nothing is trained.

    Args:
        grid: The study.
        trials: Its runs.
        probe: What they are run with.

    Raises:
        CompressError: The data cannot be had, or do not fit the teacher.
    """
    few = _few(grid, probe, _whole(grid, probe))
    known: dict[tuple[object, ...], str] = {}
    for trial in trials:
        if _alike(trial) not in known:
            known[_alike(trial)] = _obstacle(grid, trial, probe, few)
    return {trial.name: known[_alike(trial)] for trial in trials if known[_alike(trial)]}


def _obstacle(grid: Grid, trial: Trial, probe: Probe, few: Dataset) -> str:
    try:
        student, lesson, phases = _planned(grid, trial, probe, few, len(few.train))
        check_plan(phases, student.network, lesson.teacher, few)
    except CompressError as error:
        return str(error)
    return ""


def _alike(trial: Trial) -> tuple[object, ...]:
    """What runs have in common whose plans are the same, whatever they see of the data."""
    return (trial.student, trial.depth, trial.method, trial.ratio, trial.epochs, trial.task)


def _whole(grid: Grid, probe: Probe) -> Dataset:
    return data_for(probe.teacher.card, grid.data, replace(probe.options, fraction=1.0))


def _few(grid: Grid, probe: Probe, whole: Dataset) -> Dataset:
    """The data, with as many training images as the batches need that a plan is tried on."""
    part = min(1.0, STEPS * probe.fit.batch_size / len(whole.train))
    return data_for(probe.teacher.card, grid.data, replace(probe.options, fraction=part))


def estimates(grid: Grid, trials: Sequence[Trial], probe: Probe) -> dict[str, Estimate]:
    """Run to what it will take. Runs that differ in seed or fraction only are tried once.

    Args:
        grid: The study.
        trials: Its runs.
        probe: What to try them with.

    Raises:
        CompressError: The data cannot be had, or do not fit the teacher.
    """
    whole = _whole(grid, probe)
    few = _few(grid, probe, whole)
    _estimate(grid, trials[0], probe, few, 1, 0.0)  # what is imported and set up at the first step of all
    start_s = time.process_time()  # and by every run anew, which reads the data, too
    found: dict[tuple[object, ...], dict[float, Estimate]] = {}
    told: dict[str, Estimate] = {}
    for trial in trials:
        known = found.setdefault(_alike(trial), {})
        if trial.fraction not in known:
            images = round(trial.fraction * len(whole.train))
            known[trial.fraction] = _estimate(grid, trial, probe, few, images, start_s)
        told[trial.name] = known[trial.fraction]
    return told


def _estimate(grid: Grid, trial: Trial, probe: Probe, few: Dataset, images: int, start_s: float) -> Estimate:
    try:
        student, lesson, phases = _planned(grid, trial, probe, few, images)
        taken = _training_s(phases, student, few, lesson)
        epochs_s = sum(taken[_kind(p)][0] + (p.fit.epochs - 1) * taken[_kind(p)][1] for p in phases)
        passes = trial.epochs * (0 if few.val is None else len(few.val) / len(few.test)) + 1
        return Estimate(start_s + epochs_s * images / len(few.train) + passes * _testing_s(lesson.task, student, few))
    except CompressError as error:
        return Estimate(None, str(error))


def _planned(
    grid: Grid, trial: Trial, probe: Probe, few: Dataset, images: int
) -> tuple[Checkpoint, Lesson, list[Phase]]:
    """The student of a run, its lesson and its plan."""
    task = TASKS[trial.task] if trial.task else (SEGMENTATION if few.masks else CLASSIFICATION)
    student, guide, method = _cast(grid, trial, probe)
    teacher = paired(guide.network, student.network, blank_image(student.card))
    shown = method.shown(teacher, student.network, seed=trial.seed)
    lesson = Lesson(student.network, shown, task, images, len(few.classes), trial.seed)
    return student, lesson, method.phases(lesson, replace(probe.fit.over(trial.epochs), keep="last"))


def _kind(phase: Phase) -> tuple[object, ...]:
    """What phases have in common that take the same time an epoch."""
    return (phase.train, phase.norms, tuple((term.loss, term.args) for term in phase.terms))


def _training_s(
    phases: Sequence[Phase], student: Checkpoint, few: Dataset, lesson: Lesson
) -> Mapping[tuple[object, ...], list[float]]:
    """Kind of phase to the CPU seconds of its first and of a later epoch on the few images."""
    kinds = {_kind(phase): phase for phase in phases}
    short = [
        replace(
            phase,
            fit=replace(phase.fit, epochs=EPOCHS, schedule=(1.0,) * EPOCHS, keep="last"),
            terms=tuple(replace(term, weight=term.weight_at(0)) for term in phase.terms),
        )
        for phase in kinds.values()
    ]
    reports = run(short, student.network, replace(few, val=None), Run(lesson.task), teacher=lesson.teacher)
    seconds = [report.cpu_s for report in reports if isinstance(report, EpochReport)]
    return {kind: seconds[EPOCHS * number : EPOCHS * (number + 1)] for number, kind in enumerate(kinds)}


def _testing_s(task: Task, student: Checkpoint, few: Dataset) -> float:
    """CPU seconds of scoring the whole test split, of which a part the size of the training images is run."""
    begun = time.process_time()
    task.evaluate(student.network, replace(few, test=few.train))
    return (time.process_time() - begun) * len(few.test) / len(few.train)


def _cast(grid: Grid, trial: Trial, probe: Probe) -> tuple[Checkpoint, Checkpoint, Method]:
    """Untrained, unless they are there already: the student and whom it listens to; and its method."""
    card = probe.teacher.card
    sizes = {"width": probe.width, "depth": trial.depth}
    student = _new(trial.student, {key: value for key, value in sizes.items() if value is not None}, card)
    way = read_way("pkt" if trial.needs else "no_teacher") if trial.step else read_way(trial.method)
    method = read_method(way.name, dict(word.split("=", 1) for word in way.settings))
    if isinstance(grid.auxiliary, str):
        return student, load(Path(grid.auxiliary)) if way.guide == "auxiliary" else probe.teacher, method
    if not trial.step and way.guide != "auxiliary":
        return student, probe.teacher, method
    name, *words = grid.auxiliary.network(trial.student, trial.depth, 0.5 if trial.ratio is None else trial.ratio)
    options = {key.removeprefix("--"): int(value) for key, value in zip(words[::2], words[1::2], strict=True)}
    between = _new(name, options, card)
    return (between, probe.teacher, method) if trial.step else (student, between, method)


def _new(name: str, options: Mapping[str, Option], card: Card) -> Checkpoint:
    """A new network for the teacher's images, or the one in a file."""
    if Named(name).is_file:
        return load(Path(name))
    see, classes = card.preprocessing, card.classes
    architecture = named(name, len(classes), see.channels, see.size, options)
    return Checkpoint(build(architecture), Card(architecture, see, classes))
