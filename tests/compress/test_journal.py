"""The journal: the state of a run on disk, and when it may not be used."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.errors import CheckpointError, OutputError
from compress.evidence import weights_digest
from compress.opening import Named, new_network
from compress.phase import Fit, Phase
from compress.recipes import Method
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, Task
from compress.training.engine import Run, run
from compress.training.journal import Journal, State

MakeFit = Callable[..., Fit]
PLAN = {"plan": "1", "seed": "2"}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "student.safetensors")


@pytest.fixture
def interrupted(journal: Journal) -> Journal:
    """A journal of a run that was stopped after its first epoch."""
    journal.write(State(PLAN, 1, {"weight": torch.ones(3)}, {"state": {}}, history=[{"epoch": 1}]))
    return journal


def test_its_files_lie_beside_the_output(journal: Journal, tmp_path: Path) -> None:
    journal.write(State(PLAN, 2, history=[{"epoch": 1}, {"epoch": 2}]))
    assert {path.name for path in tmp_path.iterdir()} == {"student.resume.pt", "student.metrics.jsonl"}
    assert journal.metrics_path.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    journal.finish()
    assert {path.name for path in tmp_path.iterdir()} == {"student.metrics.jsonl"}
    journal.finish()


def test_what_was_written_is_what_is_resumed(journal: Journal) -> None:
    state = State(
        PLAN,
        3,
        {"weight": torch.randn(2, 3)},
        {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]},
        {"hint": {"bias": torch.zeros(2)}},
        (0.25, {"weight": torch.randn(2, 3)}),
        [{"epoch": 1, "losses": {"ce": 2.0}}],
    )
    journal.write(state)
    read = replace(journal, resume=True).begin(PLAN)
    assert torch.equal(read.model["weight"], state.model["weight"])
    assert read.best is not None
    assert state.best is not None
    assert torch.equal(read.best[1]["weight"], state.best[1]["weight"])
    assert read.best[0] == 0.25
    assert (read.plan, read.done, read.optimizer, read.history) == (PLAN, 3, state.optimizer, state.history)
    assert read.losses.keys() == {"hint"}


def test_an_interrupted_run_is_neither_lost_nor_used_by_mistake(interrupted: Journal) -> None:
    content = interrupted.state_path.read_bytes()
    for ask in (interrupted.check, lambda: interrupted.begin(PLAN)):
        with pytest.raises(OutputError, match=r"student.resume.pt: an interrupted run.* --resume .*--force"):
            ask()
    assert interrupted.state_path.read_bytes() == content
    assert replace(interrupted, force=True).begin(PLAN) == State(PLAN)
    assert replace(interrupted, resume=True).begin(PLAN).done == 1
    assert replace(interrupted, resume=True, force=True).begin(PLAN).done == 1


def test_resume_without_an_interrupted_run_begins_one(journal: Journal) -> None:
    assert replace(journal, resume=True).begin(PLAN) == State(PLAN)


def test_an_output_that_exists_needs_force(journal: Journal) -> None:
    journal.output.write_bytes(b"finished")
    with pytest.raises(OutputError, match="already exists; pass --force"):
        journal.check()
    with pytest.raises(OutputError, match="already exists, finished: there is nothing to resume; pass --force"):
        replace(journal, resume=True).check()
    replace(journal, force=True).check()
    assert journal.output.read_bytes() == b"finished"


def test_the_metrics_of_a_finished_run_are_not_replaced_without_force(journal: Journal) -> None:
    journal.metrics_path.write_text("{}")
    with pytest.raises(OutputError, match=r"student.metrics.jsonl already exists; pass --force"):
        journal.check()
    replace(journal, force=True).check()


def test_a_checkpoint_is_a_safetensors_file(journal: Journal) -> None:
    with pytest.raises(OutputError, match=r"student.pt: a checkpoint is a .safetensors file"):
        replace(journal, output=journal.output.with_suffix(".pt")).check()


def test_an_interrupted_run_over_an_output_goes_on(interrupted: Journal) -> None:
    interrupted.output.write_bytes(b"finished")
    replace(interrupted, resume=True).check()


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_state_is_refused(interrupted: Journal, length: int) -> None:
    content = interrupted.state_path.read_bytes()
    interrupted.state_path.write_bytes(content[:length])
    with pytest.raises(CheckpointError, match=r"student.resume.pt: is damaged \(\w+\); begin anew with --force"):
        replace(interrupted, resume=True).begin(PLAN)


@pytest.mark.parametrize(
    "content",
    [
        ["no", "mapping"],
        {"done": 1},
        {"format": 1},
        {"format": 1, "plan": 3},
        {"format": 1, "plan": {}, "more": 1},
        {"format": 2, "plan": {}},
        {"format": 1, "plan": {}, "model": {1, 2}},
    ],
)
def test_a_state_of_another_make_is_refused(journal: Journal, content: object) -> None:
    torch.save(content, journal.state_path)
    with pytest.raises(CheckpointError, match=r"begin anew with --force|differs in plan, seed"):
        replace(journal, resume=True).begin(PLAN)


def test_a_state_of_another_format_is_refused(interrupted: Journal) -> None:
    content = torch.load(interrupted.state_path, weights_only=True)
    torch.save(content | {"format": content["format"] + 1}, interrupted.state_path)
    with pytest.raises(CheckpointError, match="was written by another version; begin anew with --force"):
        replace(interrupted, resume=True).begin(PLAN)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_state_is_not_executed(
    journal: Journal, tmp_path: Path, make_bomb: Callable[[Path], object], zipped: bool
) -> None:
    mark = tmp_path / "executed"
    if zipped:
        torch.save({"format": 1, "plan": make_bomb(mark)}, journal.state_path)
    else:
        journal.state_path.write_bytes(pickle.dumps({"format": 1, "plan": make_bomb(mark)}))
    with pytest.raises(CheckpointError, match="is damaged"):
        replace(journal, resume=True).begin(PLAN)
    assert not mark.exists()


def test_a_full_disk_leaves_the_epoch_before(
    interrupted: Journal, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(4096), pytest.raises(OutputError, match=r"student.resume.pt: not written: File too large"):
        interrupted.write(State(PLAN, 2, {"weight": torch.ones(10_000)}))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# as a run uses it


class Asked:
    """A run of two epochs, with one thing changed at will."""

    def __init__(self, data: Dataset, make_fit: MakeFit, journal: Journal, guide: Staged) -> None:
        self.data, self.fit, self.journal, self.guide = data, make_fit(2), journal, guide
        self.task: Task = CLASSIFICATION
        self.seed = 0
        self.student_seed = 3
        self.method = "okd"

    def phases(self, student: Staged) -> list[Phase]:
        return Method(self.method).phases(student, self.guide, CLASSIFICATION, self.fit)

    def begin(self, *, resume: bool) -> int:
        """The number of the first epoch that ran; the run is abandoned after it."""
        student = new_network(Named("cnn-s", options={"width": 4}), self.data, seed=self.student_seed).network
        asked = Run(self.task, self.seed, replace(self.journal, resume=resume))
        reports = run(self.phases(student), student, self.data, asked, teacher=self.guide)
        first = next(reports).epoch
        reports.close()
        return first


@pytest.fixture
def asked(digits: Dataset, make_fit: MakeFit, journal: Journal, teacher: Checkpoint) -> Asked:
    made = Asked(digits, make_fit, journal, teacher.network)
    assert made.begin(resume=False) == 1
    return made


def test_the_same_run_is_resumed(asked: Asked) -> None:
    assert asked.begin(resume=True) == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"student_seed": 4}, "initial student"),
        ({"task": RETRIEVAL}, "task"),
        ({"method": "pkt"}, "plan"),
        ({"seed": 1, "student_seed": 4, "method": "pkt"}, "initial student, plan, seed"),
    ],
)
def test_another_run_is_refused_and_what_differs_is_named(asked: Asked, changes: dict[str, object], named: str) -> None:
    vars(asked).update(changes)
    before = asked.journal.state_path.read_bytes()
    with pytest.raises(CheckpointError, match=rf"the interrupted run differs in {named}; repeat its command"):
        asked.begin(resume=True)
    assert asked.journal.state_path.read_bytes() == before


def test_another_rate_schedule_data_or_teacher_is_refused(
    asked: Asked, make_fit: MakeFit, varied_digits: Dataset, student: Checkpoint
) -> None:
    same = dict(vars(asked))
    for changes, named in (
        ({"fit": make_fit(2, rate=1e-4)}, "plan"),
        ({"fit": make_fit(2, schedule="step")}, "plan"),
        ({"fit": make_fit(2, batch_size=31)}, "plan"),
        ({"data": varied_digits}, "data"),
        ({"guide": student.network}, "teacher"),
        ({"guide": replace(asked.guide, keep={"map1": torch.tensor([1, 2])})}, "teacher"),
    ):
        vars(asked).update(same | changes)
        with pytest.raises(CheckpointError, match=rf"differs in {named};"):
            asked.begin(resume=True)


def test_force_begins_anew(asked: Asked) -> None:
    asked.journal = replace(asked.journal, force=True)
    asked.seed = 5
    assert asked.begin(resume=False) == 1
    assert asked.begin(resume=True) == 2


def test_the_digest_of_weights_sees_every_value_and_name(student: Checkpoint) -> None:
    model = student.network.model
    before = weights_digest(model)
    assert before == weights_digest(model)
    norm = model.get_submodule("blocks.0.norm")
    norm.running_mean[0] += 1e-3  # type: ignore[index,operator]
    assert weights_digest(model) != before
    renamed = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(1, 1))
    moved = torch.nn.Sequential(renamed[1])
    assert weights_digest(renamed) != weights_digest(moved)
