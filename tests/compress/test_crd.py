"""A loss with memory in a run: the same bytes wherever it was interrupted, also where the best epoch is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from plans import CE, make_guide, make_lesson, make_student
from watch import State, same, state_of

from compress.data import Dataset
from compress.phase import INDEX, Fit, Phase, S, T
from compress.recipes import read_method
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run
from compress.training.journal import Journal

MakeFit = Callable[..., Fit]


def _plan(data: Dataset, student: Staged, guide: Staged, fit: Fit) -> list[Phase]:
    lesson = replace(make_lesson(student, guide), images=len(data.train))
    return read_method("crd", {"negatives": "64"}).phases(lesson, fit)


def test_the_banks_are_as_long_as_the_images_are_many(varied_digits: Dataset, make_fit: MakeFit) -> None:
    (phase,) = _plan(varied_digits, make_student(), make_guide(), make_fit(2))
    assert phase.terms[0] == CE
    assert (phase.terms[1].args, phase.terms[1].weight) == ((S("embedding"), T("embedding"), INDEX), 0.8)
    made = phase.terms[1].loss()
    assert len(made.student_bank) == len(made.teacher_bank) == len(varied_digits.train)
    assert (made.student_head.in_features, made.teacher_head.in_features) == (32, 64)


@pytest.mark.parametrize("keep", ["last", "best loss"])
def test_a_run_of_crd_that_is_resumed_ends_with_the_same_bits(
    varied_digits: Dataset, make_fit: MakeFit, tmp_path: Path, keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.training.keeping.PATIENCE", 0)  # however slow the disk, each epoch is written
    guide, fit = make_guide(), make_fit(3, keep=keep)

    def trained(name: str, *, stop: int, resume: bool = False) -> State:
        student = make_student()
        journal = Journal(tmp_path / f"{name}.safetensors", resume)
        reports = run(
            _plan(varied_digits, student, guide, fit),
            student,
            varied_digits,
            Run(CLASSIFICATION, 7),
            teacher=guide,
            journal=journal,
        )
        for _, _ in zip(range(stop), reports, strict=False):
            pass
        reports.close()
        return state_of(student)

    whole = trained("whole", stop=4)
    trained("parts", stop=1)
    assert same(trained("parts", stop=4, resume=True), whole)
