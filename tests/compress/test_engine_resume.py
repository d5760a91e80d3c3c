"""The same bytes: whatever the machine's random state, and wherever a run was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plans import CE, HINT, Trip, make_guide, make_student, noisy_loss
from torch import Tensor
from watch import State, moved, same, state_of, timeless, watched

from compress.data import Dataset
from compress.models import Architecture, build
from compress.phase import OPTIMIZERS, Fit, Phase, S, Term
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import EpochReport, Progress, Run, run
from compress.training.journal import Journal, read_state

MakeFit = Callable[..., Fit]


def _long_plan() -> list[Phase]:
    """Phases with a loss with parameters and the best epoch kept; one stage and momentum; noise, anew by the epoch."""
    adam = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 30.0), "best score", 16)
    sgd = Fit(2, OPTIMIZERS["sgd"](1e-2), (1.0, 0.1), "last", 50)
    noise = Term(noisy_loss, (S("embedding"),), (0.02, 0.01), "noise")
    return [
        Phase("map2", (HINT, CE), adam),
        Phase("classifier", (CE,), replace(sgd, keep="best loss"), train=("logits",)),
        Phase("rest", (CE, noise), replace(sgd, fresh=True), train=("embedding", "logits")),
    ]


@pytest.fixture(scope="module")
def guide() -> Staged:
    return make_guide()


@pytest.fixture(scope="module")
def uninterrupted(varied_digits: Dataset, guide: Staged) -> tuple[list[EpochReport], list[State]]:
    student = make_student()
    return watched(run(_long_plan(), student, varied_digits, Run(CLASSIFICATION, 7), teacher=guide), student)


def test_frozen_stages_keep_parameters_and_statistics(
    uninterrupted: tuple[list[EpochReport], list[State]],
) -> None:
    after_map2, after_classifier, after_rest = (uninterrupted[1][n] for n in (2, 4, 6))
    assert moved(after_map2, after_classifier) == {"classifier.weight", "classifier.bias"}
    assert {key.split(".")[0] for key in moved(after_classifier, after_rest)} == {"embedding", "classifier"}


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(varied_digits: Dataset, make_fit: MakeFit) -> None:
    def trained(seed: int, global_seed: int) -> State:
        torch.manual_seed(global_seed)
        student = make_student()
        phase = Phase("p", (CE, Term(noisy_loss, (S("embedding"),), 0.1, "noise")), make_fit(2))
        list(run([phase], student, varied_digits, Run(CLASSIFICATION, seed)))
        return state_of(student)

    assert same(trained(1, 0), trained(1, 99))
    assert not same(trained(1, 0), trained(2, 0))


@pytest.mark.parametrize("epochs", range(8))
def test_a_run_resumed_at_any_epoch_ends_with_the_same_bits(
    varied_digits: Dataset,
    guide: Staged,
    tmp_path: Path,
    uninterrupted: tuple[list[EpochReport], list[State]],
    epochs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compress.training.keeping.PATIENCE", 0)  # however slow the disk, each epoch is written
    journal = Journal(tmp_path / "student.safetensors")
    abandoned = run(_long_plan(), make_student(), varied_digits, Run(CLASSIFICATION, 7), teacher=guide, journal=journal)
    begun = [next(abandoned) for _ in range(epochs)]
    abandoned.close()

    torch.manual_seed(epochs)
    student = make_student()
    journal = replace(journal, resume=True)
    again = run(_long_plan(), student, varied_digits, Run(CLASSIFICATION, 7), teacher=guide, journal=journal)
    reports, states = watched(again, student)
    assert timeless([*begun, *reports]) == timeless(uninterrupted[0])
    assert all(same(state, other) for state, other in zip(states, uninterrupted[1][epochs:], strict=True))
    assert same(state_of(student), uninterrupted[1][-1])
    history = [json.loads(line) for line in journal.metrics_path.read_text().splitlines()]
    assert [(record["epoch"], record["losses"]) for record in history] == [
        (report.epoch, report.losses) for report in uninterrupted[0]
    ]


def _interrupt(_loss: Tensor) -> Tensor:
    raise KeyboardInterrupt


def test_a_run_stopped_within_an_epoch_ends_with_the_same_bits(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.training.keeping.PATIENCE", 0)

    def plan(at: int) -> list[Phase]:
        fit = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 0.1), batch_size=32)
        return [Phase("p", (Term(Trip(at, _interrupt), CE.args, 1.0, "ce"),), fit)]

    whole = make_student()
    list(run(plan(-1), whole, digits, Run(CLASSIFICATION)))
    journal = Journal(tmp_path / "student.safetensors", resume=True)
    for at in (9, 3):
        with pytest.raises(KeyboardInterrupt):
            list(run(plan(at), make_student(), digits, Run(CLASSIFICATION), journal=journal))
    student = make_student()
    reports = list(run(plan(-1), student, digits, Run(CLASSIFICATION), journal=journal))
    assert [report.epoch for report in reports] == [2, 3]
    assert same(state_of(student), state_of(whole))


@pytest.mark.parametrize(("stopped", "left"), [("write", [1, 2]), ("note", [2])])
def test_a_run_stopped_while_its_first_epoch_is_kept_goes_on(
    digits: Dataset, tmp_path: Path, make_fit: MakeFit, monkeypatch: pytest.MonkeyPatch, stopped: str, left: list[int]
) -> None:
    journal = Journal(tmp_path / "student.safetensors", resume=True)
    phases = [Phase("p", (CE,), make_fit(2))]

    def epochs() -> list[int]:
        reports = run(phases, make_student(), digits, Run(CLASSIFICATION), journal=journal)
        return [report.epoch for report in reports if isinstance(report, EpochReport)]

    with monkeypatch.context() as patch:
        patch.setattr(Journal, stopped, lambda _journal, _state: _interrupt(torch.zeros(())))
        with pytest.raises(KeyboardInterrupt):
            epochs()
    assert epochs() == left
    assert _epochs_noted(journal) == [1, 2]


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written in the first epoch of a run and at the end of a phase, and else only where the run ends."""
    monkeypatch.setattr("compress.training.keeping.PATIENCE", 1e9)


