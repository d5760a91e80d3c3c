"""Phases: plans as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from compress.errors import PlanError
from compress.losses import cosine_kernel, cross_entropy_loss, kd_loss, pkt_loss, student_t_kernel
from compress.phase import (
    INDEX,
    LABELS,
    OPTIMIZERS,
    Fit,
    Loss,
    Optimizer,
    Phase,
    S,
    T,
    Term,
    describe,
    learned,
)
from compress.schedule import Schedule

ADAM = OPTIMIZERS["adam"](1e-3)
FIT = Fit(4, ADAM, (1.0, 0.5, 0.25, 0.125), "best score", 16)
TERM = Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce")


@pytest.mark.parametrize(
    ("epochs", "schedule", "batch_size", "message"),
    [
        (0, (), 8, "epochs: got 0"),
        (-1, (), 8, "epochs: got -1"),
        (2, (1.0,), 8, "1 factors for 2 epochs"),
        (1, (1.0, 1.0), 8, "2 factors for 1 epochs"),
        (1, (1.0,), 1, "batch size: got 1"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(
    epochs: int, schedule: tuple[float, ...], batch_size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Fit(epochs, ADAM, schedule, batch_size=batch_size)


def test_a_window_is_a_part_of_the_schedule_and_the_rest_as_it_was() -> None:
    assert FIT.window(1, 3) == Fit(2, ADAM, (0.5, 0.25), "best score", 16)
    assert FIT.window(0, 4) == FIT


def test_a_window_of_a_schedule_has_its_rates() -> None:
    fit = Fit(70, ADAM, Schedule("one-cycle", 70), "best score", 16)
    part = fit.window(10, 30).window(5, 7)
    assert (part.epochs, part.keep, part.batch_size) == (2, "best score", 16)
    assert [part.rate(epoch, 0.25) for epoch in (0, 1)] == [fit.rate(epoch, 0.25) for epoch in (15, 16)]
    assert fit.window(0, 70) == fit


def test_a_fit_over_other_epochs_runs_through_its_schedule_anew() -> None:
    fit = Fit(70, ADAM, Schedule("step", 70), "best score", 16)
    assert fit.over(7) == fit.window(3, 9).over(7) == Fit(7, ADAM, Schedule("step", 7), "best score", 16)
    assert [fit.over(7).rate(epoch) for epoch in range(7)] == [1e-3] * 6 + [1e-4]
    assert FIT.over(8) == Fit(8, ADAM, (1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125), "best score", 16)
    assert FIT.over(2) == Fit(2, ADAM, (1.0, 0.25), "best score", 16)
    with pytest.raises(ValueError, match="epochs: got 0"):
        fit.over(0)


@pytest.mark.parametrize("schedule", [Schedule("cosine", 4), (1.0, 0.5, 0.25, 0.125)])
@pytest.mark.parametrize(("start", "stop"), [(2, 2), (3, 2), (3, 5)])
def test_a_window_outside_the_schedule_is_refused(
    start: int, stop: int, schedule: Schedule | tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"epochs|factors"):
        replace(FIT, schedule=schedule).window(start, stop)


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("adam", torch.optim.Adam, {"weight_decay": 0}),
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.05}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    ],
)
def test_optimizers_take_the_rate(name: str, kind: type, settings: dict[str, float]) -> None:
    optimizer = OPTIMIZERS[name](0.25).of([nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is kind
    assert optimizer.param_groups[0].items() >= ({"lr": 0.25} | settings).items()


def test_sgd_without_momentum_has_no_look_ahead() -> None:
    optimizer = Optimizer("sgd", 0.5).of([nn.Parameter(torch.zeros(1))])
    assert optimizer.param_groups[0].items() >= {"lr": 0.5, "momentum": 0, "nesterov": False}.items()


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": math.inf},
        {"lr": math.nan},
        {"lr": 1.0, "momentum": 1.0},
        {"lr": 1.0, "momentum": -0.1},
        {"lr": 1.0, "weight_decay": -1e-9},
    ],
)
def test_an_optimizer_that_cannot_be_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"lr must be above 0, momentum in \[0, 1\), weight_decay 0 or more"):
        Optimizer("sgd", **settings)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, (), (1.0, -0.5), (1.0, math.nan)])
def test_a_weight_out_of_range_is_refused(weight: float | tuple[float, ...]) -> None:
    with pytest.raises(PlanError, match=r"term 'ce': its weight is .*; allowed are finite numbers from 0"):
        Term(cross_entropy_loss, (S("logits"), LABELS), weight, "ce")


def test_a_weight_is_one_number_or_one_an_epoch() -> None:
    assert [TERM.weight_at(epoch) for epoch in range(3)] == [1.0, 1.0, 1.0]
    assert [replace(TERM, weight=(1.0, 0.7, 0.0)).weight_at(epoch) for epoch in range(3)] == [1.0, 0.7, 0.0]


# losses with parameters


def test_a_loss_with_parameters_is_known_by_its_class() -> None:
    assert replace(TERM, loss=nn.Identity).learns
    assert replace(TERM, loss=partial(nn.Linear, 2, 1)).learns
    assert not TERM.learns
    assert not replace(TERM, loss=partial(kd_loss, tau=2.0)).learns


def test_the_parameters_of_a_loss_depend_on_the_seed_alone() -> None:
    def weight(seed: int, elsewhere: int) -> Tensor:
        torch.manual_seed(elsewhere)
        made = learned(partial(nn.Linear, 3, 2), seed).weight
        assert torch.initial_seed() == elsewhere
        return made

    assert torch.equal(weight(2**62, 0), weight(2**62, 99))
    assert not torch.equal(weight(1, 0), weight(2, 0))


def test_stages_are_named_once_in_the_order_of_their_use() -> None:
    terms = (
        TERM,
        Term(kd_loss, (S("logits"), T("logits")), 1.0, "kd"),
        Term(kd_loss, (S("map1"), T("embedding")), 1.0, "x"),
        Term(kd_loss, (T("logits"), INDEX), 1.0, "y"),
    )
    phase = Phase("p", terms, FIT)
    assert phase.stages("student") == ("logits", "map1")
    assert phase.stages("teacher") == ("logits", "embedding")


def _phase(**changes: object) -> Phase:
    facts = {"name": "p", "terms": (TERM,), "fit": FIT, "train": None} | changes
    return Phase(**facts)  # type: ignore[arg-type]


def _other_loss(student: Tensor, labels: Tensor) -> Tensor:
    return student.sum() + labels.sum()


def test_equal_plans_have_equal_descriptions() -> None:
    assert describe([_phase()]) == describe(
        [_phase(fit=Fit(4, OPTIMIZERS["adam"](1e-3), FIT.schedule, "best score", 16))]
    )


@pytest.mark.parametrize(
    "other",
    [
        _phase(name="q"),
        _phase(train=("logits",)),
        _phase(train=()),
        _phase(terms=(TERM, TERM)),
        _phase(terms=(Term(cross_entropy_loss, (S("logits"), LABELS), 2.0, "ce"),)),
        _phase(terms=(Term(cross_entropy_loss, (S("logits"), LABELS), (1.0, 1.0, 1.0, 0.5), "ce"),)),
        _phase(terms=(Term(_other_loss, (S("logits"), LABELS), 1.0, "ce"),)),
        _phase(terms=(Term(cross_entropy_loss, (S("embedding"), LABELS), 1.0, "ce"),)),
        _phase(terms=(Term(cross_entropy_loss, (T("logits"), LABELS), 1.0, "ce"),)),
        _phase(fit=Fit(4, OPTIMIZERS["adam"](2e-3), FIT.schedule, "best score", 16)),
        _phase(fit=Fit(4, OPTIMIZERS["adamw"](1e-3), FIT.schedule, "best score", 16)),
        _phase(fit=Fit(4, ADAM, (1.0,) * 4, "best score", 16)),
        _phase(fit=Fit(4, replace(ADAM, weight_decay=1e-9), FIT.schedule, "best score", 16)),
        _phase(fit=Fit(4, ADAM, FIT.schedule, "last", 16)),
        _phase(fit=Fit(4, ADAM, FIT.schedule, "best loss", 16)),
        _phase(fit=Fit(4, ADAM, FIT.schedule, "best score", 17)),
        _phase(fit=Fit(4, ADAM, Schedule("one-cycle", 4), "best score", 16)),
        _phase(fit=replace(FIT, fresh=True)),
    ],
)
def test_plans_that_train_otherwise_have_other_descriptions(other: Phase) -> None:
    assert describe([other]) != describe([_phase()])


def test_schedules_are_told_apart_wherever_they_train_otherwise() -> None:
    one, warm = Schedule("one-cycle", 8), Schedule("cosine", 8, 2)
    course = Schedule("cosine", 4)
    different = [
        one.window(0, 4),
        one.window(4, 8),
        Schedule("one-cycle", 4),
        warm.window(0, 4),
        Schedule("cosine", 8, 1).window(0, 4),
        Schedule("constant", 8, 2).window(0, 4),
        course,
        Schedule("step", 4),
        Schedule("constant", 4),
    ]
    told = [repr(describe([_phase(fit=replace(FIT, schedule=schedule))])) for schedule in different]
    assert len(set(told)) == len(different)
    same = tuple(course.factor(epoch) for epoch in range(4))
    assert describe([_phase(fit=replace(FIT, schedule=same))]) == describe([_phase(fit=replace(FIT, schedule=course))])


@dataclass(frozen=True)
class Sharpened:
    """A loss that is data."""

    tau: float

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        return kd_loss(student, teacher, self.tau)


@pytest.mark.parametrize(
    "loss",
    [
        lambda tau: partial(kd_loss, tau=tau),
        lambda tau: partial(partial(kd_loss, tau=tau)),
        lambda tau: partial(pkt_loss, kernels=(cosine_kernel, student_t_kernel)[: int(tau)]),
        lambda tau: Sharpened(tau),
        lambda tau: partial(nn.Linear, 2, int(tau)),
    ],
    ids=["partial", "partial of a partial", "functions", "dataclass", "module"],
)
def test_two_losses_that_differ_in_a_number_never_describe_themselves_alike(loss: Callable[[float], Loss]) -> None:
    def text(tau: float) -> object:
        return describe([_phase(terms=(Term(loss(tau), (S("logits"), T("logits")), 1.0, "kd"),))])

    assert text(2.0) == text(2.0)
    assert text(2.0) != text(1.0)


def _inner() -> Loss:
    def inner(logits: Tensor) -> Tensor:
        return logits.sum()

    return inner


@pytest.mark.parametrize(
    "loss", [lambda logits: logits.sum(), _inner(), nn.Linear(2, 1), partial(kd_loss, tau=torch.ones(()))]
)
def test_a_loss_that_cannot_be_told_from_another_one_is_refused(loss: Loss) -> None:
    with pytest.raises(PlanError, match=r"term 'x': .* cannot be told from another one; give a function of a module"):
        describe([_phase(terms=(Term(loss, (S("logits"),), 1.0, "x"),))])
