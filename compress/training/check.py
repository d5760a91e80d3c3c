"""A plan is checked whole before its first batch: names, widths and shapes, on two real images."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from compress.data import Batch, Dataset
from compress.errors import PlanError
from compress.phase import Phase, Ref, Term
from compress.stages import Staged, Taps, evaluating, tapped


def check_plan(phases: Sequence[Phase], student: Staged, teacher: Staged | None, data: Dataset) -> None:
    """Nothing, once every phase can run.

    Args:
        phases: The plan.
        student: What it trains.
        teacher: What its terms may refer to.
        data: What it trains on; two of its images go through every term.

    Raises:
        PlanError: Names the phase and what is wrong: an unknown stage, a missing teacher, shapes that do not meet, a
            network that cannot take the images, nothing to train, no validation split for keep="best".
    """
    if not phases:
        raise PlanError("the plan has no phases")
    for name, count in Counter(phase.name for phase in phases).items():
        if count > 1:
            raise PlanError(f"phase {name!r} is in the plan {count} times; give each its own name")
    batch = _two_images(data)
    for phase in phases:
        try:
            _check_phase(phase, student, teacher, data)
            with torch.random.fork_rng():
                _dry_run(phase, student, teacher, batch)
        except PlanError as error:
            raise PlanError(f"phase {phase.name!r}: {error}") from error


def _check_phase(phase: Phase, student: Staged, teacher: Staged | None, data: Dataset) -> None:
    if not phase.terms:
        raise PlanError("it has no loss terms")
    for name, count in Counter(term.name for term in phase.terms).items():
        if count > 1:
            raise PlanError(f"{count} of its terms are called {name!r}; give each its own name")
    if phase.stages("teacher") and teacher is None:
        raise PlanError(f"it refers to the teacher's {', '.join(phase.stages('teacher'))}, but there is no teacher")
    if phase.fit.keep == "best" and data.val is None:
        raise PlanError('keep="best" needs a validation split; hold one out of the training set')
    for name in phase.train or ():
        student.stage(name)
    learns = any(phase.train is None or student.owns(phase.train, path) for path, _ in student.model.named_parameters())
    if not learns:
        raise PlanError("the stages it trains own no parameters")


def _two_images(data: Dataset) -> Batch:
    if len(data.train) < 2:
        raise PlanError(f"data set {data.name!r} has {len(data.train)} training images; at least 2 are needed")
    return next(data.train.batches(2))


@torch.no_grad()
def _dry_run(phase: Phase, student: Staged, teacher: Staged | None, batch: Batch) -> None:
    with ExitStack() as stack:
        read: dict[str, Taps] = {}
        for side, network in (("student", student), ("teacher", teacher)):
            names = phase.stages(side)  # type: ignore[arg-type]
            if network is not None and (names or side == "student"):
                read[side] = stack.enter_context(tapped(network, names))
                _forward(side, network, batch.image)
        for term in phase.terms:
            arguments = [_argument(ref, read, batch) for ref in term.args]
            _try_term(term, arguments)


def _forward(side: str, network: Staged, image: Tensor) -> None:
    device = next(network.model.parameters()).device
    try:
        with evaluating(network.model):
            network.model(network.scale(image.to(device)))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise PlanError(f"the {side} cannot take images of shape {tuple(image.shape[1:])}: {error}") from error


def _argument(ref: Ref, read: dict[str, Taps], batch: Batch) -> Tensor:
    if ref.side == "labels":
        return batch.target
    if ref.side == "index":
        return batch.index
    return read[ref.side][ref.stage].cpu()


def _try_term(term: Term, arguments: list[Tensor]) -> None:
    loss = copy.deepcopy(term.loss) if isinstance(term.loss, nn.Module) else term.loss
    try:
        value = loss(*arguments)
    except (RuntimeError, ValueError, IndexError) as error:
        places = ", ".join(
            f"{ref.side} {ref.stage} {tuple(argument.shape)}".replace("  ", " ")
            for ref, argument in zip(term.args, arguments, strict=True)
        )
        raise PlanError(f"term {term.name!r} cannot be computed from {places}: {error}") from error
    if value.ndim != 0:
        raise PlanError(f"term {term.name!r} gives shape {tuple(value.shape)}; a loss must be a scalar")
