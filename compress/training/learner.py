"""What a phase trains, and by what; and what it leaves to its next epoch, and to the next phase."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress.phase import Loss, Phase, learned
from compress.processes import agree
from compress.quantization import learned_steps
from compress.training.average import Average
from compress.training.course import Course, EpochReport
from compress.training.journal import State


@dataclass(frozen=True)
class Learner:
    """What a phase trains, and by what.

    Attributes:
        student: The network.
        model: The same, as the processes of the run share it.
        losses: Term to its loss.
        modules: Those of them that own parameters.
        optimizer: Of all that learns.
        average: Of the weights, where the fit asks for one.
    """

    student: nn.Module
    model: nn.Module
    losses: Mapping[str, Loss]
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    average: Average | None

    def averaged(self) -> AbstractContextManager[None]:
        """A `with` in which the student has the weights that the phase is to be judged by."""
        return self.average.shown() if self.average else nullcontext()

    def agree(self) -> None:
        """Nothing, once every process has the first one's statistics, the averaged ones too."""
        for module in (self.student, *self.modules.values()):
            agree(module.buffers())
        if self.average:
            agree(self.average.means.values())


def seed_of(seed: int, what: int | str) -> int:
    """A seed of its own for something of a run; below 2**56."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{what}".encode()).digest()[:7], "big")


def make_learner(course: Course, phase: Phase) -> Learner:
    """A phase's losses and optimizer, new; what does not learn must be frozen by now."""
    prepare = course.accelerator.prepare_model
    made = {
        term.name: learned(term.loss, seed_of(course.run.seed, f"{phase.name}/{term.name}"))
        for term in phase.terms
        if term.learns
    }
    student = course.student.model.to(course.accelerator.device)
    wanting = [p for module in (student, *made.values()) for p in module.parameters() if p.requires_grad]
    steps = {id(step) for step in learned_steps(student)}
    parameters, undecayed = ([p for p in wanting if (id(p) in steps) == learned] for learned in (False, True))
    modules = {name: prepare(module) for name, module in made.items()}
    losses = {term.name: modules.get(term.name, term.loss) for term in phase.terms}
    average = Average(phase.fit.ema, student, modules) if phase.fit.ema else None
    return Learner(student, prepare(student), losses, modules, phase.fit.optimizer.of(parameters, undecayed), average)


def consider(state: State, learner: Learner, better: float) -> None:
    """Keep the student as it is now where it is the best of the phase so far."""
    if state.best is None or better > state.best[0]:
        state.best = (better, {key: value.detach().clone() for key, value in learner.student.state_dict().items()})


def remember(state: State, learner: Learner, report: EpochReport, *, last: bool) -> None:
    """Make the state that of the epoch that has just ended; after the last one the student is what leaves the phase."""
    if last and state.best:
        load_weights(learner.student, state.best[1])
    elif last and learner.average:
        learner.average.put()
    average = None if last else learner.average
    state.done += 1
    state.history.append(asdict(report))
    state.model = learner.student.state_dict()
    state.best = None if last else state.best
    state.optimizer = None if last else learner.optimizer.state_dict()
    state.losses = {} if last else {name: module.state_dict() for name, module in learner.modules.items()}
    state.average = (average.steps, average.means) if average else None


def restore(learner: Learner, state: State) -> None:
    """Put the learner where the state's epoch left it; an error of several kinds where it is another one's."""
    if state.optimizer is None:
        raise ValueError("it has no optimizer")
    learner.optimizer.load_state_dict(state.optimizer)
    for name, module in learner.modules.items():
        module.load_state_dict(state.losses[name])
    if learner.average:
        if state.average is None:
            raise ValueError("it has no average of the weights")
        learner.average.restore(*state.average)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network its weights; KeyError or RuntimeError where they are those of another one."""
    state: dict[str, Any] = model.state_dict()
    if state.keys() != weights.keys():
        raise KeyError(f"weights of other names: {', '.join(sorted(state.keys() ^ weights.keys())[:3])}")
    state.update(weights)  # and keeps the versions that some networks ask for
    model.load_state_dict(state)