def _epochs_noted(journal: Journal) -> list[int]:
    return [json.loads(line)["epoch"] for line in journal.metrics_path.read_text().splitlines()]


@pytest.mark.usefixtures("slow_disk")
def test_a_state_that_takes_long_to_write_is_written_by_time_and_at_the_end_of_a_phase(
    digits: Dataset, tmp_path: Path, make_fit: MakeFit
) -> None:
    journal = Journal(tmp_path / "student.safetensors")
    phases = [Phase("p", (CE,), make_fit(3)), Phase("q", (CE,), make_fit(3))]
    kept = [
        (read_state(journal.state_path).done, _epochs_noted(journal)[-1])
        for _ in run(phases, make_student(), digits, Run(CLASSIFICATION), journal=journal)
    ]
    assert kept == [(1, 1), (1, 2), (3, 3), (3, 4), (3, 5), (6, 6)]


@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize("epochs", [2, 4])
def test_a_run_that_is_closed_leaves_its_last_epoch(
    varied_digits: Dataset,
    guide: Staged,
    tmp_path: Path,
    uninterrupted: tuple[list[EpochReport], list[State]],
    epochs: int,
) -> None:
    journal = Journal(tmp_path / "student.safetensors")
    student = make_student()
    asked = Run(CLASSIFICATION, 7, every_s=0.0)
    reports = run(_long_plan(), student, varied_digits, asked, teacher=guide, journal=journal)
    while epochs:
        epochs -= isinstance(next(reports), EpochReport)
    begun = next(reports)  # in the middle of the next one
    assert isinstance(begun, Progress)
    reports.close()
    done = begun.epoch - 1
    assert read_state(journal.state_path).done == done
    assert _epochs_noted(journal) == list(range(1, done + 1))
    again = make_student()
    journal = replace(journal, resume=True)
    list(run(_long_plan(), again, varied_digits, Run(CLASSIFICATION, 7), teacher=guide, journal=journal))
    assert same(state_of(again), uninterrupted[1][-1])


@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_ends_a_run_in_an_epoch_leaves_the_one_before(
    digits: Dataset, tmp_path: Path, make_fit: MakeFit, error: type[BaseException]
) -> None:
    def end(_loss: Tensor) -> Tensor:
        raise error

    journal = Journal(tmp_path / "student.safetensors")
    plan = [Phase("p", (Term(Trip(1 + 3 * 5 + 2, end), CE.args, 1.0, "ce"),), make_fit(9))]
    student = make_student()
    states = []
    with pytest.raises(error):
        states.extend(state_of(student) for _ in run(plan, student, digits, Run(CLASSIFICATION), journal=journal))
    kept = read_state(journal.state_path)
    assert kept.done == 3
    assert same(kept.model, states[2])
    assert not same(state_of(student), states[2])


def test_a_network_whose_state_has_a_version_is_resumed(
    varied_digits: Dataset, make_fit: MakeFit, tmp_path: Path
) -> None:
    def begin(*, resume: bool = False) -> tuple[Staged, Iterator[EpochReport]]:
        student = build(Architecture("mnasnet0_5", 10, 1, (24, 24)), seed=0)
        journal = Journal(tmp_path / "student.safetensors", resume=resume, force=not resume)
        phase = Phase("p", (CE,), make_fit(2, keep="best score"))
        return student, run([phase], student, varied_digits, Run(CLASSIFICATION), journal=journal)

    uninterrupted, reports = begin()
    assert next(reports).epoch == 1
    whole = list(reports)
    _, reports = begin()
    next(reports)
    resumed, reports = begin(resume=True)
    assert timeless(list(reports)) == timeless(whole)
    assert same(state_of(resumed), state_of(uninterrupted))
