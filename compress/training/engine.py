"""The only training loop: runs a plan, phase by phase, and yields a report after every epoch."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from compress.data import Batch, Dataset
from compress.errors import DivergedError
from compress.evidence import weights_digest
from compress.phase import Loss, Phase, S, describe, learned
from compress.processes import agree, total
from compress.stages import Staged
from compress.tasks import Task, tallied
from compress.training.check import check_plan
from compress.training.features import Features, student_features, teacher_features
from compress.training.journal import Journal, State
from compress.training.memory import keep_memory
from compress.training.modes import only_trained, training_mode
from compress.training.validation import phase_loss

PATIENCE = 20  # of an epoch's state: writing it takes at most one part in so many of the time


@dataclass(frozen=True)
class EpochReport:
    """How an epoch went.

    Attributes:
        output: Name of the file that the run makes, or nothing.
        phase: Name of the phase.
        epoch: Number of the epoch over all phases, from 1.
        epochs: Epochs of the whole plan.
        losses: Term to its unweighted mean over the images of the epoch.
        metric: Name of the score ("val_..." on the validation split, else "train_..." on the batches as they passed).
        score: The score, a fraction; None where the phase does not run the student to its end and no split validates.
        images_per_s: Training speed, without the validation.
        seconds_left: What the rest of the plan will take at the pace of this epoch.
    """

    output: str
    phase: str
    epoch: int
    epochs: int
    losses: dict[str, float]
    metric: str
    score: float | None
    images_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class Progress:
    """How far an epoch has come: what a long one yields before its report.

    Attributes:
        output, phase, epoch, epochs: As in the report.
        images: Those that passed.
        of: Images of the epoch.
    """

    output: str
    phase: str
    epoch: int
    epochs: int
    images: int
    of: int


@dataclass(frozen=True)
class Run:
    """What stays the same over all phases of a run.

    Attributes:
        task: Which score an epoch gets.
        seed: Of shuffling, augmentation and whatever else is random.
        every_s: Seconds between two signs of progress inside an epoch.
    """

    task: Task
    seed: int = 0
    every_s: float = math.inf


Reports = Generator[EpochReport | Progress, None, None]


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
        run: Task and seed.
        teacher: What the terms of the plan refer to.
        journal: Where the state is kept; None keeps nothing on disk.

    Raises:
        PlanError: The plan cannot run.
        CheckpointError, OutputError: The journal cannot be resumed or written.
        DivergedError: A loss or a weight became NaN or infinite; the journal keeps the last good epoch.
    """
    check_plan(phases, student, teacher, data)
    student.model.to(memory_format=torch.channels_last)
    plan = facts(phases, student, data, run, teacher)
    state = journal.begin(plan, phases) if journal else State(plan)
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    course = _Course(student, data, run, journal, accelerator, sum(phase.fit.epochs for phase in phases))
    return _run_phases(course, phases, teacher, state)


def facts(phases: Sequence[Phase], student: Staged, data: Dataset, run: Run, teacher: Staged | None) -> dict[str, str]:
    """Everything that decides what a run ends with, by name; equal facts end with equal bytes."""
    plan = json.dumps(describe(phases), sort_keys=True)
    keep = {name: channels.tolist() for name, channels in (teacher.keep if teacher else {}).items()}
    return {
        "plan": hashlib.sha256(plan.encode()).hexdigest(),
        "data": data.fingerprint,
        "seed": str(run.seed),
        "task": run.task.name,
        "initial student": f"{weights_digest(student.model)} {student.scale}",
        "teacher": f"{weights_digest(teacher.model)} {teacher.scale} {keep}" if teacher else "none",
    }


@dataclass(frozen=True)
class _Course:
    """What the phases of a run share while they are at work."""

    student: Staged
    data: Dataset
    run: Run
    journal: Journal | None
    accelerator: Accelerator
    epochs: int

    @property
    def output(self) -> str:
        """Name of the file that the run makes, or nothing."""
        return self.journal.output.name if self.journal else ""

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return bool(self.accelerator.num_processes == 1)


@dataclass(frozen=True)
class _Guides:
    """The teacher, as the training and the validation split ask it."""

    train: Features
    val: Features


@dataclass(frozen=True)
class _Learner:
    """What a phase trains, and by what: the terms' losses, those of them that own parameters, the optimizer."""

    model: nn.Module
    losses: Mapping[str, Loss]
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer


