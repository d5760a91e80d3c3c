"""The only training loop: runs a plan, phase by phase, and yields a report after every epoch."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from itertools import accumulate, groupby

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from compress.data import Dataset, Split
from compress.evidence import weights_digest
from compress.phase import Phase, describe
from compress.stages import Staged
from compress.training.cache import FILL_BATCH, Room, Source, View
from compress.training.check import check_plan
from compress.training.course import Clock, Course, EpochReport, Progress, Reports, Run
from compress.training.differences import PLAN
from compress.training.epoch import Guides, Work, run_epoch, stages_read
from compress.training.features import Guide, Pupil, Teacher, teacher_features
from compress.training.journal import Journal, State
from compress.training.keeping import Keep, keeping
from compress.training.learner import load_weights, make_learner, restore
from compress.training.memory import keep_memory
from compress.training.modes import only_trained, training_mode
from compress.training.precision import check_precision

__all__ = ["EpochReport", "Progress", "Reports", "Run", "facts", "run"]


def run(
    phases: Sequence[Phase],
    student: Staged,
    data: Dataset,
    run: Run,
    *,
    teacher: Staged | None = None,
    journal: Journal | None = None,
) -> Reports:
    """A report for every epoch; once the generator is exhausted, the student is trained.

    The randomness of an epoch is a function of the seed and the number of the epoch, so that a run which is resumed
    ends with the same bytes as one that was not. The teacher is only read, in eval mode and without gradient, no
    further than the deepest stage in use; nor is the student run further, in phases that do not read its answer.

    Args:
        phases: The plan; checked whole before anything is trained.
        student: Trained in place. Its state dict keeps its keys, and no hook is left on it.
        data: Its train split is trained on; its validation split, where it has one, scores the epochs.
        run: Task, seed and precision.
        teacher: What the terms of the plan refer to.
        journal: Where the state is kept; None keeps nothing on disk.

    Raises:
        PlanError: The plan cannot run, or the device has no instructions for the precision.
        CheckpointError, OutputError: The journal cannot be resumed or written.
        DivergedError: A loss or a weight became NaN or infinite; the journal keeps the last good epoch.
    """
    check_plan(phases, student, teacher, data)
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    check_precision(run.precision, accelerator.device)
    student.model.to(memory_format=torch.channels_last)
    plan = facts(phases, student, data, run, teacher)
    state = journal.begin(plan, phases) if journal else State(plan)
    return _run_phases(_course(phases, student, data, run, journal, accelerator), phases, teacher, state)


def _course(
    phases: Sequence[Phase], student: Staged, data: Dataset, run: Run, journal: Journal | None, accelerator: Accelerator
) -> Course:
    room = Room(run.cache_bytes if accelerator.num_processes == 1 else 0, journal.output if journal else None)
    epochs, at_a_time = sum(phase.fit.epochs for phase in phases), min(phase.fit.batch_size for phase in phases)
    return Course(student, data, run, journal, accelerator, epochs, Clock(), room, min(at_a_time, FILL_BATCH))


def facts(phases: Sequence[Phase], student: Staged, data: Dataset, run: Run, teacher: Staged | None) -> dict[str, str]:
    """Everything that decides what a run ends with, by name; equal facts end with equal bytes."""
    keep = {name: channels.tolist() for name, channels in (teacher.keep if teacher else {}).items()}
    return {
        PLAN: json.dumps(describe(phases), sort_keys=True),
        "data": data.fingerprint,
        "seed": str(run.seed),
        "task": run.task.name,
        "initial student": f"{weights_digest(student.model)} {student.scale}",
        "teacher": f"{weights_digest(teacher.model)} {teacher.scale} {keep}" if teacher else "none",
        **({"precision": run.precision} if run.precision != "fp32" else {}),
    }


def _run_phases(course: Course, phases: Sequence[Phase], teacher: Staged | None, state: State) -> Reports:
    keep_memory()
    if teacher is not None:
        teacher.model.to(course.accelerator.device).to(memory_format=torch.channels_last)
    if course.journal and state.done:
        with course.journal.restoring():
            load_weights(course.student.model, state.model)
    begins = accumulate((phase.fit.epochs for phase in phases), initial=0)
    guides, pupil = None, None
    with keeping(course.journal if course.accelerator.is_main_process else None) as keep:
        for stages, group in groupby(zip(begins, phases, strict=False), lambda part: part[1].stages("teacher")):
            parts = list(group)
            left = [(behind, phase) for behind, phase in parts if state.done < behind + phase.fit.epochs]
            with teacher_features(teacher if left else None, stages) as asked:
                guides = _guides(course, asked, parts, guides) if left else None
                for behind, phase in left:
                    assert guides is not None
                    pupil = yield from _run_phase(course, (behind, phase), guides, state, keep=keep, earlier=pupil)
    course.student.model.eval()


def _guides(course: Course, teacher: Teacher, parts: Sequence[tuple[int, Phase]], earlier: Guides | None) -> Guides:
    train = _source(course, course.data.train, [phase.fit.view(n) for b, phase in parts for n in _numbers(b, phase)])
    guide = Guide(teacher, train, earlier.train if earlier else None)
    if course.data.val is None:
        return Guides(guide, guide)
    judged = sum(phase.fit.epochs for _, phase in parts if phase.fit.keep == "best loss")
    val = _source(course, course.data.val, [None] * judged)
    return Guides(guide, Guide(teacher, val, earlier.val if earlier else None))


def _numbers(behind: int, phase: Phase) -> range:
    return range(behind, behind + phase.fit.epochs)


def _source(course: Course, split: Split, views: Sequence[View]) -> Source:
    return Source(split, course.run.seed, course.accelerator.device, course.at_a_time, tuple(views), course.room)


def _run_phase(
    course: Course, part: tuple[int, Phase], guides: Guides, state: State, *, keep: Keep, earlier: Pupil | None
) -> Generator[EpochReport | Progress, None, Pupil]:
    behind, phase = part
    with only_trained(course.student, phase.train):
        learner = make_learner(course, phase)
        if course.journal and state.done > behind:
            with course.journal.restoring():
                restore(learner, state)
        reads = stages_read(course, phase)
        source = _source(course, course.data.train, [phase.fit.view(n) for n in _numbers(behind, phase)])
        with training_mode(course.student, phase):
            whole = source if course.alone else None
            pupil = Pupil(course.student, learner.model, phase, reads, source=whole, earlier=earlier)
        work = Work(course, phase, learner, guides, pupil, reads)
        for epoch in range(state.done - behind, phase.fit.epochs):
            if phase.fit.fresh:
                learner.optimizer.state.clear()
            report = yield from run_epoch(work, state, epoch)
            keep(state, now=epoch + 1 == phase.fit.epochs)
            yield report
    if not course.alone:
        course.accelerator.free_memory()
    return pupil
