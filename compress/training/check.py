"""A plan is checked whole before its first batch: names, widths and shapes, on two real images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from compress.data import Batch, Dataset
from compress.errors import PlanError
from compress.phase import INDEX, LABELS, Loss, Phase, Ref, S, T, Term, describe, learned
from compress.stages import Staged, evaluating, tapped
from compress.text import counted

BEYOND_NUMBERS = (
    "before anything is trained: what it is made of is too large or too small for 32-bit numbers; give the method's "
    "knobs moderate values"
)


def check_plan(phases: Sequence[Phase], student: Staged, teacher: Staged | None, data: Dataset) -> None:
    """Nothing, once every phase can run.

    Args:
        phases: The plan.
        student: What it trains.
        teacher: What its terms may refer to.
        data: What it trains on; two of its images go once through each network, and what comes out through each term.

    Raises:
        PlanError: Names the phase and what is wrong: an unknown stage, a missing teacher, shapes that do not meet, a
            network that cannot take the images, a teacher that gives NaN, nothing to train, no validation split to
            choose the best epoch by.
    """
    if not phases:
        raise PlanError("the plan has no phases")
    for name, count in Counter(phase.name for phase in phases).items():
        if count > 1:
            raise PlanError(f"phase {name!r} is in the plan {count} times; give each its own name")
    for phase in phases:
        with _named([phase]):
            _check_phase(phase, student, teacher, data)
    batch = _two_images(data)
    given: dict[Ref, Tensor] = {LABELS: batch.target, INDEX: batch.index}
    for side, network, ref in (("student", student, S), ("teacher", teacher, T)):
        reading = [phase for phase in phases if phase.stages(side)]  # type: ignore[arg-type]
        if network is not None and (reading or side == "student"):
            with _named(reading):
                stages = dict.fromkeys(stage for phase in reading for stage in phase.stages(side))  # type: ignore[arg-type]
                read = _read(side, network, stages, batch.image)
                _check_answer(side, read.get("logits"), data)
                given |= {ref(stage): feature for stage, feature in read.items()}
    tried: list[object] = []
    for phase in phases:
        with _named([phase]):
            for term, described in zip(phase.terms, describe([phase])[0]["terms"], strict=True):
                facts = (described["loss"], described["args"])
                if facts not in tried:
                    tried.append(facts)
                    _try_term(term, given)


@contextmanager
def _named(phases: Sequence[Phase]) -> Iterator[None]:
    """A `with` whose PlanErrors name the first of the phases, if there is one."""
    try:
        yield
    except PlanError as error:
        raise PlanError(f"phase {phases[0].name!r}: {error}" if phases else str(error)) from error


def _check_phase(phase: Phase, student: Staged, teacher: Staged | None, data: Dataset) -> None:
    if not phase.terms:
        raise PlanError("it has no loss terms")
    for name, count in Counter(term.name for term in phase.terms).items():
        if count > 1:
            raise PlanError(f"{count} of its terms are called {name!r}; give each its own name")
    for term in phase.terms:
        if isinstance(term.weight, tuple) and len(term.weight) != phase.fit.epochs:
            raise PlanError(
                f"term {term.name!r} has weights for {counted(len(term.weight), 'epoch')}; the phase has "
                f"{phase.fit.epochs}"
            )
    if phase.stages("teacher") and teacher is None:
        raise PlanError(f"it refers to the teacher's {', '.join(phase.stages('teacher'))}, but there is no teacher")
    if phase.fit.keep != "last" and data.val is None:
        raise PlanError(
            f'keep="{phase.fit.keep}" needs a validation split; hold one out of the training set (--val-fraction)'
        )
    for name in phase.train or ():
        student.stage(name)
    learns = any(phase.train is None or student.owns(phase.train, path) for path, _ in student.model.named_parameters())
    if not learns:
        raise PlanError("the stages it trains own no parameters")


def _two_images(data: Dataset) -> Batch:
    if len(data.train) < 2:
        raise PlanError(
            f"data set {data.name!r} has {counted(len(data.train), 'training image')}; at least 2 are needed"
        )
    return next(data.train.batches(2))


@torch.no_grad()
def _read(side: str, network: Staged, stages: Iterable[str], image: Tensor) -> dict[str, Tensor]:
    names = list(stages)
    device = next(network.model.parameters()).device
    with evaluating(network.model), tapped(network, names) as taps:
        try:
            taps.read(network.model, network.scale(image.to(device)))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise PlanError(f"the {side} cannot take images of shape {tuple(image.shape[1:])}: {error}") from error
        features = {name: taps[name].cpu() for name in names}
    for name, feature in features.items():
        if not torch.isfinite(feature).all():
            raise PlanError(f"the {side} gives NaN or infinite values at stage {name!r}; take one that was trained")
    return features


def _check_answer(side: str, logits: Tensor | None, data: Dataset) -> None:
    """Nothing, unless a network names pixels where the data name images, or the reverse."""
    if logits is not None and (logits.ndim == 4) != data.masks:
        gives, has = "a class for every pixel", "one class an image"
        gives, has, fitting = (has, gives, "a U-Net") if data.masks else (gives, has, "a classifier")
        raise PlanError(f"the {side} gives {gives}, and data set {data.name!r} has {has}; take {fitting}")


@torch.no_grad()
def _try_term(term: Term, given: Mapping[Ref, Tensor]) -> None:
    arguments = [given[ref] for ref in term.args]
    loss: Loss = learned(term.loss, seed=0) if term.learns else term.loss
    try:
        with torch.random.fork_rng():
            value = loss(*arguments)
    except OverflowError as error:
        raise PlanError(f"term {term.name!r} cannot be counted on the first two images, {BEYOND_NUMBERS}") from error
    except (RuntimeError, ValueError, IndexError) as error:
        places = ", ".join(f"{ref} {tuple(argument.shape)}" for ref, argument in zip(term.args, arguments, strict=True))
        places = _unequal(term, given) or places
        raise PlanError(f"term {term.name!r} cannot be computed from {places}: {error}") from error
    if value.ndim != 0:
        raise PlanError(f"term {term.name!r} gives shape {tuple(value.shape)}; a loss must be a scalar")
    if not torch.isfinite(value):
        raise PlanError(f"term {term.name!r} is {value.item()} on the first two images, {BEYOND_NUMBERS}")


def _unequal(term: Term, given: Mapping[Ref, Tensor]) -> str:
    """The first stage that a term reads of both sides in different shapes, with both; "" where there is none."""
    for ref in term.args:
        if ref.side == "student" and T(ref.stage) in term.args:
            student, teacher = (tuple(given[side(ref.stage)].shape[1:]) for side in (S, T))
            if student != teacher:
                return f"stage {ref.stage}: student {student}, teacher {teacher}"
    return ""
