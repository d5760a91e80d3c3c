"""A loss or a weight that is no longer finite stops the run, and the last good epoch is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from plans import CE, Trip, make_student
from torch import Tensor
from watch import same, state_of, watched

from compress.data import Dataset
from compress.errors import DivergedError
from compress.phase import OPTIMIZERS, Fit, Phase, S, Term
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run
from compress.training.journal import Journal, read_state

MakeFit = Callable[..., Fit]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_epoch(
    digits: Dataset, tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.training.keeping.PATIENCE", 0)

    def plan(at: int) -> list[Phase]:
        fit = Fit(2, OPTIMIZERS["adam"](1e-2), (1.0, 1.0), batch_size=32)
        trip = Term(Trip(at, partial(torch.mul, torch.tensor(value))), CE.args, 1.0, "tripping")
        return [Phase("first", (CE,), fit), Phase("second", (CE, trip), fit)]

    whole = make_student()
    _, states = watched(run(plan(-1), whole, digits, Run(CLASSIFICATION)), whole)
    journal = Journal(tmp_path / "student.safetensors", resume=True)
    message = rf"phase 'second', epoch 4: .*tripping = {value}\); the epoch before is kept in .*begin anew with --force"
    with pytest.raises(DivergedError, match=message) as caught:
        list(run(plan(2 + 5 + 2), make_student(), digits, Run(CLASSIFICATION), journal=journal))
    assert caught.value.exit_code == 3
    kept = read_state(journal.state_path)
    assert kept.done == 3
    assert same(kept.model, states[2])
    student = make_student()
    list(run(plan(-1), student, digits, Run(CLASSIFICATION), journal=journal))
    assert same(state_of(student), states[-1])


def test_without_a_good_epoch_nothing_is_promised(digits: Dataset, tmp_path: Path, make_fit: MakeFit) -> None:
    trip = Term(Trip(2, partial(torch.mul, torch.tensor(math.nan))), CE.args, 1.0, "ce")
    journal = Journal(tmp_path / "student.safetensors")
    with pytest.raises(DivergedError) as caught:
        list(run([Phase("p", (trip,), make_fit(1))], make_student(), digits, Run(CLASSIFICATION), journal=journal))
    assert "kept" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def _root_loss(logits: Tensor) -> Tensor:
    """Finite, with a gradient that is not."""
    return (logits - logits.detach()).sum().square().sqrt()


def test_weights_that_are_not_finite_are_never_kept(digits: Dataset, tmp_path: Path, make_fit: MakeFit) -> None:
    journal = Journal(tmp_path / "student.safetensors")
    plan = [
        Phase("good", (CE,), make_fit(1)),
        Phase("bad", (Term(_root_loss, (S("logits"),), 1.0, "root"),), make_fit(1, batch_size=512)),
    ]
    with pytest.raises(
        DivergedError, match=r"phase 'bad', epoch 2: .* is no longer finite; the epoch before is kept in"
    ):
        list(run(plan, make_student(), digits, Run(CLASSIFICATION), journal=journal))
    kept = read_state(journal.state_path)
    assert kept.done == 1
    assert all(value.isfinite().all() for value in kept.model.values())
