"""Recipes: the exact phases of each method, and methods by name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from compress.errors import PlanError
from compress.losses import cross_entropy_loss, feature_loss, kd_loss, pkt_loss
from compress.models import Architecture, build
from compress.phase import LABELS, OPTIMIZERS, Fit, Phase, S, T, Term, describe, step_schedule
from compress.recipes import FOLLOW, RECIPES, SINGLE_LAYER, Method, auxiliary_phases
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, Task

FIT = Fit(70, OPTIMIZERS["adam"](1e-3), step_schedule(70), "best", 64)
LAST = replace(FIT, keep="last")
CE = Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce")


@pytest.fixture(scope="module")
def student() -> Staged:
    return build(Architecture("cnn-s", 10, 1, (24, 24)))


@pytest.fixture(scope="module")
def teacher() -> Staged:
    return build(Architecture("cnn-a", 10, 1, (24, 24)))


def _plan(student: Staged, teacher: Staged, name: str, task: Task = CLASSIFICATION, **settings: str) -> list[Phase]:
    return Method(name, settings).phases(student, teacher, task, FIT)


def _kd(tau: float, weight: float) -> Term:
    return Term(partial(kd_loss, tau=tau), (S("logits"), T("logits")), weight, "kd")


def _pkt(weight: float) -> Term:
    return Term(pkt_loss, (S("embedding"), T("embedding")), weight, "pkt")


def _maps(stage: str) -> tuple[Term, ...]:
    return (Term(feature_loss, (S(stage), T(stage)), 1.0, "mse"),)


def _same(plan: list[Phase], *expected: Phase) -> bool:
    return describe(plan) == describe(expected) and [p.fit for p in plan] == [p.fit for p in expected]


def test_no_teacher_is_the_task(student: Staged, teacher: Staged) -> None:
    assert _plan(student, teacher, "no_teacher") == [Phase("task", (CE,), FIT)]


def test_okd_weighs_task_and_divergence(student: Staged, teacher: Staged) -> None:
    ce = Term(cross_entropy_loss, (S("logits"), LABELS), 0.1, "ce")
    assert _same(_plan(student, teacher, "okd"), Phase("okd", (ce, _kd(4.0, 0.9)), FIT))
    ce = Term(cross_entropy_loss, (S("logits"), LABELS), 0.75, "ce")
    assert _same(_plan(student, teacher, "okd", alpha="0.75", tau="2"), Phase("okd", (ce, _kd(2.0, 0.25)), FIT))


def test_pkt_is_the_task_and_the_embedding(student: Staged, teacher: Staged) -> None:
    assert _plan(student, teacher, "pkt") == [Phase("embedding", (CE, _pkt(1000.0)), FIT)]
    assert _plan(student, teacher, "pkt", beta="5") == [Phase("embedding", (CE, _pkt(5.0)), FIT)]


def test_indistill_is_a_phase_a_map_and_then_the_last_recipe(student: Staged, teacher: Staged) -> None:
    assert _plan(student, teacher, "indistill") == [
        Phase("map1", _maps("map1"), LAST.window(0, 3)),
        Phase("map2", _maps("map2"), LAST.window(3, 7)),
        Phase("map3", _maps("map3"), LAST.window(7, 12)),
        Phase("embedding", (CE, _pkt(1000.0)), FIT.window(12, 70)),
    ]


@pytest.mark.parametrize("last", SINGLE_LAYER)
def test_indistill_ends_in_any_single_layer_recipe(student: Staged, teacher: Staged, last: str) -> None:
    plan = _plan(student, teacher, "indistill", a="0", b="2", last=last)
    assert [phase.fit.epochs for phase in plan] == [2, 4, 6, 58]
    assert _same(plan[3:], *RECIPES[last](student, teacher, CLASSIFICATION, FIT.window(12, 70)))


@pytest.mark.parametrize(
    ("last", "knobs"), [("okd", {"alpha": "0.5", "tau": "2"}), ("okd", {"tau": "3"}), ("pkt", {"beta": "7"})]
)
def test_indistill_passes_its_knobs_on_to_the_last_recipe(
    student: Staged, teacher: Staged, last: str, knobs: dict[str, str]
) -> None:
    plan = _plan(student, teacher, "indistill", last=last, **knobs)
    expected = Method(last, knobs).phases(student, teacher, CLASSIFICATION, FIT.window(12, 70))
    assert _same(plan[3:], *expected)


def test_indistill_as_released_has_a_new_optimizer_in_every_epoch_of_a_map(student: Staged, teacher: Staged) -> None:
    plan = _plan(student, teacher, "indistill", follow="release")
    numbers = [(stage, n) for stage, count in (("map1", 3), ("map2", 4), ("map3", 5)) for n in range(1, count + 1)]
    assert [phase.name for phase in plan] == [*(f"{stage}.{n}" for stage, n in numbers), "embedding"]
    assert plan[:-1] == [
        Phase(f"{stage}.{n}", _maps(stage), LAST.window(at, at + 1)) for at, (stage, n) in enumerate(numbers)
    ]
    assert plan[-1] == _plan(student, teacher, "indistill")[-1]


def test_indistill_freezes_nothing(student: Staged, teacher: Staged) -> None:
    assert {phase.train for phase in _plan(student, teacher, "indistill")} == {None}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_uses_the_whole_schedule(student: Staged, teacher: Staged, name: str) -> None:
    plan = _plan(student, teacher, name)
    assert tuple(factor for phase in plan for factor in phase.fit.schedule) == FIT.schedule
    assert {phase.fit.batch_size for phase in plan} == {64}
    assert plan[-1].fit.keep == "best"


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"no_teacher"}))
def test_retrieval_uses_no_labels(student: Staged, teacher: Staged, name: str) -> None:
    plan = _plan(student, teacher, name, RETRIEVAL)
    assert all(ref != LABELS for phase in plan for term in phase.terms for ref in term.args)
    assert [term.weight for phase in plan for term in phase.terms] == [1.0] * len(plan)


def test_no_teacher_has_nothing_to_learn_for_retrieval(student: Staged, teacher: Staged) -> None:
    with pytest.raises(PlanError, match="task 'retrieval' has no loss of its own"):
        _plan(student, teacher, "no_teacher", RETRIEVAL)
    with pytest.raises(PlanError, match="task 'retrieval' has no loss of its own"):
        _plan(student, teacher, "indistill", RETRIEVAL, last="no_teacher")


def test_the_auxiliary_learns_the_labels_and_then_the_embedding(student: Staged, teacher: Staged) -> None:
    plan = auxiliary_phases(student, teacher, CLASSIFICATION, FIT)
    assert plan == [Phase("task", (CE,), FIT), Phase("embedding", (_pkt(1.0),), FIT)]


def test_indistill_needs_an_intermediate_stage(teacher: Staged) -> None:
    flat = Staged(teacher.model, teacher.stages[-2:])
    with pytest.raises(PlanError, match="indistill: the student has no intermediate stage"):
        _plan(flat, teacher, "indistill")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("okd", {"alpha": "1.01"}, "alpha is 1.01; allowed is 0 to 1"),
        ("okd", {"alpha": "-0.1"}, "alpha is -0.1"),
        ("okd", {"alpha": "nan"}, "alpha is nan"),
        ("okd", {"tau": "0"}, "tau is 0.0; it must be above 0"),
        ("indistill", {"last": "pkd"}, "unknown last recipe 'pkd'. Did you mean 'pkt'"),
        ("indistill", {"follow": "papers"}, "unknown source to follow 'papers'. Did you mean 'paper'"),
    ],
)
def test_a_knob_out_of_range_is_an_error(
    student: Staged, teacher: Staged, name: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        _plan(student, teacher, name, **settings)


def test_epochs_that_leave_none_for_the_last_recipe_are_an_error(student: Staged, teacher: Staged) -> None:
    with pytest.raises(ValueError, match="70 epochs leave none"):
        _plan(student, teacher, "indistill", a="30")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("indistil", {}, "unknown method 'indistil'. Did you mean 'indistill'. Known: indistill, no_teacher, okd, pkt"),
        ("okd", {"alfa": "1"}, "okd: unknown knob 'alfa'. Did you mean 'alpha'"),
        ("no_teacher", {"alpha": "1"}, "no_teacher: it has no knobs"),
        ("okd", {"alpha": "much"}, "okd: alpha is 'much'; it must be a number"),
        ("indistill", {"a": "2.5"}, "indistill: a is '2.5'; it must be a whole number"),
    ],
)
def test_a_method_that_cannot_be_read_is_an_error_at_once(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(PlanError, match=message.replace("?", ".")):
        Method(name, settings)


def test_knobs_have_their_defaults_and_their_types() -> None:
    assert Method("okd", {"tau": "2"}).knobs() == {"alpha": 0.1, "tau": 2.0}
    defaults = {"a": 2, "b": 1, "last": "pkt", "follow": "paper", "alpha": 0.1, "tau": 4.0, "beta": 1000.0}
    assert Method("indistill", {"b": "0"}).knobs() == defaults | {"b": 0}
    assert type(Method("pkt", {"beta": "3"}).knobs()["beta"]) is float
    assert Method("no_teacher").knobs() == {}
    assert FOLLOW == ("paper", "release")


def test_only_indistill_narrows_its_teacher() -> None:
    assert [name for name in RECIPES if Method(name).narrows] == ["indistill"]
