"""The only training loop: runs a plan, phase by phase, and yields a report after every epoch."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from compress.data import Batch, Dataset
from compress.errors import DivergedError
from compress.evidence import weights_digest
from compress.phase import Phase, Ref, describe
from compress.stages import Staged, Taps, tapped
from compress.tasks import Task, tallied
from compress.training.check import check_plan
from compress.training.features import teacher_targets
from compress.training.journal import Journal, State

NORMS = (nn.modules.batchnorm._BatchNorm,)


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
        score: The score, a fraction.
        images_per_s: Training speed, without the validation.
        seconds_left: What the rest of the plan will take at the pace of this epoch.
    """

    output: str
    phase: str
    epoch: int
    epochs: int
    losses: dict[str, float]
    metric: str
    score: float
    images_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class Run:
    """What stays the same over all phases of a run.

    Attributes:
        task: Which score an epoch gets.
        seed: Of shuffling, augmentation and whatever else is random.
        journal: Where the state is kept; None keeps nothing on disk.
    """

    task: Task
    seed: int = 0
    journal: Journal | None = None


def run(
    phases: Sequence[Phase], student: Staged, data: Dataset, run: Run, *, teacher: Staged | None = None
) -> Generator[EpochReport, None, None]:
    """A report for every epoch; once the generator is exhausted, the student is trained.

    The randomness of an epoch is a function of the seed and the number of the epoch, so that a run which is resumed
    ends with the same bytes as one that was not. The teacher is only read, in eval mode and without gradient.

    Args:
        phases: The plan; checked whole before anything is trained.
        student: Trained in place. Its state dict keeps its keys, and no hook is left on it.
        data: Its train split is trained on; its validation split, where it has one, scores the epochs.
        run: Task, seed and journal.
        teacher: What the terms of the plan refer to.

    Raises:
        PlanError: The plan cannot run.
        CheckpointError, OutputError: The journal cannot be resumed or written.
        DivergedError: A loss or a weight became NaN or infinite; the journal keeps the last good epoch.
    """
    check_plan(phases, student, teacher, data)
    student.model.to(memory_format=torch.channels_last)
    plan = _facts(phases, student, data, run, teacher)
    state = run.journal.begin(plan) if run.journal else State(plan)
    return _run_phases(phases, student, data, run, teacher, state)


def _run_phases(
    phases: Sequence[Phase], student: Staged, data: Dataset, run: Run, teacher: Staged | None, state: State
) -> Generator[EpochReport, None, None]:
    total = sum(phase.fit.epochs for phase in phases)
    if state.done:
        _load(student.model, state.model)
    first = 0
    for phase in phases:
        if state.done < first + phase.fit.epochs:
            step = _Step(phase, student, data, run, teacher)
            with step.ready(state, resumed=state.done > first):
                for epoch in range(state.done - first, phase.fit.epochs):
                    report = step.epoch(state, epoch, total)
                    if run.journal and step.accelerator.is_main_process:
                        run.journal.write(state)
                    yield report
        first += phase.fit.epochs
    student.model.eval()


