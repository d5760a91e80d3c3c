"""What a job takes up again: its auxiliary and its result are known by what decides them, not by what was typed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from compress.checkpoint import Checkpoint, load
from compress.data import Dataset
from compress.errors import OutputError
from compress.jobs import Auxiliary, Distillation, Job, auxiliary_path, distil, recovered
from compress.named import Named
from compress.opening import new_network
from compress.phase import Fit
from compress.recipes import read_method
from compress.smaller import cut
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run
from compress.training.journal import Journal

MakeFit = Callable[..., Fit]
METHOD = read_method("indistill", {"a": "0"})
STUDENT = ["map1", "map2", "map2", "map3", "map3", "map3", "embedding", "embedding"]
BOTH = ["task", "embedding", *STUDENT]


@pytest.fixture
def what(student: Checkpoint, teacher: Checkpoint, digits: Dataset, make_fit: MakeFit) -> Distillation:
    return Distillation(student, teacher, digits, Auxiliary(None, make_fit(1), 0.5))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("edgepress distill", Run(CLASSIFICATION, 1), Journal(tmp_path / "student.safetensors"))


@pytest.fixture(scope="module")
def finished(teacher: Checkpoint, digits: Dataset, make_fit: MakeFit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student of a distillation, with the auxiliary beside it."""
    student = new_network(Named("cnn-s", options={"width": 4}), digits, seed=3)
    journal = Journal(tmp_path_factory.mktemp("finished") / "student.safetensors")
    whole = Distillation(student, teacher, digits, Auxiliary(None, make_fit(1), 0.5))
    follow(distil(METHOD, make_fit(8), whole, Job("edgepress distill", Run(CLASSIFICATION, 1), journal)))
    return journal.output


def follow(training: Generator[object, None, Checkpoint]) -> tuple[list[str], Checkpoint]:
    """The phase of every epoch, and the result."""
    phases: list[str] = []
    while True:
        try:
            phases.append(next(training).phase)  # type: ignore[attr-defined]
        except StopIteration as end:
            return phases, end.value


def versions(job: Job) -> dict[str, tuple[int, int]]:
    """What changes of a job's files when they are written anew."""
    stats = {path.name: path.stat() for path in job.journal.output.parent.iterdir()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def resuming(job: Job, *, seed: int = 1, force: bool = False) -> Job:
    journal = replace(job.journal, resume=True, force=force)
    return replace(job, command="edgepress --typed otherwise", run=replace(job.run, seed=seed), journal=journal)


def test_an_auxiliary_is_known_by_what_decides_it(
    finished: Path, what: Distillation, job: Job, make_fit: MakeFit
) -> None:
    made, mine = auxiliary_path(finished), auxiliary_path(job.journal.output)
    shutil.copy(made, mine)
    retrained = new_network(Named("cnn-a", options={"width": 8}), what.data, seed=5)
    for other, seed in (
        (what, 2),
        (replace(what, teacher=retrained), 1),
        (replace(what, auxiliary=replace(what.auxiliary, fit=make_fit(1, rate=1e-4))), 1),
    ):
        message = r"auxiliary.safetensors already exists, finished by another run \(edgepress distill\); .* --force"
        with pytest.raises(OutputError, match=message):
            next(distil(METHOD, make_fit(8), other, resuming(job, seed=seed)))
    assert follow(distil(METHOD, make_fit(8), what, resuming(job)))[0] == STUDENT
    assert mine.read_bytes() == made.read_bytes()


def test_resumed_by_force_an_auxiliary_of_another_run_is_made_anew(
    finished: Path, what: Distillation, job: Job, make_fit: MakeFit
) -> None:
    shutil.copy(auxiliary_path(finished), auxiliary_path(job.journal.output))
    phases, _ = follow(distil(METHOD, make_fit(8), what, resuming(job, seed=2, force=True)))
    assert phases == BOTH
    assert load(auxiliary_path(job.journal.output)).card.lineage[-1]["seed"] == 2


def test_a_finished_distillation_is_left_as_it_is(
    finished: Path, what: Distillation, job: Job, make_fit: MakeFit
) -> None:
    for path in finished.parent.iterdir():
        shutil.copy(path, job.journal.output.parent)
    before = versions(job)
    for force in (False, True):
        phases, student = follow(distil(METHOD, make_fit(8), what, resuming(job, force=force)))
        assert phases == []
        assert student.card == load(finished).card
        assert versions(job) == before
    with pytest.raises(OutputError, match=r"student.safetensors already exists, finished by another run"):
        next(distil(METHOD, make_fit(9), what, resuming(job)))


def test_a_pruning_without_training_is_finished_too(what: Distillation, job: Job) -> None:
    first = cut(what.teacher, 0.25, "edgepress prune")
    follow(recovered(first, what.teacher, None, what.data, job))
    before = versions(job)
    follow(recovered(first, what.teacher, None, what.data, resuming(job)))
    assert versions(job) == before
    more = cut(what.teacher, 0.5, "edgepress prune")
    with pytest.raises(OutputError, match=r"student.safetensors already exists, finished by another run"):
        follow(recovered(more, what.teacher, None, what.data, resuming(job)))
    _, made = follow(recovered(more, what.teacher, None, what.data, resuming(job, force=True)))
    assert load(job.journal.output).card.lineage == made.card.lineage
    assert list(job.journal.output.parent.iterdir()) == [job.journal.output]


def test_a_distillation_has_its_outputs_to_itself(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    folder = job.journal.output.parent
    first = distil(METHOD, make_fit(8), what, job)
    next(first)
    assert {path.name for path in folder.glob(".*.lock")} == {
        ".student.safetensors.lock",
        ".student.auxiliary.safetensors.lock",
    }
    first.close()
    assert list(folder.glob(".*")) == []
