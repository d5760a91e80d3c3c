"""What every method of the table holds to: the student changes as declared, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from watch import State, moved, same, state_of

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.losses import cross_entropy_loss
from compress.named import Named
from compress.opening import new_network
from compress.phase import LABELS, Fit, Lesson, Phase, S, Term
from compress.recipes import RECIPES, Method, read_method
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

MakeFit = Callable[..., Fit]

EPOCHS = 7  # with a = 0, b = 1 the least that leave InDistill an epoch for its last phase
LEARNING = {"stagewise": 24, "indistill": 16}  # epochs, where most of them are not for the whole network
MARGIN = 0.3  # in accuracy: three times what a network of ten classes has before it has learnt
KNOBS = {"indistill": {"a": "0"}, "crd": {"negatives": "512"}}


@dataclass(frozen=True)
class Battery:
    """A method at work: who learns, from whom, by which plan, and what both were before."""

    student: Staged
    guide: Staged
    phases: list[Phase]
    student_before: State
    guide_before: State
    requires_grad: list[bool]


@pytest.fixture(params=RECIPES)
def battery(
    request: pytest.FixtureRequest, student: Checkpoint, teacher: Checkpoint, digits: Dataset, make_fit: MakeFit
) -> Battery:
    method, pupil = read_method(request.param, KNOBS.get(request.param)), student.network
    guide = method.shown(_small(digits, 5) if _needs_equal(method) else teacher.network, pupil)
    for number, parameter in enumerate(pupil.model.parameters()):
        parameter.requires_grad_(number != 1)
    lesson = Lesson(pupil, guide, CLASSIFICATION, len(digits.train), len(digits.classes), 0)
    return Battery(
        pupil,
        guide,
        method.phases(lesson, make_fit(EPOCHS)),
        state_of(pupil),
        state_of(guide),
        [parameter.requires_grad for parameter in pupil.model.parameters()],
    )


def _small(digits: Dataset, seed: int) -> Staged:
    """A network of the student's own kind."""
    return new_network(Named("cnn-s", options={"width": 4}), digits, seed=seed).network


def _needs_equal(method: Method) -> bool:
    return bool({"equal shapes", "equal widths"} & set(method.recipe.needs) and method.recipe.guide == "teacher")


def _short(phase: Phase) -> Phase:
    """The first epoch of a phase."""
    terms = tuple(replace(term, weight=term.weight_at(0)) for term in phase.terms)
    return replace(phase, terms=terms, fit=phase.fit.window(0, 1))


def _run(battery: Battery, phases: list[Phase], data: Dataset) -> Iterator[str]:
    for report in run(phases, battery.student, data, Run(CLASSIFICATION), teacher=battery.guide):
        yield report.phase


def _owners(network: Staged, path: str) -> list[str]:
    return [stage.name for stage in network.stages if network.owns([stage.name], path)]


def test_a_method_changes_the_student_and_nothing_else(
    battery: Battery, digits: Dataset, count_hooks: Callable[[Staged], int]
) -> None:
    pupil = battery.student
    assert len(list(_run(battery, battery.phases, digits))) == EPOCHS
    after = state_of(pupil)
    assert list(after) == list(battery.student_before)
    assert {owner for key in moved(battery.student_before, after) for owner in _owners(pupil, key)} == {
        stage.name for stage in pupil.stages
    }
    assert same(state_of(battery.guide), battery.guide_before)
    assert count_hooks(pupil) == count_hooks(battery.guide) == 0
    assert [parameter.requires_grad for parameter in pupil.model.parameters()] == battery.requires_grad
    assert all(parameter.requires_grad for parameter in battery.guide.model.parameters())
    assert all(p.grad is None for p in (*pupil.model.parameters(), *battery.guide.model.parameters()))
    assert not any(module.training for module in pupil.model.modules())


def test_each_phase_of_a_method_moves_what_it_declares_and_nothing_else(battery: Battery, digits: Dataset) -> None:
    pupil, before = battery.student, battery.student_before
    phases = [_short(phase) for phase in battery.phases]
    for phase, _ in zip(phases, _run(battery, phases, digits), strict=True):
        after = state_of(pupil)
        declared = phase.train or tuple(stage.name for stage in pupil.stages)
        owners = {owner for key in moved(before, after) for owner in _owners(pupil, key)}
        order = [stage.name for stage in pupil.stages]
        reached = max(map(order.index, phase.stages("student")))
        assert owners == {name for name in declared if order.index(name) <= reached}
        before = after


def test_each_phase_of_a_method_moves_a_single_stage_where_it_is_told_so(battery: Battery, digits: Dataset) -> None:
    pupil = battery.student
    phases = [replace(_short(phase), train=(phase.stages("student")[-1],)) for phase in battery.phases]
    before = battery.student_before
    for phase, name in zip(phases, _run(battery, phases, digits), strict=True):
        after = state_of(pupil)
        assert phase.name == name
        assert {tuple(_owners(pupil, key)) for key in moved(before, after)} == {phase.train}
        before = after
    assert same(state_of(battery.guide), battery.guide_before)


@pytest.fixture(scope="module")
def equal(digits: Dataset, make_fit: MakeFit) -> Staged:
    """A trained teacher of the student's own kind, for methods that need features of equal shapes."""
    network = _small(digits, 5)
    list(run([Phase("task", CLASSIFICATION.terms, make_fit(12, rate=1e-2))], network, digits, Run(CLASSIFICATION)))
    return network


@pytest.mark.parametrize("name", RECIPES)
def test_a_student_learns_by_every_method(
    name: str, teacher: Checkpoint, equal: Staged, digits: Dataset, make_fit: MakeFit
) -> None:
    method, pupil = read_method(name, KNOBS.get(name)), _small(digits, 3)
    guide = method.shown(equal if _needs_equal(method) else teacher.network, pupil)
    before = CLASSIFICATION.evaluate(pupil, digits)["top1"]
    lesson = Lesson(pupil, guide, CLASSIFICATION, len(digits.train), len(digits.classes), 0)
    list(
        run(
            method.phases(lesson, make_fit(LEARNING.get(name, 12), rate=5e-3)),
            pupil,
            digits,
            Run(CLASSIFICATION),
            teacher=guide,
        )
    )
    after = CLASSIFICATION.evaluate(pupil, digits)["top1"]
    assert after > before + MARGIN


@pytest.mark.parametrize("train", [("map1",), ("map2", "logits"), ("embedding",), ("logits",), None])
def test_frozen_stages_keep_parameters_and_statistics(
    student: Checkpoint, digits: Dataset, make_fit: MakeFit, train: tuple[str, ...] | None
) -> None:
    pupil = student.network
    before = state_of(pupil)
    phase = Phase("p", (Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce"),), make_fit(1), train=train)
    list(run([phase], pupil, digits, Run(CLASSIFICATION)))
    declared = train or tuple(stage.name for stage in pupil.stages)
    assert moved(before, state_of(pupil)) == {key for key in before if pupil.owns(declared, key)}