class _Step:
    """One phase at work: its accelerator, optimizer, taps and targets."""

    def __init__(self, phase: Phase, student: Staged, data: Dataset, run: Run, teacher: Staged | None) -> None:
        self.phase, self.student, self.data, self.run = phase, student, data, run
        self.teacher = teacher
        self.accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])

    @contextmanager
    def ready(self, state: State, *, resumed: bool) -> Iterator[None]:
        phase, student, accelerator = self.phase, self.student, self.accelerator
        with _only_trained(student, phase.train):
            modules = {term.name: copy.deepcopy(term.loss) for term in phase.terms if isinstance(term.loss, nn.Module)}
            learned = [
                p for module in (student.model, *modules.values()) for p in module.parameters() if p.requires_grad
            ]
            self.optimizer = accelerator.prepare(phase.fit.optimizer(learned))
            self.model = accelerator.prepare(student.model)
            self.modules = {name: accelerator.prepare(module) for name, module in modules.items()}
            self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
            if resumed:
                self._restore(state)
            if self.teacher is not None:
                self.teacher.model.to(accelerator.device).to(memory_format=torch.channels_last)
            wanted = phase.stages("teacher")
            with teacher_targets(self.teacher or student, wanted, self.data.train, phase.fit.epochs) as self.targets:
                yield
        accelerator.free_memory()

    def epoch(self, state: State, epoch: int, total: int) -> EpochReport:
        """The report of one epoch, which `state` then remembers."""
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * self.phase.fit.schedule[epoch]
        start = time.perf_counter()
        reads = dict.fromkeys((*self.phase.stages("student"), self.run.task.output))
        with (
            torch.random.fork_rng(),
            _mode(self.student, self.phase.train),
            tapped(self.student, reads) as self.taps,
        ):
            torch.manual_seed(_seed(self.run.seed, state.done))
            losses, seen, score = self._train(state.done)
        seconds = time.perf_counter() - start
        self._check_weights(state.done)
        metric = f"train_{self.run.task.metric}"
        if self.data.val is not None:
            metric = f"val_{self.run.task.metric}"
            score = self.run.task.score(tallied(self.student, self.data.val, self.run.task))
        pace = time.perf_counter() - start
        left = (total - state.done - 1) * pace
        output = self.run.journal.output.name if self.run.journal else ""
        report = EpochReport(
            output, self.phase.name, state.done + 1, total, losses, metric, score, seen / seconds, left
        )
        self._remember(state, report, last=epoch + 1 == self.phase.fit.epochs)
        return report

    def _train(self, number: int) -> tuple[dict[str, float], int, float]:
        sums: dict[str, Tensor] = {}
        seen, tally = 0, []
        shard = (self.accelerator.process_index, self.accelerator.num_processes)
        task = self.run.task
        for batch in self.data.train.batches(
            self.phase.fit.batch_size, order=number, view=number, seed=self.run.seed, shard=shard
        ):
            batch = _on(batch, self.accelerator.device)
            values = self._losses(batch)
            total = torch.stack([values[term.name] * term.weight for term in self.phase.terms]).sum()
            if not torch.isfinite(total):
                shown = ", ".join(f"{name} = {value.item():.4g}" for name, value in values.items())
                self._diverged(number, f"the loss is not finite ({shown})")
            self.optimizer.zero_grad()
            self.accelerator.backward(total)
            self.optimizer.step()
            count = len(batch.target)
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach() * count
            if self.data.val is None:
                tally.append(task.tally(self.taps[task.output].detach(), batch.target))
            seen += count
        score = task.score(torch.stack(tally).sum(dim=0)) if tally else 0.0
        return {name: value.item() / seen for name, value in sums.items()}, seen * shard[1], score

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        self.taps.clear()
        targets = self.targets(batch)
        self.model(self.student.scale(batch.image))
        values = {}
        for term in self.phase.terms:
            loss = self.modules.get(term.name, term.loss)
            values[term.name] = loss(*(_argument(ref, self.taps, targets, batch) for ref in term.args))
        return values

    def _check_weights(self, number: int) -> None:
        for module in (self.student.model, *self.modules.values()):
            for key, value in module.state_dict().items():
                if not torch.isfinite(value).all():
                    self._diverged(number, f"{key} is no longer finite")

    def _diverged(self, number: int, what: str) -> None:
        kept = f"; epoch {number} is kept in {self.run.journal.state_path}" if self.run.journal and number else ""
        again = ", and begin anew with --force" if kept else ""
        raise DivergedError(
            f"phase {self.phase.name!r}, epoch {number + 1}: {what}{kept}; "
            f"lower the learning rate or the weight of a term{again}"
        )

    def _remember(self, state: State, report: EpochReport, *, last: bool) -> None:
        state.done += 1
        state.history.append(asdict(report))
        model = self.student.model
        if self.phase.fit.keep == "best":
            if state.best is None or report.score > state.best[0]:
                state.best = (report.score, _copy(model))
            if last:
                _load(model, state.best[1])
        state.model = model.state_dict()
        state.best = None if last else state.best
        state.optimizer = None if last else self.optimizer.state_dict()
        state.losses = {} if last else {name: module.state_dict() for name, module in self.modules.items()}

    def _restore(self, state: State) -> None:
        self.optimizer.load_state_dict(state.optimizer)
        for name, module in self.modules.items():
            module.load_state_dict(state.losses[name])


def _argument(ref: Ref, taps: Taps, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    if ref.side == "labels":
        return batch.target
    if ref.side == "index":
        return batch.index
    return taps[ref.stage] if ref.side == "student" else targets[ref.stage]


def _on(batch: Batch, device: torch.device) -> Batch:
    image = batch.image.to(device, memory_format=torch.channels_last)
    return Batch(image, batch.target.to(device), batch.index.to(device))


@contextmanager
def _only_trained(student: Staged, train: tuple[str, ...] | None) -> Iterator[None]:
    """Inside the `with`, only the parameters of the stages in `train` want a gradient; afterwards all is as before."""
    before = {path: p.requires_grad for path, p in student.model.named_parameters()}
    for path, parameter in student.model.named_parameters():
        parameter.requires_grad_(train is None or student.owns(train, path))
    try:
        yield
    finally:
        for path, parameter in student.model.named_parameters():
            parameter.requires_grad_(before[path])
            parameter.grad = None


@contextmanager
def _mode(student: Staged, train: tuple[str, ...] | None) -> Iterator[None]:
    """Training mode inside the `with`, but for the batch-norm of frozen stages; eval mode afterwards."""
    student.model.train()
    for path, module in student.model.named_modules():
        if isinstance(module, NORMS) and train is not None and not student.owns(train, path):
            module.eval()
    try:
        yield
    finally:
        student.model.eval()


def _facts(phases: Sequence[Phase], student: Staged, data: Dataset, run: Run, teacher: Staged | None) -> dict[str, str]:
    plan = json.dumps(describe(phases), sort_keys=True)
    keep = {name: channels.tolist() for name, channels in (teacher.keep if teacher else {}).items()}
    losses = {
        f"initial {term.name} of phase {phase.name}": weights_digest(term.loss)
        for phase in phases
        for term in phase.terms
        if isinstance(term.loss, nn.Module)
    }
    return {
        "plan": hashlib.sha256(plan.encode()).hexdigest()[:16],
        "data": data.fingerprint,
        "seed": str(run.seed),
        "task": run.task.name,
        "initial student": weights_digest(student.model),
        "teacher": (weights_digest(teacher.model) + str(keep)) if teacher else "none",
        **losses,
    }


def _seed(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:7], "big")


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    state = model.state_dict()
    state.update(weights)  # and keeps the versions that some networks ask for
    model.load_state_dict(state)


def _copy(model: nn.Module) -> dict[str, Any]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}
