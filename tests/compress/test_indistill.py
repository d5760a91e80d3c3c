"""InDistill: the phases of its plan, the epochs of each layer, and the auxiliary's own plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plans import CE, alike, make_guide, make_lesson, make_student, maps, pkt

from compress.errors import PlanError
from compress.losses import feature_loss, pkt_loss
from compress.phase import OPTIMIZERS, Fit, Loss, Phase, S, T, Term
from compress.recipes import read_method
from compress.recipes.indistill import auxiliary_phases, l_cls_epochs, scaled_epochs
from compress.schedule import Schedule
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, Task

FIT = Fit(70, OPTIMIZERS["adam"](1e-3), Schedule("step", 70), "best score", 64)
FRESH = replace(FIT, fresh=True)
LAST = replace(FRESH, keep="last")


@pytest.fixture(scope="module")
def student() -> Staged:
    return make_student()


@pytest.fixture(scope="module")
def teacher() -> Staged:
    return make_guide()


def _plan(
    student: Staged, teacher: Staged | None, name: str, *, task: Task = CLASSIFICATION, fit: Fit = FIT, **settings: str
) -> list[Phase]:
    words = {knob.replace("_", "."): text for knob, text in settings.items()}
    return read_method(name, words).phases(make_lesson(student, teacher, task), fit)


def test_indistill_is_a_phase_a_map_and_then_the_last_recipe(student: Staged, teacher: Staged) -> None:
    assert _plan(student, teacher, "indistill") == [
        Phase("map1", maps("map1"), LAST.window(0, 3)),
        Phase("map2", maps("map2"), LAST.window(3, 7)),
        Phase("map3", maps("map3"), LAST.window(7, 12)),
        Phase("embedding", (CE, pkt(1000.0)), FRESH.window(12, 70)),
    ]


@pytest.mark.parametrize(
    ("last", "knobs"),
    [("no_teacher", {}), ("okd", {}), ("pkt", {}), ("okd", {"alpha": "0.5", "tau": "2"}), ("pkt", {"beta": "7"})],
)
def test_indistill_ends_in_any_single_layer_recipe_with_its_knobs(
    student: Staged, teacher: Staged, last: str, knobs: dict[str, str]
) -> None:
    inner = {f"last_{knob}": text for knob, text in knobs.items()}
    plan = _plan(student, teacher, "indistill", a="0", b="2", last=last, **inner)
    assert [phase.fit.epochs for phase in plan] == [2, 4, 6, 58]
    assert alike(plan[3:], *_plan(student, teacher, last, fit=FRESH.window(12, 70), **knobs))


def test_indistill_ends_in_a_recipe_of_several_phases_whose_names_it_keeps_apart(
    student: Staged, teacher: Staged
) -> None:
    plan = _plan(student, teacher, "indistill", last="stagewise")
    names = ["map1", "map2", "map3", "stagewise map1", "stagewise map2", "stagewise map3", "task"]
    assert [phase.name for phase in plan] == names
    assert sum(phase.fit.epochs for phase in plan) == 70


@pytest.mark.parametrize(
    ("scheme", "knob", "value"),
    [
        ("decay", "a", "7"),
        ("all", "b", "3"),
        ("all", "decay", "0.1"),
        ("l-cls", "weight", "3"),
        ("l-cls", "decay", "1"),
    ],
)
def test_a_knob_that_the_scheme_does_not_look_at_is_refused(
    student: Staged, teacher: Staged, scheme: str, knob: str, value: str
) -> None:
    with pytest.raises(PlanError, match=f"scheme={scheme} takes no {knob}, which belongs to .*; leave it out"):
        _plan(student, teacher, "indistill", scheme=scheme, **{knob: value})


def test_a_knob_of_the_default_last_recipe_needs_no_name(student: Staged, teacher: Staged) -> None:
    plan = _plan(student, teacher, "indistill", last_beta="7")
    assert plan[-1].terms == (CE, pkt(7.0))


@pytest.mark.parametrize("scheme", ["l-cls", "decay", "all"])
@pytest.mark.parametrize(("follow", "fresh"), [("release", True), ("targets", False), ("paper", False)])
def test_only_the_release_makes_the_optimizer_anew_in_every_epoch(
    student: Staged, teacher: Staged, scheme: str, follow: str, fresh: bool
) -> None:
    plan = _plan(student, teacher, "indistill", scheme=scheme, follow=follow)
    assert {phase.fit.fresh for phase in plan} == {fresh}
    again = _plan(student, teacher, "indistill", scheme=scheme, follow="paper")
    assert [replace(phase, fit=replace(phase.fit, fresh=False)) for phase in plan] == again


def test_indistill_freezes_nothing(student: Staged, teacher: Staged) -> None:
    assert {phase.train for phase in _plan(student, teacher, "indistill")} == {None}


def test_indistill_needs_an_intermediate_stage(teacher: Staged) -> None:
    flat = Staged(teacher.model, teacher.stages[-2:])
    with pytest.raises(PlanError, match="indistill: the student has no intermediate stage"):
        _plan(flat, teacher, "indistill")


def test_indistill_does_not_end_in_itself(student: Staged, teacher: Staged) -> None:
    with pytest.raises(PlanError, match="indistill: last=indistill would need an auxiliary again"):
        _plan(student, teacher, "indistill", last="indistill")


def test_epochs_that_leave_none_for_the_last_recipe_are_an_error(student: Staged, teacher: Staged) -> None:
    with pytest.raises(PlanError, match="70 epochs leave none"):
        _plan(student, teacher, "indistill", a="30")


def test_the_auxiliary_learns_the_labels_and_then_the_embedding(student: Staged, teacher: Staged) -> None:
    plan = auxiliary_phases(make_lesson(student, teacher), FIT)
    assert plan == [Phase("task", (CE,), FIT), Phase("embedding", (pkt(1.0),), FIT)]


# all layers at once, and the auxiliary as it is


def _beside(loss: Loss, name: str, weight: float | tuple[float, ...]) -> list[Term]:
    return [Term(loss, (S(stage), T(stage)), weight, f"{name} {stage}") for stage in ("map1", "map2", "map3")]


def test_all_layers_at_once_stand_beside_the_last_recipe(student: Staged, teacher: Staged) -> None:
    plan = _plan(student, teacher, "indistill", scheme="all", weight="2")
    assert plan == [Phase("embedding", (CE, pkt(1000.0), *_beside(feature_loss, "mse", 2.0)), FRESH)]


def test_the_weight_of_all_layers_decays_by_the_epoch(student: Staged, teacher: Staged) -> None:
    fit = FRESH.over(3)
    plan = _plan(student, teacher, "indistill", scheme="decay", decay="0.5", last="no_teacher", fit=fit)
    assert plan == [Phase("task", (CE, *_beside(feature_loss, "mse", (1.0, 0.5, 0.25))), fit)]


def test_all_layers_at_once_stand_beside_one_phase_only(student: Staged, teacher: Staged) -> None:
    with pytest.raises(PlanError, match="indistill: last=fsp has 2 phases; all stages at once go beside one alone"):
        _plan(student, teacher, "indistill", scheme="all", last="fsp")


def test_pkt_h_cr_is_pkt_on_every_stage_whose_weight_fades(student: Staged, teacher: Staged) -> None:
    plan = _plan(student, teacher, "pkt_h_cr", task=RETRIEVAL)
    fading = tuple(100 * 0.7**epoch for epoch in range(70))
    assert plan == [Phase("embedding", (pkt(1.0), *_beside(pkt_loss, "pkt", fading)), FIT)]
    plan = _plan(student, teacher, "pkt_h_cr", beta="10", decay="1")
    assert plan == [Phase("embedding", (CE, pkt(10.0), *_beside(pkt_loss, "pkt", (1000.0,) * 70)), FIT)]


# the curriculum


@pytest.mark.parametrize(
    ("layers", "total", "a", "b", "epochs"),
    [
        (3, 70, 2, 1, (3, 4, 5, 58)),
        (3, 13, 2, 1, (3, 4, 5, 1)),
        (4, 200, 0, 5, (5, 10, 15, 20, 150)),
        (2, 10, 3, 0, (3, 3, 4)),
        (1, 2, 1, 0, (1, 1)),
    ],
)
def test_l_cls_epochs(layers: int, total: int, a: int, b: int, epochs: tuple[int, ...]) -> None:
    assert l_cls_epochs(layers, total, a, b) == epochs
    assert sum(epochs) == total


@pytest.mark.parametrize(
    ("layers", "total", "a", "b", "parts"),
    [
        (3, 24, 2, 1, ((1, 6), (1, 8), (1, 10))),
        (3, 3, 2, 1, ((1, 1), (1, 1), (1, 1))),
        (4, 7, 0, 1, ((1, 1), (1, 2), (1, 2), (1, 2))),
        (5, 3, 2, 1, ((1, 1), (2, 1), (2, 1))),
        (5, 1, 2, 1, ((5, 1),)),
    ],
)
def test_the_epochs_of_layers_are_scaled(
    layers: int, total: int, a: int, b: int, parts: tuple[tuple[int, int], ...]
) -> None:
    assert scaled_epochs(layers, total, a, b) == parts
    assert (sum(many for many, _ in parts), sum(epochs for _, epochs in parts)) == (layers, total)


@pytest.mark.parametrize(
    ("layers", "total", "a", "b", "message"),
    [
        (3, 12, 2, 1, r"12 epochs leave none.*take 12; give at least 13 epochs, or a smaller a or b"),
        (3, 1, 2, 1, "1 epoch leaves none"),
        (3, 70, -1, 2, "a = -1"),
        (3, 70, 2, -1, "b = -1"),
        (3, 70, 0, 0, "a = 0, b = 0"),
    ],
)
def test_epochs_that_do_not_suffice_are_an_error(layers: int, total: int, a: int, b: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        l_cls_epochs(layers, total, a, b)