def _run_phases(course: _Course, phases: Sequence[Phase], teacher: Staged | None, state: State) -> Reports:
    keep_memory()
    if teacher is not None:
        teacher.model.to(course.accelerator.device).to(memory_format=torch.channels_last)
    if course.journal and state.done:
        with course.journal.restoring():
            _load(course.student.model, state.model)
    behind = 0
    for stages, group in groupby(phases, lambda phase: phase.stages("teacher")):
        ahead = [(phase, phase.fit.epochs) for phase in group]
        left = behind + sum(epochs for _, epochs in ahead) - state.done
        with ExitStack() as stack:
            guides: _Guides | None = None
            for phase, epochs in ahead:
                if state.done < behind + epochs:
                    guides = guides or _guides(stack, teacher, stages, course.data, left)
                    yield from _run_phase(course, phase, guides, state, behind)
                behind += epochs
    course.student.model.eval()


def _guides(stack: ExitStack, teacher: Staged | None, stages: tuple[str, ...], data: Dataset, epochs: int) -> _Guides:
    train = stack.enter_context(teacher_features(teacher, stages, data.train, epochs))
    if data.val is None:
        return _Guides(train, train)
    return _Guides(train, stack.enter_context(teacher_features(teacher, stages, data.val, epochs)))


def _run_phase(course: _Course, phase: Phase, guides: _Guides, state: State, behind: int) -> Reports:
    with only_trained(course.student, phase.train):
        learner = _learner(course, phase)
        if course.journal and state.done > behind:
            with course.journal.restoring():
                _restore(learner, state)
        journal = course.journal if course.accelerator.is_main_process else None
        written, took = time.perf_counter(), 0.0
        for epoch in range(state.done - behind, phase.fit.epochs):
            report = yield from _run_epoch(course, phase, learner, guides, state, epoch)
            start = time.perf_counter()
            if journal and (epoch + 1 == phase.fit.epochs or start - written > PATIENCE * took):
                journal.write(state)
                written = time.perf_counter()
                took = written - start
            yield report
    if not course.alone:
        course.accelerator.free_memory()


def _learner(course: _Course, phase: Phase) -> _Learner:
    prepare = course.accelerator.prepare_model
    made = {
        term.name: learned(term.loss, _seed(course.run.seed, f"{phase.name}/{term.name}"))
        for term in phase.terms
        if term.learns
    }
    student = course.student.model.to(course.accelerator.device)
    parameters = [p for module in (student, *made.values()) for p in module.parameters() if p.requires_grad]
    modules = {name: prepare(module) for name, module in made.items()}
    losses = {term.name: modules.get(term.name, term.loss) for term in phase.terms}
    return _Learner(prepare(student), losses, modules, phase.fit.optimizer.of(parameters))


def _run_epoch(
    course: _Course, phase: Phase, learner: _Learner, guides: _Guides, state: State, epoch: int
) -> Generator[Progress, None, EpochReport]:
    """Signs of progress, and the report of one epoch, which `state` then remembers."""
    run, student, start = course.run, course.student, time.perf_counter()
    reads, scored = _reads(phase, student, run.task)
    with (
        torch.random.fork_rng(),
        training_mode(student, phase),
        student_features(learner.model, student, reads, whole=not course.alone) as features,
    ):
        torch.manual_seed(_seed(run.seed, state.done))
        losses, tally = yield from _train(course, phase, learner, (features, guides.train), state.done, epoch)
    for module in (student.model, *learner.modules.values()):
        agree(module)
    images, seconds = len(course.data.train), time.perf_counter() - start
    _check_weights(course, phase, learner, state.done)
    score, metric = run.task.score(tally) if scored else None, f"train_{run.task.metric}"
    loss = math.nan
    if course.data.val is not None:
        score, metric = run.task.score(tallied(student, course.data.val, run.task)), f"val_{run.task.metric}"
        if phase.fit.keep == "best loss":
            loss = phase_loss(phase, epoch, learner.losses, student, (guides.val, course.data.val))
    left = (course.epochs - state.done - 1) * (time.perf_counter() - start)
    report = EpochReport(
        course.output, phase.name, state.done + 1, course.epochs, losses, metric, score, images / seconds, left
    )
    better = {"last": None, "best score": score, "best loss": -loss}[phase.fit.keep]
    _remember(state, learner, student.model, report, better=better, last=epoch + 1 == phase.fit.epochs)
    return report


