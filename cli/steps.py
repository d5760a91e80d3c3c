"""A network cut in one step or several, fitted and trained back after each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.jobs import Job, Recovery
    from compress.pruning import Calibration, Scored, Step
    from compress.training.journal import Journal


@dataclass(frozen=True)
class Cutting:
    """What is cut how, and taught back by whom.

    Attributes:
        before: The whole network, which teaches.
        found: Its channels, scored.
        steps: In which they go.
        recoveries: What trains after each step; empty where nothing does.
        seen: The images by which channels are judged, and on which what is left is fitted; none for no fit.
    """

    before: Checkpoint
    found: Scored
    steps: Sequence[Step]
    recoveries: Sequence[Recovery]
    seen: Calibration

    def name(self, what: str, step: Step) -> str:
        """What a network on the way is called."""
        return what if step.of == 1 else f"{what} {step.number}"


def check_targets(journal: Journal, count: int) -> None:
    """Nothing, once the networks of all steps may be written; OutputError otherwise.

    Args:
        journal: Of the result.
        count: How many steps there are.
    """
    for number in range(1, count):
        replace(journal, output=step_path(journal.output, number)).check()
    journal.check()


def say_steps(plan: Sequence[Step], asked: int) -> None:
    """Say it where there are fewer steps than were asked for.

    Args:
        plan: The steps that cut something.
        asked: How many were to be.
    """
    from cli import say

    if len(plan) < asked:
        say.notes(
            [f"--steps {asked}: {len(plan)} of them cut a channel as widths are rounded, the others are left out"]
        )


def step_path(output: Path, number: int) -> Path:
    """Where the network of a step goes that is not the last."""
    return output.with_suffix(f".step{number}.safetensors")


def cut_in_steps(cutting: Cutting, images: Dataset, job: Job) -> dict[str, Checkpoint]:
    """Every network on the way, the last of which is saved.

    Args:
        cutting: What to do.
        images: That fit the network.
        job: Of the last step.
    """
    from cli import progress
    from cli.choosing import fitted
    from compress.jobs import recovered
    from compress.pruning import later
    from compress.smaller import cut_to, scored

    networks, small, found = {"before": cutting.before}, cutting.before, cutting.found
    for step in cutting.steps:
        if step.number > 1:
            found = scored(small, later(found.choice), cutting.seen)
        small = cut_to(small, found, step, job.command, calibration=cutting.seen)
        networks[cutting.name("cut", step)] = small
        if cutting.seen.batches:
            small = fitted(small, cutting.before, cutting.seen, job.command)
            networks[cutting.name("fitted", step)] = small
        recovery = cutting.recoveries[step.number - 1] if cutting.recoveries else None
        if recovery or step.number == step.of:
            own = job if step.number == step.of else _earlier(job, step)
            small = progress.follow(recovered(small, cutting.before, recovery, images, own), own.journal.output)
        if recovery:
            networks[cutting.name("recovered", step)] = small
    return networks


def _earlier(job: Job, step: Step) -> Job:
    return replace(job, journal=replace(job.journal, output=step_path(job.journal.output, step.number)))
