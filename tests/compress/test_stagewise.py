"""Recipes that train a network part after part: their phases, what learns in each, and that students learn by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plans import CE, make_guide, make_lesson, make_student, maps
from watch import moved, watched

from compress.data import Dataset
from compress.errors import PlanError
from compress.losses import fsp_loss
from compress.phase import OPTIMIZERS, Fit, Phase, S, T, Term
from compress.recipes import read_method
from compress.stages import Stage, Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

FIT = Fit(10, OPTIMIZERS["adam"](1e-3), (1.0,) * 10, "best score", 64)
HEAD = ("embedding", "logits")


@pytest.fixture(scope="module")
def student() -> Staged:
    return make_student()


def _plan(student: Staged, name: str, *, fit: Fit = FIT, **settings: str) -> list[Phase]:
    teacher = make_guide() if student.body[0] == "map1" else student
    return read_method(name, settings).phases(make_lesson(student, teacher), fit)


def _stage_fit(epochs: int) -> Fit:
    return replace(FIT.over(epochs), keep="best loss")


def _unet() -> Staged:
    """Stages called as those of a U-Net; recipes look at nothing else."""
    names = ("stem", *(f"layer{n}" for n in range(1, 5)), *(f"up{n}" for n in range(1, 6)), "logits")
    return Staged(make_student().model, tuple(Stage(name, f"m.{name}", (name,), 4) for name in names))


def test_stagewise_trains_each_stage_alone_and_then_the_head(student: Staged) -> None:
    assert _plan(student, "stagewise") == [
        Phase("map1", maps("map1"), _stage_fit(2), ("map1",)),
        Phase("map2", maps("map2"), _stage_fit(2), ("map2",)),
        Phase("map3", maps("map3"), _stage_fit(2), ("map3",)),
        Phase("task", (CE,), FIT.over(4), HEAD),
    ]


def test_stagewise_of_a_unet_has_eleven_phases() -> None:
    plan = _plan(_unet(), "stagewise", fit=FIT.over(11))
    assert [phase.name for phase in plan] == [*(stage.name for stage in _unet().stages[:-1]), "task"]
    assert plan[-1].train == ("logits",)


def test_stagewise_as_released_leaves_frozen_batch_norm_in_training_mode(student: Staged) -> None:
    assert [phase.norms for phase in _plan(student, "stagewise")] == ["as trained"] * 4
    assert [phase.norms for phase in _plan(student, "stagewise", follow="release")] == ["in training"] * 4


@pytest.mark.parametrize(("keep", "kept"), [("last", "last"), ("best loss", "best loss"), ("best score", "best loss")])
def test_a_stage_keeps_its_best_epoch_by_the_loss(student: Staged, keep: str, kept: str) -> None:
    plan = _plan(student, "stagewise", fit=replace(FIT, keep=keep))  # type: ignore[arg-type]
    assert [phase.fit.keep for phase in plan] == [kept, kept, kept, keep]


def test_traditional_trains_up_to_the_middle_and_then_the_rest(student: Staged) -> None:
    assert _plan(student, "traditional") == [
        Phase("map2", maps("map2"), _stage_fit(5), ("map1", "map2")),
        Phase("task", (CE,), FIT.over(5), ("map3", *HEAD)),
    ]


def test_traditional_by_fitnets_trains_everything_at_last(student: Staged) -> None:
    assert [phase.train for phase in _plan(student, "traditional", follow="fitnets")] == [("map1", "map2"), None]


def test_traditional_of_a_unet_has_a_hint_in_the_encoder_and_one_in_the_decoder() -> None:
    encoder, decoder, task = _plan(_unet(), "traditional")
    assert (encoder.terms, decoder.terms) == (maps("layer2"), maps("up3"))
    assert encoder.train == ("stem", "layer1", "layer2")
    assert decoder.train == ("layer3", "layer4", "up1", "up2", "up3")
    assert task.train == ("up4", "up5", "logits")


def test_traditional_takes_other_stages(student: Staged) -> None:
    plan = _plan(student, "traditional", stages="map3, map1")
    assert [(phase.name, phase.train) for phase in plan] == [
        ("map1", ("map1",)),
        ("map3", ("map2", "map3")),
        ("task", HEAD),
    ]


def test_fsp_trains_the_flows_of_neighbours_and_then_everything(student: Staged) -> None:
    flows = tuple(
        Term(fsp_loss, (S(a), S(b), T(a), T(b)), 0.5, f"{a} to {b}") for a, b in (("map1", "map2"), ("map2", "map3"))
    )
    assert _plan(student, "fsp") == [
        Phase("flow", flows, _stage_fit(5), ("map1", "map2", "map3")),
        Phase("task", (CE,), FIT.over(5)),
    ]


def test_fsp_leaves_the_stem_out_and_needs_two_other_stages(student: Staged) -> None:
    names = {"map1": "stem", "map3": "logits"}
    renamed = [replace(stage, name=names.get(stage.name, stage.name)) for stage in student.stages[:3]]
    with pytest.raises(PlanError, match="fsp: the student has the stages stem, map2; flows need two besides a stem"):
        _plan(replace(student, stages=tuple(renamed)), "fsp")
    terms = _plan(_unet(), "fsp")[0].terms
    assert [term.name for term in terms][:4] == [
        *("layer1 to layer2", "layer2 to layer3", "layer3 to layer4", "layer4 to up1")
    ]
    assert {term.weight for term in terms} == {1 / 8}


def test_fsp_of_another_family_says_which_stage_the_teacher_lacks(student: Staged) -> None:
    with pytest.raises(PlanError, match=r"the teacher has no stage 'layer1', only map1, map2, map3.*such as okd"):
        read_method("fsp", {}).phases(make_lesson(_unet(), student), FIT)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("stagewise", {"loss": "mae"}, "stagewise: unknown stage loss 'mae'"),
        ("stagewise", {"follow": "fitnets"}, "stagewise: unknown source to follow 'fitnets'"),
        ("traditional", {"stages": "layer2"}, "traditional: unknown intermediate stage 'layer2'"),
        ("traditional", {"stages": "logits"}, "traditional: unknown intermediate stage 'logits'"),
        ("traditional", {"follow": "code"}, "traditional: unknown source to follow 'code'"),
    ],
)
def test_a_knob_out_of_range_is_an_error(student: Staged, name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        _plan(student, name, **settings)


def test_maps_of_different_widths_are_named_before_anything_is_trained(student: Staged, digits: Dataset) -> None:
    fit = replace(FIT, keep="last")
    with pytest.raises(PlanError, match=r"stage map1: student \(4, 11, 11\), teacher \(8, 11, 11\)"):
        run(_plan(student, "stagewise", fit=fit), student, digits, Run(CLASSIFICATION), teacher=make_guide())


@pytest.mark.parametrize(("follow", "statistics_move"), [("paper", False), ("release", True)])
def test_frozen_statistics_move_as_released_and_not_as_in_the_paper(
    digits: Dataset, follow: str, statistics_move: bool
) -> None:
    student, teacher = make_student(), make_student(seed=5)
    method = read_method("stagewise", {"follow": follow})
    phases = method.phases(make_lesson(student, teacher), replace(FIT.over(4), keep="last"))
    _, states = watched(run(phases, student, digits, Run(CLASSIFICATION), teacher=teacher), student)
    in_second = moved(states[0], states[1])
    assert {key for key in in_second if "blocks.1" in key and "weight" in key}
    assert not {key for key in in_second if "blocks.0" in key and key.endswith(("weight", "bias"))}
    assert any("blocks.0.norm.running" in key for key in in_second) is statistics_move