def _train(
    course: _Course, phase: Phase, learner: _Learner, sources: tuple[Features, Features], number: int, epoch: int
) -> Generator[Progress, None, tuple[dict[str, float], Tensor]]:
    """Signs of progress, and over all processes the mean of each loss and the tally of the epoch."""
    run, accelerator, (features, guide) = course.run, course.accelerator, sources
    task, images, signed = run.task, len(course.data.train), time.perf_counter()
    sums: list[Tensor] = []
    tallies: list[Tensor] = []
    weights = torch.tensor([term.weight_at(epoch) for term in phase.terms], device=accelerator.device)
    seen, shard = 0, (accelerator.process_index, accelerator.num_processes)
    _, scored = _reads(phase, course.student, task)
    for batch in course.data.train.batches(phase.fit.batch_size, order=number, view=number, seed=run.seed, shard=shard):
        batch = _on(batch, accelerator.device)
        given = {**features(batch), **guide(batch)}
        values = torch.stack([learner.losses[t.name](*(given[ref] for ref in t.args)) for t in phase.terms])
        loss = (values * weights).sum()
        _check_loss(course, phase, loss, values, number)
        for group in learner.optimizer.param_groups:
            group["lr"] = phase.fit.rate(epoch, seen * shard[1] / images)
        learner.optimizer.zero_grad()
        accelerator.backward(loss)
        learner.optimizer.step()
        sums.append(values.detach() * len(batch.target))
        if scored:
            tallies.append(task.tally(given[S(task.output)].detach(), batch.target))
        seen += len(batch.target)
        if time.perf_counter() - signed > run.every_s:
            signed = time.perf_counter()
            yield Progress(course.output, phase.name, number + 1, course.epochs, seen * shard[1], images)
    count = total(torch.tensor(float(seen)))
    means = (total(torch.stack(sums).sum(dim=0)) / count).tolist()
    tally = total(torch.stack(tallies).sum(dim=0)) if tallies else torch.empty(0)
    return {term.name: mean for term, mean in zip(phase.terms, means, strict=True)}, tally


def _reads(phase: Phase, student: Staged, task: Task) -> tuple[tuple[str, ...], bool]:
    """The student's stages that a phase reads, and whether the task's answer is one of them.

    The answer is read along where the phase runs the student that far anyway.
    """
    order = [stage.name for stage in student.stages]
    reads = phase.stages("student")
    scored = max(map(order.index, reads)) >= order.index(task.output)
    return tuple(dict.fromkeys((*reads, task.output))) if scored else reads, scored


def _check_loss(course: _Course, phase: Phase, loss: Tensor, values: Tensor, number: int) -> None:
    """All processes find out together: one that stopped alone would leave the others waiting for it."""
    bad = ~torch.isfinite(loss.detach())
    if bad if course.alone else total(bad.float()) > 0:
        shown = ", ".join(f"{t.name} = {value:.4g}" for t, value in zip(phase.terms, values.tolist(), strict=True))
        _diverged(course, phase, number, f"the loss is not finite ({shown})")


def _check_weights(course: _Course, phase: Phase, learner: _Learner, number: int) -> None:
    modules = (course.student.model, *learner.modules.values())
    bad = [key for module in modules for key, value in module.state_dict().items() if not torch.isfinite(value).all()]
    if total(torch.tensor(float(len(bad)))) > 0:
        _diverged(course, phase, number, f"{bad[0] if bad else 'a weight of another process'} is no longer finite")


def _diverged(course: _Course, phase: Phase, number: int, what: str) -> None:
    journal = course.journal
    kept = f"; what was kept last is in {journal.state_path}" if journal and number else ""
    again = ", and begin anew with --force" if kept else ""
    raise DivergedError(
        f"phase {phase.name!r}, epoch {number + 1}: {what}{kept}; "
        f"lower the learning rate or the weight of a term{again}"
    )


def _remember(
    state: State, learner: _Learner, model: nn.Module, report: EpochReport, *, better: float | None, last: bool
) -> None:
    state.done += 1
    state.history.append(asdict(report))
    if better is not None:
        if state.best is None or better > state.best[0]:
            state.best = (better, _copy(model))
        if last:
            _load(model, state.best[1])
    state.model = model.state_dict()
    state.best = None if last else state.best
    state.optimizer = None if last else learner.optimizer.state_dict()
    state.losses = {} if last else {name: module.state_dict() for name, module in learner.modules.items()}


def _restore(learner: _Learner, state: State) -> None:
    assert state.optimizer is not None
    learner.optimizer.load_state_dict(state.optimizer)
    for name, module in learner.modules.items():
        module.load_state_dict(state.losses[name])


def _on(batch: Batch, device: torch.device) -> Batch:
    image = batch.image.to(device, memory_format=torch.channels_last)
    return Batch(image, batch.target.to(device), batch.index.to(device))


def _seed(seed: int, what: int | str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{what}".encode()).digest()[:7], "big")


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    state = model.state_dict()
    if state.keys() != weights.keys():
        raise KeyError(f"weights of other names: {', '.join(sorted(state.keys() ^ weights.keys())[:3])}")
    state.update(weights)  # and keeps the versions that some networks ask for
    model.load_state_dict(state)


def _copy(model: nn.Module) -> dict[str, Any]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}
