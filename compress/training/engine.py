"""The only training loop: runs a plan, phase by phase, and yields a report after every epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from compress.data import Dataset
from compress.evidence import weights_digest
from compress.phase import Phase, describe
from compress.stages import Staged
from compress.training.check import check_plan
from compress.training.course import Clock, Course, EpochReport, Progress, Reports, Run
from compress.training.differences import PLAN
from compress.training.epoch import Guides, Work, run_epoch, stages_read
from compress.training.features import teacher_features
from compress.training.journal import Journal, State
from compress.training.keeping import Keep, keeping
from compress.training.learner import load_weights, make_learner, restore
from compress.training.memory import keep_memory
from compress.training.modes import only_trained
from compress.training.precision import check_precision, computing

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
    course = Course(student, data, run, journal, accelerator, sum(phase.fit.epochs for phase in phases), Clock())
    return _run_phases(course, phases, teacher, state)


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
    behind = 0
    with keeping(course.journal if course.accelerator.is_main_process else None) as keep:
        for stages, group in groupby(phases, lambda phase: phase.stages("teacher")):
            ahead = [(phase, phase.fit.epochs) for phase in group]
            left = behind + sum(epochs for _, epochs in ahead) - state.done
            with ExitStack() as stack:
                guides: Guides | None = None
                for phase, epochs in ahead:
                    if state.done < behind + epochs:
                        guides = guides or _guides(stack, course, teacher, stages, epochs=left)
                        yield from _run_phase(course, phase, guides, state, behind=behind, keep=keep)
                    behind += epochs
    course.student.model.eval()


def _guides(
    stack: ExitStack, course: Course, teacher: Staged | None, stages: tuple[str, ...], *, epochs: int
) -> Guides:
    data = course.data
    with computing(course.run.precision, course.accelerator.device):
        train = stack.enter_context(teacher_features(teacher, stages, data.train, epochs))
    if data.val is None:
        return Guides(train, train)
    return Guides(train, stack.enter_context(teacher_features(teacher, stages, data.val, epochs)))


def _run_phase(course: Course, phase: Phase, guides: Guides, state: State, *, behind: int, keep: Keep) -> Reports:
    with only_trained(course.student, phase.train):
        learner = make_learner(course, phase)
        if course.journal and state.done > behind:
            with course.journal.restoring():
                restore(learner, state)
        work = Work(course, phase, learner, guides, stages_read(course, phase))
        for epoch in range(state.done - behind, phase.fit.epochs):
            report = yield from run_epoch(work, state, epoch)
            keep(state, now=epoch + 1 == phase.fit.epochs)
            yield report
    if not course.alone:
        course.accelerator.free_memory()
