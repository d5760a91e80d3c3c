"""Recipes of one phase in which stages of the teacher stand beside the task: their terms and weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plans import CE, make_guide, make_lesson, make_student

from compress.errors import PlanError
from compress.losses import feature_loss
from compress.phase import OPTIMIZERS, Fit, Phase, S, T, Term
from compress.recipes import read_method
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


def test_simultaneous_without_labels_is_the_mean_of_the_stages(student: Staged) -> None:
    plan = _plan(student, "simultaneous", task=RETRIEVAL)
    assert plan == [Phase("all", tuple(_mse(stage, 1 / 3) for stage in MAPS), FIT)]


@pytest.mark.parametrize(
    ("name", "settings", "message"), [("simultaneous", {"loss": "l1"}, "simultaneous: unknown stage loss 'l1'")]
)
def test_a_knob_out_of_range_is_an_error(student: Staged, name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        _plan(student, name, **settings)
