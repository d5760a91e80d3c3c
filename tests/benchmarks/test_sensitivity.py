"""The exam that cuts sit, against the plain formulas; and the words of a division."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from boxes import boxes, boxes_checkpoint
from torch import Tensor

from benchmarks.exam import Exam, answer, new_exam
from benchmarks.suggestion import options
from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.errors import DataError, GateError
from compress.smaller import looked_at
from compress.stages import Staged


def _altered(network: Staged) -> Staged:
    """A copy whose answers are a little different."""
    other = replace(network, model=copy.deepcopy(network.model))
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter *= 1.05
    return other


def _outputs(exam: Exam, network: Staged) -> Tensor:
    return torch.cat([answer(network, exam.task.output, batch.image) for batch in exam.batches]).double()


@pytest.mark.parametrize("masks", [False, True])
def test_marks_are_those_of_the_plain_formulas(teacher: Checkpoint, digits: Dataset, masks: bool) -> None:
    checkpoint, images = (boxes_checkpoint(4), boxes()) if masks else (teacher, digits)
    exam = new_exam(checkpoint, images, 4, 9)
    assert len(exam) == 9
    assert bool(exam.answers) is not masks
    other = _altered(checkpoint.network)
    (mark,) = exam.marks(lambda pixels: [answer(other, "logits", pixels)], 1)
    before, after = _outputs(exam, checkpoint.network), _outputs(exam, other)
    error = (after - before).square().mean() / before.var(dim=0, correction=0).mean()
    assert mark.error == pytest.approx(float(error), rel=1e-6)
    tallies = [exam.task.tally(answer(other, "logits", batch.image), batch.target) for batch in exam.batches]
    assert mark.score == exam.task.score(torch.stack(tallies).sum(dim=0))


def test_features_are_compared_whatever_their_width_and_order(teacher: Checkpoint, digits: Dataset) -> None:
    retrieval = replace(teacher, card=replace(teacher.card, task="retrieval"))
    exam = new_exam(retrieval, digits, 30, 50)

    def found(pixels: Tensor, kept: slice) -> Tensor:
        return answer(teacher.network, "embedding", pixels).flatten(1).flip(1)[:, kept] + 1

    same, half = exam.marks(lambda pixels: [found(pixels, slice(None)), found(pixels, slice(None, None, 2))], 2)
    assert same.score == exam.score
    assert same.error == pytest.approx(0, abs=1e-9)
    assert half.error is not None
    assert half.error > 0.05


def test_no_image_is_asked_that_was_looked_at(teacher: Checkpoint, digits: Dataset) -> None:
    seen = torch.cat(looked_at(teacher, digits.train, 100).images)
    exam = new_exam(teacher, digits, 100, 1000)
    assert len(exam) == len(digits.train) - 100
    asked = teacher.card.scale(torch.cat([batch.image for batch in exam.batches]))
    both = torch.cat([seen, asked]).flatten(1)
    whole = teacher.card.scale(torch.cat([batch.image for batch in digits.train.batches(64)])).flatten(1)
    assert torch.equal(both.sort(dim=0).values, whole.sort(dim=0).values)


def test_where_all_images_are_fitted_on_none_is_left(teacher: Checkpoint, digits: Dataset) -> None:
    with pytest.raises(DataError, match="none is left to score; give a smaller --calibrate"):
        new_exam(teacher, digits, len(digits.train), 10)


def test_an_answer_that_is_no_number_has_no_mark(teacher: Checkpoint, digits: Dataset) -> None:
    exam = new_exam(teacher, digits, 0, 20)
    broken = _altered(teacher.network)
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    sound, lost = exam.marks(lambda pixels: [answer(n, "logits", pixels) for n in (teacher.network, broken)], 2)
    assert (sound.score, sound.error, sound.reason) == (exam.score, 0.0, "")
    assert (lost.score, lost.error, lost.reason) == (None, None, "an output is NaN or infinite")
    with pytest.raises(GateError, match="NaN or infinite"):
        new_exam(replace(teacher, network=broken), digits, 0, 20)


@pytest.mark.parametrize(
    ("shares", "typed"),
    [
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "--ratio 0.5"),
        ({"a": 0.5, "c": 0.5}, "--ratio 0.5 --leave b"),
        ({"c": 0.9}, "--ratio 0.9 --leave a,b"),
        ({"a": 0.25, "b": 0.75, "c": 0.75}, "--ratio 0.75 --layer-ratio a=0.25"),
    ],
)
def test_a_division_is_said_in_few_options(shares: dict[str, float], typed: str) -> None:
    assert options(["a", "b", "c"], shares) == typed
