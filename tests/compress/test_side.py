"""Recipes of one phase in which stages of the teacher stand beside the task: their terms and weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from plans import CE, alike, make_guide, make_lesson, make_student

from compress.errors import PlanError
from compress.losses import Hint, attention_loss, feature_loss, mkt_loss, pkt_loss
from compress.phase import OPTIMIZERS, Fit, Phase, S, T, Term
from compress.recipes import read_method
from compress.recipes.maps import STAGE_LOSSES
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, Task

FIT = Fit(10, OPTIMIZERS["adam"](1e-3), (1.0,) * 10, "best score", 64)
MAPS = ("map1", "map2", "map3")


@pytest.fixture(scope="module")
def student() -> Staged:
    return make_student()


def _plan(student: Staged, name: str, *, task: Task = CLASSIFICATION, **settings: str) -> list[Phase]:
    return read_method(name, settings).phases(make_lesson(student, make_guide(), task), FIT)


def _mse(stage: str, weight: float) -> Term:
    return Term(feature_loss, (S(stage), T(stage)), weight, f"mse {stage}")


def test_simultaneous_is_the_mean_of_the_task_and_of_all_stages(student: Staged) -> None:
    stages = (_mse(stage, 0.25) for stage in MAPS)
    assert _plan(student, "simultaneous") == [Phase("all", (replace(CE, weight=0.25), *stages), FIT)]


def test_the_task_of_simultaneous_may_be_softened_by_the_teachers_logits(student: Staged) -> None:
    (plain,), (soft,) = _plan(student, "simultaneous"), _plan(student, "simultaneous", alpha=0.1, tau=2.0)
    labels, logits, *stages = soft.terms
    assert labels == replace(CE, weight=0.25 * 0.1)
    assert (logits.name, logits.weight, logits.loss.keywords) == ("kd", 0.25 * 0.9, {"tau": 2.0})  # type: ignore[attr-defined]
    assert stages == [*plain.terms[1:]]


def test_simultaneous_without_labels_is_the_mean_of_the_stages(student: Staged) -> None:
    plan = _plan(student, "simultaneous", task=RETRIEVAL)
    assert plan == [Phase("all", tuple(_mse(stage, 1 / 3) for stage in MAPS), FIT)]


def test_hints_is_the_task_and_the_middle_map(student: Staged) -> None:
    term = Term(partial(Hint, 8, 16), (S("map2"), T("map2")), 100.0, "hint")
    assert alike(_plan(student, "hints"), Phase("hints", (CE, term), FIT))
    assert alike(_plan(student, "hints", task=RETRIEVAL), Phase("hints", (replace(term, weight=1.0),), FIT))


def test_hints_of_stages_of_other_names(student: Staged) -> None:
    term = Term(partial(Hint, 16, 8), (S("map3"), T("map1")), 2.0, "hint")
    plan = _plan(student, "hints", stage="map3", teacher_stage="map1", beta="2")
    assert alike(plan, Phase("hints", (CE, term), FIT))


def test_hints_between_the_same_channels_begin_at_the_identity(student: Staged) -> None:
    term = Term(partial(Hint, 8, 8, same=True), (S("map2"), T("map1")), 100.0, "hint")
    plan = _plan(student, "hints", stage="map2", teacher_stage="map1", start="identity")
    assert alike(plan, Phase("hints", (CE, term), FIT))


def _attention(stage: str, weight: float) -> Term:
    return Term(attention_loss, (S(stage), T(stage)), weight, f"attention {stage}")


def test_attention_is_the_task_and_every_map(student: Staged) -> None:
    stages = (_attention(stage, 1000.0) for stage in MAPS)
    assert _plan(student, "attention") == [Phase("attention", (CE, *stages), FIT)]


def test_at_is_the_mean_of_the_task_and_of_every_map_but_the_stem(student: Staged) -> None:
    stages = (_attention(stage, 0.25) for stage in MAPS)
    assert _plan(student, "at") == [Phase("attention", (replace(CE, weight=0.25), *stages), FIT)]
    assert [term.weight for term in _plan(student, "at", beta="1000")[0].terms] == [0.25, 250.0, 250.0, 250.0]
    renamed = [replace(stage, name="stem") if stage.name == "map1" else stage for stage in student.stages]
    plan = _plan(replace(student, stages=tuple(renamed)), "at")
    assert [term.name for term in plan[0].terms] == ["ce", "attention map2", "attention map3"]


def test_the_stage_loss_is_a_knob(student: Staged) -> None:
    losses = {loss: _plan(student, "simultaneous", loss=loss)[0].terms[1].loss for loss in STAGE_LOSSES}
    assert losses["attention"] is attention_loss
    assert losses["pkt"] is pkt_loss
    assert losses["mkt"] is mkt_loss
    assert losses["hint"].func is Hint
    assert losses["hint"].args == (4, 8)


def test_a_stage_that_the_teacher_lacks_is_named(student: Staged) -> None:
    flat = replace(make_guide(), stages=make_guide().stages[1:])
    with pytest.raises(PlanError, match="the teacher has no stage 'map1', only map2, map3, embedding, logits"):
        read_method("attention").phases(make_lesson(student, flat), FIT)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (
            "",
            "no stage 'map2', which is the student's middle one .* --set teacher_stage=NAME: map1, logits, or another",
        ),
        ("map3", "no stage 'map3', which stage names .* --set teacher_stage=NAME: map1, logits$"),
    ],
)
def test_hints_say_where_the_name_of_a_stage_comes_from(student: Staged, stage: str, said: str) -> None:
    guide = make_guide()
    few = replace(guide, stages=(guide.stage("map1"), guide.stage("logits")))
    with pytest.raises(PlanError, match=said):
        read_method("hints", {"stage": stage}).phases(make_lesson(student, few), FIT)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("simultaneous", {"loss": "l1"}, "simultaneous: unknown stage loss 'l1'"),
        ("hints", {"stage": "map4"}, "hints: unknown stage of the student 'map4'. Did you mean"),
        ("hints", {"teacher_stage": "map4"}, "hints: unknown stage of the teacher 'map4'"),
        ("hints", {"beta": "0"}, "hints: beta is 0.0; it must be above 0"),
        ("hints", {"start": "zero"}, "hints: unknown start 'zero'. Known: identity, random"),
        (
            "hints",
            {"start": "identity"},
            "the student's map2 has 8 channels and the teacher's map2 16; take --set start=",
        ),
        ("attention", {"beta": "nan"}, "attention: beta is nan"),
        ("at", {"beta": "-1"}, "at: beta is -1.0"),
    ],
)
def test_a_knob_out_of_range_is_an_error(student: Staged, name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        _plan(student, name, **settings)
