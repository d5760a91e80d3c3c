"""One epoch of a phase: its batches, what they teach the student, and how it does afterwards."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.data import Batch
from compress.data.chance import plan_batches
from compress.errors import DivergedError
from compress.phase import Phase, S
from compress.processes import total
from compress.tasks import tallied
from compress.training.course import Course, EpochReport, Progress
from compress.training.features import Guide, Pupil, Side
from compress.training.journal import State
from compress.training.learner import Learner, consider, remember, seed_of
from compress.training.modes import training_mode
from compress.training.precision import computing, in_full
from compress.training.validation import phase_loss

NO_IMAGES = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True)
class Guides:
    """The teacher, as the training and the validation split ask it."""

    train: Guide
    val: Guide


@dataclass(frozen=True)
class Sides:
    """Both networks, as they are asked in an epoch."""

    student: Side
    teacher: Side

    @property
    def look(self) -> bool:
        """Whether one of them looks at the images."""
        return self.student.looks or self.teacher.looks

    @property
    def kind(self) -> str:
        """What a report says of them where there is a teacher."""
        return "cached" if not self.look else "live" if self.teacher.looks else "teacher cached"


@dataclass(frozen=True)
class Work:
    """What the epochs of a phase share.

    Attributes:
        course: The run.
        phase: What is to be done.
        learner: Who does it.
        guides: Who is asked.
        pupil: Who answers.
        reads: The student's stages that are read.
    """

    course: Course
    phase: Phase
    learner: Learner
    guides: Guides
    pupil: Pupil
    reads: tuple[str, ...]


def stages_read(course: Course, phase: Phase) -> tuple[str, ...]:
    """The student's stages that a phase reads; the task's answer is among them where the student is run that far."""
    order, output = [stage.name for stage in course.student.stages], course.run.task.output
    reads = phase.stages("student")
    return tuple(dict.fromkeys((*reads, output))) if max(map(order.index, reads)) >= order.index(output) else reads


def run_epoch(work: Work, state: State, epoch: int) -> Generator[Progress, None, EpochReport]:
    """Signs of progress, and the report of one epoch, which `state` then remembers.

    Args:
        work: What the epochs share.
        state: That of the epoch before.
        epoch: Of the phase, from 0.
    """
    course, phase, learner, start = work.course, work.phase, work.learner, time.perf_counter()
    run, student, number = course.run, course.student, state.done
    device, view = course.accelerator.device, phase.fit.view(number)
    with torch.random.fork_rng(), training_mode(student, phase), ExitStack() as stack:
        with computing(run.precision, device):
            sides = Sides(stack.enter_context(work.pupil.at(view)), work.guides.train.at(view))
        torch.manual_seed(seed_of(run.seed, number))
        losses, tally = yield from _train(work, sides, number, epoch)
    learner.agree()
    images, seconds = len(course.data.train), time.perf_counter() - start
    _check_weights(work, number)
    with learner.averaged():
        metric, score = _judge(work, tally, state, epoch)
    left = (course.epochs - number - 1) * (time.perf_counter() - start)
    report = EpochReport(
        output=course.output,
        phase=phase.name,
        epoch=number + 1,
        epochs=course.epochs,
        losses=losses,
        metric=metric,
        score=score,
        images_per_s=images / seconds,
        seconds_left=left,
        cpu_s=course.clock.lap(),
        features=sides.kind if phase.stages("teacher") or not sides.look else "live",
    )
    remember(state, learner, report, last=epoch + 1 == phase.fit.epochs)
    return report


def _judge(work: Work, tally: Tensor, state: State, epoch: int) -> tuple[str, float | None]:
    """The name and value of the epoch's score; where the phase keeps its best weights, `state` then has them."""
    course, phase, learner = work.course, work.phase, work.learner
    task, val = course.run.task, course.data.val
    if val is None:
        return f"train_{task.metric}", task.score(tally) if tally.numel() else None
    score = task.score(tallied(course.student, val, task))
    if phase.fit.keep == "best score":
        consider(state, learner, score)
    if phase.fit.keep == "best loss":
        consider(
            state,
            learner,
            -phase_loss(phase, epoch, learner.losses, course.student, (work.guides.val.at(None).features, val)),
        )
    return f"val_{task.metric}", score


