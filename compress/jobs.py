"""Whole jobs on checkpoints: start a network, train it by a plan, prune it, and write down where it came from."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compress.checkpoint import Checkpoint, blank_image, save
from compress.data import Dataset
from compress.evidence import versions, weights_digest
from compress.opening import check_fit
from compress.phase import Fit, Phase
from compress.processes import is_main
from compress.pruning import prune, show_survivors
from compress.recipes import Method
from compress.stages import Staged
from compress.tasks import Task
from compress.training.engine import EpochReport, Run, run
from compress.training.journal import Journal

Training = Generator[EpochReport, None, Checkpoint]


@dataclass(frozen=True)
class Job:
    """What is asked for around a training run.

    Attributes:
        command: What the user typed, for the lineage.
        task: What the network is for.
        seed: Of everything random.
        journal: Where the result and the state on the way go.
        facts: Further entries for the lineage.
    """

    command: str
    task: Task
    seed: int
    journal: Journal
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recovery:
    """How a pruned network is trained back: a method and its schedule."""

    method: Method
    fit: Fit


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
    job.journal.check()
    facts = ({"teacher": weights_digest(teacher.model)} if teacher else {}) | dict(job.facts)
    yield from run(phases, checkpoint.network, data, Run(job.task, job.seed, job.journal), teacher=teacher)
    step = _step(job, data, job.task.evaluate(checkpoint.network, data), phases=phases, facts=facts)
    result = replace(checkpoint, card=replace(checkpoint.card, task=job.task.name)).with_step(step)
    if is_main():
        save(result, job.journal.output, force=True)
        job.journal.finish()
    return result


def cut(checkpoint: Checkpoint, ratio: float, command: str) -> Checkpoint:
    """A smaller copy of a checkpoint's network, without its least channels by L1 norm; the cuts are on its card.

    Args:
        checkpoint: Left as it is.
        ratio: Share of the channels to cut, in (0, 1).
        command: What the user typed, for the lineage.
    """
    network, cuts = prune(checkpoint.network, blank_image(checkpoint.card), ratio)
    card = replace(checkpoint.card, edits=(*checkpoint.card.edits, *cuts))
    return Checkpoint(network, card).with_step({"command": command, "ratio": ratio, "versions": versions()})


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
        teacher = whole.network
        if recovery.method.narrows:
            cuts = small.card.edits[len(whole.card.edits) :]
            teacher = show_survivors(teacher, cuts, blank_image(whole.card))
        phases = recovery.method.phases(small.network, teacher, job.task, recovery.fit)
        return (yield from train(copy.deepcopy(small), phases, data, job, teacher=teacher))
    check_fit(small.card, data)
    metrics = job.task.evaluate(small.network, data)
    result = small.with_step(_step(job, data, metrics, phases=(), facts={}))
    save(result, job.journal.output, force=job.journal.force)
    return result


def _step(
    job: Job, data: Dataset, metrics: dict[str, float], *, phases: Sequence[Phase], facts: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "command": job.command,
        "data": {"name": data.name, "fingerprint": data.fingerprint, "train_images": len(data.train)},
        "seed": job.seed,
        "phases": [[phase.name, phase.fit.epochs] for phase in phases],
        "metrics": {name: round(value, 6) for name, value in metrics.items()},
        "versions": versions(),
        **facts,
    }