def _train(
    work: Work, sides: Sides, number: int, epoch: int
) -> Generator[Progress, None, tuple[dict[str, float], Tensor]]:
    """Signs of progress, and over all processes the mean of each loss and the tally of the epoch, if it is scored."""
    course, phase, run = work.course, work.phase, work.course.run
    images, signed, device = len(course.data.train), time.perf_counter(), course.accelerator.device
    sums: list[Tensor] = []
    tallies: list[Tensor] = []
    weights = torch.tensor([term.weight_at(epoch) for term in phase.terms], device=device)
    seen, processes = 0, course.accelerator.num_processes
    for batch in _batches(work, sides, number):
        with computing(run.precision, device):
            given = {**sides.student.features(batch), **sides.teacher.features(batch)}
        given = in_full(given)
        values = torch.stack([work.learner.losses[t.name](*(given[ref] for ref in t.args)) for t in phase.terms])
        loss = (values * weights).sum()
        _check_loss(work, loss, values, number)
        _step(work, loss, phase.fit.rate(epoch, seen * processes / images))
        sums.append(values.detach() * len(batch.target))
        if run.task.output in work.reads:
            tallies.append(run.task.tally(given[S(run.task.output)].detach(), batch.target))
        seen += len(batch.target)
        if time.perf_counter() - signed > run.every_s:
            signed = time.perf_counter()
            yield Progress(course.output, phase.name, number + 1, course.epochs, seen * processes, images)
    count = total(torch.tensor(float(seen)))
    means = (total(torch.stack(sums).sum(dim=0)) / count).tolist()
    tally = total(torch.stack(tallies).sum(dim=0)) if tallies else torch.empty(0)
    return {term.name: mean for term, mean in zip(phase.terms, means, strict=True)}, tally


def _step(work: Work, loss: Tensor, rate: float) -> None:
    learner = work.learner
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    learner.optimizer.zero_grad()
    work.course.accelerator.backward(loss)
    learner.optimizer.step()
    if learner.average:
        learner.average.follow()


def _batches(work: Work, sides: Sides, number: int) -> Iterator[Batch]:
    """The batches of an epoch on the device, without their images where nobody looks at them."""
    course, fit = work.course, work.phase.fit
    device, seed, split = course.accelerator.device, course.run.seed, course.data.train
    shard = (course.accelerator.process_index, course.accelerator.num_processes)
    targets = sides.student.targets
    if sides.look or targets is None:
        for batch in split.batches(fit.batch_size, order=number, view=fit.view(number), seed=seed, shard=shard):
            yield _on(batch, device)
        return
    for positions in plan_batches(len(split), fit.batch_size, order=number, seed=seed, shard=shard, even=True):
        index = torch.from_numpy(positions).to(device)
        target = targets[index]
        yield Batch(NO_IMAGES, target if target.is_floating_point() else target.long(), index)


def _on(batch: Batch, device: torch.device) -> Batch:
    image = batch.image.to(device, memory_format=torch.channels_last)
    return Batch(image, batch.target.to(device), batch.index.to(device))


def _check_loss(work: Work, loss: Tensor, values: Tensor, number: int) -> None:
    """All processes find out together: one that stopped alone would leave the others waiting for it."""
    bad = ~torch.isfinite(loss.detach())
    if bad if work.course.alone else total(bad.float()) > 0:
        named = zip(work.phase.terms, values.tolist(), strict=True)
        shown = ", ".join(f"{term.name} = {value:.4g}" for term, value in named)
        _diverged(work, number, f"the loss is not finite ({shown})")


def _check_weights(work: Work, number: int) -> None:
    modules = (work.learner.student, *work.learner.modules.values())
    bad = [key for module in modules for key, value in module.state_dict().items() if not _is_finite(value)]
    if total(torch.tensor(float(len(bad)))) > 0:
        _diverged(work, number, f"{bad[0] if bad else 'a weight of another process'} is no longer finite")


def _is_finite(value: Tensor) -> bool:
    """Whether all of a tensor is; its ends are found in one pass, and are NaN where anything in it is."""
    return not value.numel() or all(bool(torch.isfinite(end)) for end in torch.aminmax(value))


def _diverged(work: Work, number: int, what: str) -> None:
    journal = work.course.journal
    kept = f"; the epoch before is kept in {journal.state_path}" if journal and number else ""
    again = ", and begin anew with --force" if kept else ""
    raise DivergedError(
        f"phase {work.phase.name!r}, epoch {number + 1}: {what}{kept}; "
        f"lower the learning rate or the weight of a term{again}"
    )
